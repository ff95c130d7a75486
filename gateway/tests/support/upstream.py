"""A backend that sends the bytes that a test sets, and records what it receives."""

from __future__ import annotations

import contextlib
import socket
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO, Self

if TYPE_CHECKING:
    from collections.abc import Callable

HANG_UP = b""


@dataclass
class Request:
    method: str
    path: str
    headers: list[tuple[str, str]]
    connection: int
    """Which of the connections it came on."""
    body: bytes = b""
    trailers: list[tuple[str, str]] = field(default_factory=list)
    version: str = ""

    def header(self, name: str) -> str | None:
        values = self.all(name)
        assert len(values) < 2, f"{name} came more than once: {values}"
        return values[0] if values else None

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]

    @property
    def names(self) -> set[str]:
        return {name.lower() for name, _ in self.headers}


def answer(status: int = 200, body: bytes | str = b"", **headers: str | list[str]) -> bytes:
    """Underscores in the names of headers stand for hyphens; a list is a header for each."""
    data = body.encode() if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status} x"]
    for name, values in ({"Content_Length": str(len(data))} | headers).items():
        lines += [f"{name.replace('_', '-')}: {value}" for value in ([values] if isinstance(values, str) else values)]
    return "\r\n".join([*lines, "", ""]).encode() + data


class Upstream:
    """`respond` gets a request and returns the bytes of the answer, HANG_UP for none, or takes the socket over."""

    def __init__(self, respond: Callable[[Request, socket.socket], bytes | None] | bytes = b"") -> None:
        self.requests: list[Request] = []
        self.open = 0
        self.respond = respond or answer()
        self._connections = 0
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self._thread = threading.Thread(target=self._accept, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    @property
    def connections(self) -> int:
        """How many there have been that carried a request."""
        return len({request.connection for request in self.requests})

    @property
    def last(self) -> Request:
        return self.requests[-1]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for one in self._sockets:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self._connections += 1
                self._sockets.add(connection)
                number = self._connections
            threading.Thread(target=self._serve, args=(connection, number), daemon=True).start()

    def _serve(self, connection: socket.socket, number: int) -> None:
        with self._lock:
            self.open += 1
        try:
            with connection, connection.makefile("rb") as stream:
                while request := _read(stream, number):
                    self.requests.append(request)
                    data = self.respond if isinstance(self.respond, bytes) else self.respond(request, connection)
                    if data is not None:
                        connection.sendall(data)
                    if not data or request.header("connection") == "close":
                        return
        except (OSError, ValueError):
            pass  # who goes away is what some tests are about
        finally:
            with self._lock:
                self.open -= 1
                self._sockets.discard(connection)


def _read(stream: BinaryIO, number: int) -> Request | None:
    line = stream.readline().decode("latin-1")
    if not line:
        return None
    method, path, version = line.split(" ", 2)
    request = Request(method, path, _headers(stream), number, version=version.strip())
    if "chunked" in request.all("transfer-encoding"):
        while size := int(stream.readline().split(b";")[0], 16):
            request.body += stream.read(size)
            stream.readline()
        request.trailers = _headers(stream)
    else:
        request.body = stream.read(int(request.header("content-length") or 0))
    return request


def _headers(stream: BinaryIO) -> list[tuple[str, str]]:
    headers = []
    while line := stream.readline().decode("latin-1").rstrip("\r\n"):
        name, _, value = line.partition(":")
        headers.append((name, value.strip()))
    return headers
