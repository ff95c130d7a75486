# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One HTTP request over a UNIX or TCP socket.

http.client costs 25 ms of CPU to import, more than everything else in a call that changes nothing. HTTP/1.0 leaves out
chunks and connection reuse, so that a whole client is a few lines.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

MAX_BYTES = 64 * 2**20

# The address and port to connect to instead, by port. The request itself stays unchanged.
PortMap = Mapping[int, "tuple[str, int]"]


@dataclass(frozen=True)
class Response:
    status: int
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body) if self.body.strip() else None

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")


def get(url: str, timeout: float, verify: bool = True, port_map: PortMap | None = None) -> Response:
    """GET an http or https URL; raises OSError without an answer, or for a wrong certificate (`verify`)."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    secure = parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    connection = socket.create_connection((port_map or {}).get(port) or (host, port), timeout)
    if secure:
        import ssl

        context = ssl.create_default_context()
        if not verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        connection = context.wrap_socket(connection, server_hostname=host)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return exchange(connection, "GET", target, parts.netloc.rpartition("@")[2], None, timeout)


def unix_request(path: str, method: str, target: str, body: Any, timeout: float) -> Response:
    """Send a request with a JSON body to a UNIX socket."""
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(timeout)
    try:
        connection.connect(path)
    except OSError:
        connection.close()
        raise
    return exchange(connection, method, target, "localhost", body, timeout)


def exchange(connection: socket.socket, method: str, target: str, host: str, body: Any, timeout: float) -> Response:
    content = b"" if body is None else json.dumps(body).encode()
    head = f"{method} {target} HTTP/1.0\r\nHost: {host}\r\nAccept: */*\r\nContent-Length: {len(content)}\r\n"
    if body is not None:
        head += "Content-Type: application/json\r\n"
    deadline = time.monotonic() + timeout
    received = bytearray()
    with connection:
        connection.sendall(head.encode() + b"\r\n" + content)
        while True:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise TimeoutError(f"no complete answer within {timeout:g} s")
            connection.settimeout(remaining)
            chunk = connection.recv(65536)
            if not chunk or len(received) > MAX_BYTES:
                break
            received += chunk
    return parse_response(bytes(received))


def parse_response(received: bytes) -> Response:
    head, separator, body = received.partition(b"\r\n\r\n")
    words = head.split(b" ", 2)
    if not separator or not words[0].startswith(b"HTTP/") or not words[1:2] or not words[1][:3].isdigit():
        raise ConnectionError("the answer isn't HTTP" if received else "the connection was closed without an answer")
    return Response(int(words[1][:3]), body)
