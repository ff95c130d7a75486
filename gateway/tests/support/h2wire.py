"""An HTTP/2 client that sends any frames, valid or not."""

from __future__ import annotations

import contextlib
import socket
from dataclasses import dataclass
from typing import Self

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, DataReceived, ResponseReceived, StreamEnded, StreamReset
from h2.exceptions import ProtocolError

_RST_STREAM = 3
Headers = list[tuple[bytes, bytes]]


@dataclass
class Outcome:
    """`status` is 0 where the stream or the connection was reset."""

    status: int = 0
    headers: dict[str, str] | None = None
    body: bytes = b""


class H2Wire:
    def __init__(self, port: int, timeout: float = 5) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout)
        self.connection = H2Connection(
            H2Configuration(
                client_side=True,
                header_encoding=None,
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
                validate_inbound_headers=True,
            )
        )
        self.connection.initiate_connection()
        self.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def flush(self) -> None:
        self.socket.sendall(self.connection.data_to_send())

    def ask(
        self,
        headers: Headers,
        body: bytes | None = None,
        trailers: Headers | None = None,
        *,
        until_headers: bool = False,
    ) -> Outcome:
        stream = self.connection.get_next_available_stream_id()
        self.connection.send_headers(stream, headers, end_stream=body is None and not trailers and not until_headers)
        if body is not None:
            self.connection.send_data(stream, body, end_stream=not trailers)
        if trailers:
            self.connection.send_headers(stream, trailers, end_stream=True)
        try:
            self.flush()
            return self._outcome(stream, until_headers=until_headers)
        except (ConnectionResetError, BrokenPipeError, ProtocolError):
            return Outcome()  # also for what comes behind a GOAWAY

    def _outcome(self, stream: int, *, until_headers: bool) -> Outcome:
        outcome = Outcome()
        while data := self.socket.recv(65536):
            for event in self.connection.receive_data(data):
                if isinstance(event, ConnectionTerminated):
                    return Outcome()
                if getattr(event, "stream_id", None) != stream:
                    continue
                if isinstance(event, ResponseReceived):
                    outcome.headers = {name.decode(): value.decode("latin-1") for name, value in event.headers or ()}
                    outcome.status = int(outcome.headers[":status"])
                    if until_headers:
                        return outcome
                elif isinstance(event, DataReceived):
                    outcome.body += event.data or b""
                elif isinstance(event, StreamEnded):
                    return outcome
                elif isinstance(event, StreamReset):
                    # A reset after a whole answer only says that the rest of the request is not wanted.
                    return outcome if outcome.status else Outcome()
            self.flush()
        return Outcome()

    def ending(self, stream: int, seconds: float = 0.2) -> tuple[int, int | None]:
        """Return the status, and the code of a reset of the stream, also where that follows a whole answer."""
        status, received = 0, b""
        with contextlib.suppress(TimeoutError):
            while data := self.socket.recv(65536):
                received += data
                for event in self.connection.receive_data(data):
                    if isinstance(event, ResponseReceived):
                        status = int(dict(event.headers)[b":status"])
                    elif isinstance(event, StreamEnded):
                        self.socket.settimeout(seconds)
        # h2 does not tell of a reset of a stream that both sides have ended.
        while received:
            end = 9 + int.from_bytes(received[:3])
            if received[3] == _RST_STREAM and int.from_bytes(received[5:9]) == stream:
                return status, int.from_bytes(received[9:end])
            received = received[end:]
        return status, None
