"""A strict HTTP/1.1 parser: one reading, or a violation.

What a gateway passes on must be read in the same way by every backend, so it must satisfy this reader: nothing that
RFC 9112 leaves to a recipient's mercy is let through here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_REQUEST_LINE = re.compile(rb"([A-Z][A-Z-]*) (/[\x21\x22\x24-\x7e]*) HTTP/1\.([01])")
_NAME = re.compile(rb"[A-Za-z0-9!#$%&'*+.^`|~-]+")  # no underscore: CGI reads it as a dash
_VALUE = re.compile(rb"[\x20-\x7e\x80-\xff\t]*")
_LENGTH = re.compile(rb"0|[1-9][0-9]{0,14}")
_CHUNK = re.compile(rb"0|[1-9A-Fa-f][0-9A-Fa-f]{0,15}")
_BREAKS = re.compile(rb"[\r\n\0]")
_HOST = re.compile(rb"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]+)?")
_HOP_BY_HOP = (b"close", b"keep-alive", b"te", b"upgrade")
_ONCE = ("host", "content-length", "transfer-encoding", "authorization", "content-type", "x-request-id")
_HEAD_LIMIT = 65536
_LINE_LIMIT = 16384


class Violation(Exception):  # noqa: N818  # it is what the tests look for
    """These bytes could be read in more than one way."""


@dataclass
class Request:
    method: str
    target: str
    headers: list[tuple[str, bytes]]
    """The names in lower case."""
    body: bytes = b""
    trailers: list[bytes] = field(default_factory=list)
    """Not looked into: they are no headers, and a backend that takes them for some is wrong."""

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    def all(self, name: str) -> list[bytes]:
        return [value for known, value in self.headers if known == name]

    def get(self, name: str) -> bytes | None:
        found = self.all(name)
        return found[0] if found else None


class Stream:
    """Bytes as they come: `receive()` gives some more, none at the end."""

    def __init__(self, receive: Callable[[], bytes]) -> None:
        self._receive = receive
        self._buffer = bytearray()

    def _more(self) -> None:
        data = self._receive()
        if not data:
            raise EOFError
        self._buffer += data

    def ended(self) -> bool:
        if not self._buffer:
            self._buffer += self._receive()
        return not self._buffer

    def rest(self) -> bytes:
        """What has come and was not read yet."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        return rest

    def exactly(self, count: int) -> bytes:
        while len(self._buffer) < count:
            self._more()
        data = bytes(self._buffer[:count])
        del self._buffer[:count]
        return data

    def until(self, end: bytes, limit: int) -> bytes:
        while (at := self._buffer.find(end)) < 0:
            if len(self._buffer) > limit:
                raise Violation(f"no end of {bytes(self._buffer[:80])!r}")
            self._more()
        data = bytes(self._buffer[:at])
        del self._buffer[: at + len(end)]
        return data


def read_request(stream: Stream, on_head: Callable[[Request], None] | None = None) -> Request | None:
    """Read exactly one request; None where the stream ends before it starts, EOFError where it ends within."""
    if stream.ended():
        return None
    first, *lines = stream.until(b"\r\n\r\n", _HEAD_LIMIT).split(b"\r\n")
    match = _REQUEST_LINE.fullmatch(first)
    if not match:
        raise Violation(f"request line {first!r}")
    request = Request(match[1].decode(), match[2].decode(), _fields(lines))
    _check_headers(request)
    length = _length(request)
    if length is None and match[3] == b"0":
        raise Violation("chunks in HTTP/1.0")
    if on_head:
        on_head(request)
    if length is None:
        request.body, request.trailers = _chunked(stream)
    else:
        request.body = stream.exactly(length)
    return request


def _fields(lines: list[bytes]) -> list[tuple[str, bytes]]:
    fields = []
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not _NAME.fullmatch(name):
            raise Violation(f"header name in {line!r}")
        if not _VALUE.fullmatch(value):
            raise Violation(f"header value in {line!r}")
        fields.append((name.decode().lower(), value.strip(b" \t")))
    return fields


def _check_headers(request: Request) -> None:
    for name in _ONCE:
        if len(request.all(name)) > 1:
            raise Violation(f"{name} more than once")
    host = request.get("host")
    if host is None or not _HOST.fullmatch(host):
        raise Violation(f"host {host!r}")
    for value in request.all("connection"):
        for token in value.lower().split(b","):
            if token.strip() not in _HOP_BY_HOP:
                raise Violation(f"connection names {token!r}")
    upgrade = request.get("upgrade")
    if upgrade is not None and upgrade.lower() != b"websocket":
        raise Violation(f"upgrade to {upgrade!r}")


def _length(request: Request) -> int | None:
    """How long the body is; None where it comes in chunks."""
    length, encoding = request.get("content-length"), request.get("transfer-encoding")
    if encoding is not None:
        if length is not None:
            raise Violation("content-length beside transfer-encoding")
        if encoding != b"chunked":
            raise Violation(f"transfer-encoding {encoding!r}")
        return None
    if length is None:
        return 0
    if not _LENGTH.fullmatch(length):
        raise Violation(f"content-length {length!r}")
    return int(length)


def _chunked(stream: Stream) -> tuple[bytes, list[bytes]]:
    body = bytearray()
    while True:
        line = stream.until(b"\r\n", _LINE_LIMIT)
        if not _CHUNK.fullmatch(line):
            raise Violation(f"chunk size {line!r}")
        size = int(line, 16)
        if not size:
            break
        body += stream.exactly(size)
        end = stream.exactly(2)
        if end != b"\r\n":
            raise Violation(f"end of a chunk {end!r}")
    lines = []
    while line := stream.until(b"\r\n", _LINE_LIMIT):
        if _BREAKS.search(line):
            raise Violation(f"trailer {line!r}")
        lines.append(line)
    return bytes(body), lines
