# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.evenkeel.fleet.plugins.module_utils._host import fitness, proxies
from ansible_collections.evenkeel.fleet.plugins.module_utils._host.proxies import excluded, proxies_for, settings

# Nothing of it can be reached without the proxy.
REGISTRY = "registry.invalid:443"


class TinyProxy:
    """Answers each CONNECT with one status."""

    def __init__(self) -> None:
        self.status = b"200 Connection established"
        self.heads: list[str] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._server.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _dummy = self._server.accept()
            except OSError:
                return
            with connection:
                self.heads.append(connection.recv(4096).decode())
                connection.sendall(b"HTTP/1.1 " + self.status + b"\r\n\r\n")

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()


@pytest.fixture
def proxy() -> Iterator[TinyProxy]:
    subject = TinyProxy()
    yield subject
    subject.close()


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(proxies, "DAEMON_CONFIG", tmp_path / "daemon.json")
    monkeypatch.setattr(proxies, "ENVIRONMENT", tmp_path / "environment")
    monkeypatch.setattr(proxies, "DROP_INS", tmp_path / "docker.service.d")
    monkeypatch.setattr(fitness, "_direct_problem", lambda endpoint, *_: f"{endpoint} was connected to directly.")
    for name in list(os.environ):
        if name.upper().endswith("_PROXY"):
            monkeypatch.delenv(name)
    return tmp_path


def asked(endpoint: str = REGISTRY) -> list[str]:
    return fitness.endpoint_problems([endpoint], 2, settings([]))


def test_an_endpoint_behind_a_proxy_is_reached(files: Path, proxy: TinyProxy) -> None:
    assert asked() == [f"{REGISTRY} was connected to directly."]
    (files / "environment").write_text(f'HTTPS_PROXY="http://{proxy.address}"\n')
    assert asked() == []
    assert proxy.heads[0].startswith(f"CONNECT {REGISTRY} HTTP/1.1\r\n")


@pytest.mark.parametrize("place", ["daemon", "drop-in", "declared", "login", "container", "environment"])
def test_every_place_counts(files: Path, proxy: TinyProxy, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    url = f"http://{proxy.address}"
    declaration: dict[str, object] = {"name": "role"}
    if place == "daemon":
        (files / "daemon.json").write_text(f'{{"proxies": {{"https-proxy": "{url}"}}}}')
    elif place == "drop-in":
        (files / "docker.service.d").mkdir()
        text = f'[Service]\nEnvironment="HTTPS_PROXY={url}" NO_PROXY=localhost\n'
        (files / "docker.service.d/proxy.conf").write_text(text)
    elif place == "declared":
        declaration["engine"] = {"config": {"proxies": {"https-proxy": url}}}
    elif place == "login":
        declaration["logins"] = [{"registry": "x", "environment": {"HTTPS_PROXY": url}}]
    elif place == "container":
        declaration["containers"] = [{"name": "gateway", "env": {"https_proxy": url}}]
    else:
        monkeypatch.setenv("HTTPS_PROXY", url)
    assert fitness.endpoint_problems([REGISTRY], 2, settings([declaration])) == []
    assert len(proxy.heads) == 1


def test_no_proxy_and_other_ports_are_connected_to_directly(files: Path, proxy: TinyProxy) -> None:
    (files / "environment").write_text(f"HTTPS_PROXY={proxy.address}\nNO_PROXY=.invalid\n")
    assert asked() == [f"{REGISTRY} was connected to directly."]
    (files / "environment").write_text(f"HTTPS_PROXY={proxy.address}\n")
    assert asked("database.invalid:5432") == ["database.invalid:5432 was connected to directly."]
    assert proxy.heads == []


def test_credentials_reach_the_proxy_and_no_message(files: Path, proxy: TinyProxy) -> None:
    (files / "environment").write_text(f"HTTPS_PROXY=http://ci:hush%21@{proxy.address}\n")
    proxy.status = b"403 Forbidden"
    (problem,) = asked()
    assert f"The proxy http://{proxy.address} (HTTPS_PROXY of {files}/environment) does not connect to" in problem
    assert "hush" not in problem
    assert base64.b64encode(b"ci:hush!").decode() in proxy.heads[0]
    proxy.status = b"407 Proxy Authentication Required"
    assert "requires credentials" in asked()[0]


def test_a_proxy_that_is_not_there_is_named(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        closed = f"127.0.0.1:{server.getsockname()[1]}"
    (files / "environment").write_text(f"HTTPS_PROXY=http://{closed}\n")
    assert f"The proxy http://{closed} " in asked()[0]
    assert "can't be reached: Connection refused" in asked()[0]

    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror

    monkeypatch.setattr(socket, "create_connection", unknown)
    assert "has a name that can't be resolved" in asked()[0]


@pytest.mark.parametrize(
    ("name", "no_proxy", "expected"),
    [
        ("a.example.com", "example.com", True),
        ("a.example.com", ".example.com", True),
        ("a.example.com", "*.example.com", True),
        ("example.com", ".example.com", False),
        ("notexample.com", "example.com", False),
        ("a.example.com", "b.example.com, A.example.com ", True),
        ("a.example.com", "a.example.com:443", True),
        ("a.example.com", "a.example.com:8443", False),
        ("10.1.2.3", "10.0.0.0/8", True),
        ("10.1.2.3", "10.1.2.3", True),
        ("11.1.2.3", "10.0.0.0/8", False),
        ("127.0.0.1", "", True),
        ("localhost", "", True),
        ("a.example.com", "*", True),
        ("a.example.com", "", False),
    ],
)
def test_no_proxy(name: str, no_proxy: str, expected: bool) -> None:
    assert excluded(name, 443, no_proxy) is expected
    known = [("test", {"HTTPS_PROXY": "p:1", "NO_PROXY": no_proxy})]
    assert (proxies_for(name, 443, known) == []) is expected
