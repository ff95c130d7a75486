"""A backend that records the exact bytes that it receives, and parses them as strictly as possible."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import socket
import threading
from typing import Self

from support.strict import Request, Stream, Violation, read_request

HEALTH = "/health"

_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n"
_OK_TO_HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_NO_UPGRADE = b"HTTP/1.1 426 Upgrade Required\r\nSec-WebSocket-Version: 13\r\nContent-Length: 3\r\n\r\nno\n"
_SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: %s\r\n\r\n"
)
_WEBSOCKET = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Recorder:
    """Answers 200. The last segment of a path may ask for something else:

    `early`: the answer comes before the body is read; `early-close`: and the connection ends with it;
    `switch`: 101, whatever was asked; `no-upgrade`: 426.
    """

    def __init__(self) -> None:
        self.received: list[bytearray] = []
        """Of each connection."""
        self.requests: list[Request] = []
        self.violations: list[str] = []
        self.cut: list[str] = []
        """Requests that ended in the middle: the gateway gave up on them."""
        self.tunnelled = bytearray()
        """What came after a 101."""
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self._acceptor = threading.Thread(target=self._accept, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    @property
    def targets(self) -> list[str]:
        return [request.target for request in self.requests]

    def __enter__(self) -> Self:
        self._acceptor.start()
        return self

    def __exit__(self, *_: object) -> None:
        # A thread in accept() is woken by shutdown, not by close.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._acceptor.join(5)
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def forget(self) -> None:
        """Start anew; the connections stay."""
        with self._lock:
            for received in self.received:
                received.clear()
            self.requests.clear()
            self.violations.clear()
            self.cut.clear()
            self.tunnelled.clear()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        received = bytearray()
        with self._lock:
            self.received.append(received)
            self._open.add(connection)

        def receive() -> bytes:
            try:
                data = connection.recv(65536)
            except ConnectionResetError:
                data = b""
            with self._lock:
                received.extend(data)
            return data

        try:
            with connection:
                self._requests(connection, Stream(receive))
        except OSError:
            pass  # the gateway went away
        finally:
            with self._lock:
                self._open.discard(connection)

    def _requests(self, connection: socket.socket, stream: Stream) -> None:
        while (request := self._next(connection, stream)) is not None:
            last = request.path.rpartition("/")[2]
            if last == "switch":
                connection.sendall(_SWITCH % _accept(request))
                self._tunnel(connection, stream)
                return
            if last == "early-close":
                return
            if last != "early":
                connection.sendall(_answer(request))

    def _next(self, connection: socket.socket, stream: Stream) -> Request | None:
        heads: list[Request] = []

        def on_head(request: Request) -> None:
            heads.append(request)
            if request.get("expect"):
                connection.sendall(_CONTINUE)
            if request.path.endswith(("/early", "/early-close")):
                connection.sendall(_OK)

        try:
            request = read_request(stream, on_head)
        except Violation as violation:
            with self._lock:
                self.violations.append(str(violation))
            return None
        except EOFError:
            with self._lock:
                self.cut.append(heads[0].target if heads else "")
            return None
        if request is not None and request.path != HEALTH:
            with self._lock:
                self.requests.append(request)
        return request

    def _tunnel(self, connection: socket.socket, stream: Stream) -> None:
        while not stream.ended():
            data = stream.rest()
            with self._lock:
                self.tunnelled += data
            connection.sendall(data)


def _accept(request: Request) -> bytes:
    return base64.b64encode(hashlib.sha1((request.get("sec-websocket-key") or b"") + _WEBSOCKET).digest())


def _answer(request: Request) -> bytes:
    if request.path.endswith("/no-upgrade"):
        return _NO_UPGRADE
    return _OK_TO_HEAD if request.method == "HEAD" else _OK
