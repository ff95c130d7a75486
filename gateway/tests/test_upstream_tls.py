"""Upstreams with TLS, and the Host header that they receive."""

from __future__ import annotations

import json
import shlex
import socket
import ssl
import subprocess
import threading
from typing import TYPE_CHECKING, Self

import pytest

from evenkeel_gateway.settings import ConfigurationError, load
from support.upstream import Upstream
from support.wait import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.gateway import GatewayProcess

    Start = Callable[..., GatewayProcess]
    Environment = Callable[..., None]

HEAD = "HTTP/1.1 200 OK\r\nConnection: close\r\n"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A private one, which has signed a certificate of localhost."""
    folder = tmp_path_factory.mktemp("authority")
    for command in (
        "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=Private",
        "req -newkey rsa:2048 -nodes -keyout key.pem -out request.pem -subj /CN=localhost",
        "x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out cert.pem",
    ):
        (folder / "names").write_text("subjectAltName=DNS:localhost\n")
        subprocess.run(["openssl", *shlex.split(command)], cwd=folder, check=True, capture_output=True)
    return folder / "ca.pem"


class SecureServer:
    """It answers with the Host of the request, and keeps the names that handshakes asked for."""

    def __init__(self, authority: Path) -> None:
        self.names: list[str | None] = []
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(authority.with_name("cert.pem"), authority.with_name("key.pem"))
        self._context.sni_callback = lambda _, name, __: self.names.append(name)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._accept, daemon=True)

    @property
    def url(self) -> str:
        return f"https://localhost:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        try:
            with self._context.wrap_socket(plain, server_side=True) as connection:
                request = connection.recv(65536).decode()
                if request:
                    [host] = [line[6:] for line in request.splitlines() if line.lower().startswith("host: ")]
                    body = json.dumps(host)
                    connection.sendall(f"{HEAD}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        except OSError:
            pass  # who does not trust it goes away


@pytest.fixture
def server(authority: Path) -> Iterator[SecureServer]:
    with SecureServer(authority) as running:
        yield running


def routes(*several: dict[str, str]) -> str:
    return json.dumps(several)


def test_a_private_authority_and_a_host_that_fits_the_name(
    gateway: Start, server: SecureServer, authority: Path
) -> None:
    process = gateway(
        PROXY_CA_FILE=str(authority),
        ROUTES=routes(
            {"prefix": "/its-own", "upstream": server.url, "host_header": "upstream"},
            {"prefix": "/text", "upstream": server.url, "host_header": "api.example.com:8080"},
            {"prefix": "/client", "upstream": server.url},
        ),
    ).ready()
    authority_of_url = server.url.removeprefix("https://")
    assert process.request("/its-own", Host="client.test")[:2] == (200, authority_of_url)
    assert process.request("/text", Host="client.test")[:2] == (200, "api.example.com:8080")
    assert process.request("/client", Host="client.test")[:2] == (200, "client.test")
    health = process.request("/api/health/aggregate").body["services"]
    assert health["/its-own"]["answer"] == authority_of_url
    until(lambda: len(server.names) > 9, 10, "checks have come, too")
    assert set(server.names) == {"localhost"}


def test_a_route_has_an_authority_of_its_own(gateway: Start, server: SecureServer, authority: Path) -> None:
    process = gateway(
        ROUTES=routes(
            {"prefix": "/known", "upstream": server.url, "ca_file": str(authority)},
            {"prefix": "/unknown", "upstream": server.url},
        ),
    ).ready()
    assert process.status("/known") == 200
    assert process.status("/unknown") == 503
    health = process.request("/api/health/aggregate").body["services"]["/unknown"]
    assert health["status"] == "unreachable"
    assert "certificate verify failed" in health["error"]
    assert "PROXY_CA_FILE" in health["error"]
    until(lambda: "PROXY_CA_FILE" in process.own_log, 15, "the log tells")


def test_another_host_than_the_clients_without_tls(gateway: Start) -> None:
    with Upstream() as upstream:
        process = gateway(
            ROUTES=routes({"prefix": "/a", "upstream": upstream.url, "host_header": "upstream", "health": "/well"}),
            CIRCUIT_OPEN_SECONDS="1",
        ).ready()
        assert process.request("/a/b", Host="client.test").status == 200
        [request] = [request for request in upstream.requests if request.path == "/a/b"]
        assert request.header("host") == upstream.url.removeprefix("http://")
        assert request.header("x-forwarded-host") == "client.test"
        until(lambda: any(request.path == "/well" for request in upstream.requests), 10, "its health is asked for")
        assert {request.header("host") for request in upstream.requests} == {request.header("host")}


@pytest.mark.parametrize(
    ("route", "text"),
    [
        ({"host_header": "a b"}, "'a b' is neither `upstream` nor a host like api.example.com or api.example.com:8080"),
        ({"upstream": "http://a http://b", "host_header": "upstream"}, "the upstreams have different hosts"),
        ({"ca_file": "relative.pem"}, "'relative.pem' is not an absolute path"),
        ({"ca_file": "/nope.pem"}, "ROUTES: /a: ca_file: /nope.pem: can't be read: No such file or directory"),
        (
            {"ca_file": "/etc/hostname"},
            "ROUTES: /a: ca_file: /etc/hostname: contains no certificate in PEM format",
        ),
    ],
)
def test_what_can_not_be_is_refused(environment: Environment, route: dict[str, str], text: str) -> None:
    environment(ROUTES=routes({"prefix": "/a", "upstream": "https://a.test"} | route))
    with pytest.raises(ConfigurationError) as caught:
        load()
    assert any(text in line for line in caught.value.problems), caught.value.problems
