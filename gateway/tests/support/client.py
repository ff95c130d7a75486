"""A client that sends exactly what a test sets, from any address of the loopback network."""

from __future__ import annotations

import http.client
import json
import socket
from contextlib import closing
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

LOCAL = "127.0.0.1"
STRANGER = "127.0.0.2"
SECONDS = 15


class Reply(NamedTuple):
    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        values = self.all(name)
        assert len(values) < 2, f"{name} came more than once: {values}"
        return values[0] if values else None

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """One connection, kept."""

    def __init__(self, port: int, source: str = LOCAL) -> None:
        self._connection = http.client.HTTPConnection(LOCAL, port, timeout=SECONDS, source_address=(source, 0))

    def ask(
        self,
        path: str,
        method: str = "GET",
        headers: Iterable[tuple[str, str]] | dict[str, str] = (),
        body: bytes | None = None,
        host: str | None = None,
    ) -> Reply:
        connection = self._connection
        connection.putrequest(method, path, skip_host=host is not None, skip_accept_encoding=True)
        if host is not None:
            connection.putheader("Host", host)
        for name, value in headers.items() if isinstance(headers, dict) else headers:
            connection.putheader(name, value)
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        return Reply(answer.status, answer.getheaders(), answer.read())

    def close(self) -> None:
        self._connection.close()


def ask(port: int, path: str, method: str = "GET", *, source: str = LOCAL, **more: Any) -> Reply:
    with closing(Client(port, source)) as client:
        return client.ask(path, method, **more)


def exchange(port: int, data: bytes, source: str = LOCAL) -> bytes:
    """Send bytes as they are; the result is everything until the connection is closed."""
    with socket.create_connection((LOCAL, port), SECONDS, (source, 0)) as connection:
        connection.sendall(data)
        received = b""
        while more := connection.recv(65536):
            received += more
        return received
