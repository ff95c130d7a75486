"""A client that sends given bytes."""

from __future__ import annotations

import contextlib
import json
import socket
from dataclasses import dataclass
from typing import Any, Self

from support.strict import Stream

_NO_BODY = (204, 304)


@dataclass(frozen=True)
class Response:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Wire:
    def __init__(self, port: int, timeout: float = 5) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout)
        self._stream = Stream(self._receive)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def _receive(self) -> bytes:
        try:
            return self.socket.recv(65536)
        except ConnectionResetError:
            return b""  # the gateway closed before it had read everything

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def response(self, method: str = "GET") -> Response | None:
        """Return the next one (not those of 1xx, but for 101); None at the end of the connection."""
        while True:
            if self._stream.ended():
                return None
            first, *lines = self._stream.until(b"\r\n\r\n", 65536).decode("latin-1").split("\r\n")
            status = int(first.split()[1])
            if status == 101 or status >= 200:
                break
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = b"" if method == "HEAD" or status in _NO_BODY or status == 101 else self._body(headers)
        return Response(status, headers, body)

    def _body(self, headers: dict[str, str]) -> bytes:
        if "content-length" in headers:
            return self._stream.exactly(int(headers["content-length"]))
        body = b""
        if headers.get("transfer-encoding") == "chunked":
            while size := int(self._stream.until(b"\r\n", 64), 16):
                body += self._stream.exactly(size)
                self._stream.exactly(2)
            self._stream.until(b"\r\n", 64)
            return body
        while not self._stream.ended():
            body += self._stream.rest()
        return body

    def responses(self) -> list[Response]:
        """Return what comes until the gateway closes the connection.

        Once it has said that it will, nothing more is sent: HAProxy 3 waits for the rest of a body before it closes.
        """
        found = []
        while (response := self.response()) is not None:
            found.append(response)
            if response.headers.get("connection") == "close":
                with contextlib.suppress(OSError):
                    self.socket.shutdown(socket.SHUT_WR)
        return found

    def rest(self) -> bytes:
        self._stream.ended()
        return self._stream.rest()


def ask(port: int, data: bytes, method: str = "GET", timeout: float = 5) -> Response:
    """Send one request and read its answer."""
    with Wire(port, timeout) as wire:
        wire.send(data)
        response = wire.response(method)
    assert response is not None, "no answer"
    return response
