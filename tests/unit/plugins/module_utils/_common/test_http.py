# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.evenkeel.fleet.plugins.module_utils._common.http import get, unix_request


class Answering:
    """Accepts one connection, keeps what it was asked, and says what it was told to say."""

    def __init__(self, listener: socket.socket, answer: bytes | None) -> None:
        self.asked = b""
        self.listener = listener
        self.answer = answer
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self) -> None:
        connection, _address = self.listener.accept()
        with connection:
            self.asked = connection.recv(65536)
            if self.answer is None:
                connection.settimeout(5)
                connection.recv(1)
            else:
                connection.sendall(self.answer)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def address(listener: socket.socket) -> str:
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_get(listener: socket.socket) -> None:
    server = Answering(listener, b"HTTP/1.1 503 Unavailable\r\nA: b\r\n\r\n" + b'{"status": "starting"}')
    response = get(f"{address(listener)}/api/health?x=1", 5)
    server.thread.join(5)
    assert (response.status, response.json()) == (503, {"status": "starting"})
    assert server.asked.startswith(b"GET /api/health?x=1 HTTP/1.0\r\nHost: 127.0.0.1:")


def test_unix_request(tmp_path: Path) -> None:
    path = str(tmp_path / "engine.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        server = Answering(listener, b"HTTP/1.0 204 No Content\r\n\r\n")
        response = unix_request(path, "POST", "/containers/x/start", {"a": 1}, 5)
        server.thread.join(5)
    assert response.status == 204
    assert response.json() is None
    assert server.asked.endswith(b'\r\n\r\n{"a": 1}')


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-OpenSSH_9\r\n", b"HTTP/1.1\r\n\r\n"])
def test_what_is_not_http(listener: socket.socket, answer: bytes) -> None:
    Answering(listener, answer)
    with pytest.raises(ConnectionError):
        get(address(listener), 5)


def test_silence_ends_in_time(listener: socket.socket) -> None:
    Answering(listener, None)
    with pytest.raises(OSError, match=r"timed out|no complete answer"):
        get(address(listener), 0.2)


def test_nobody_there() -> None:
    with pytest.raises(FileNotFoundError):
        unix_request("/nonexistent/engine.sock", "GET", "/info", None, 1)
