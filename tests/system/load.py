# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Clients of the load balancer, and somebody who looks all the time who leads."""

from __future__ import annotations

import base64
import http.client
import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing, suppress
from urllib.parse import urlsplit

CLIENTS = 8
SLOW_SECONDS = 5
STREAM_BYTES = 20_000_000
STREAM_SECONDS = 4.0
WEBSOCKET_SECONDS = 6.0


class Background:
    """Threads that run while a test does something else."""

    def __init__(self, *work: Callable[[], None]) -> None:
        self.over = threading.Event()
        self._threads = [threading.Thread(target=one, daemon=True) for one in work]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self.over.set()
        for thread in self._threads:
            thread.join(30)


class Clients(Background):
    """Some keep their connections, others make a new one for each request; `rate` requests/s together.

    `mixed`: besides, some ask for what takes five seconds, some stream 20 MB slowly, some talk over websockets.
    `answered` counts by kind, `failures` has a line for each request, stream or conversation that was cut.
    """

    def __init__(self, url: str, rate: float, *, mixed: bool = False) -> None:
        kinds = [self._new, self._kept] * (CLIENTS // 2)
        others = [self._slow, self._slow, self._stream, self._websocket, self._websocket] if mixed else []
        super().__init__(*kinds, *others)
        self.address = urlsplit(url).netloc
        self.pause = CLIENTS / rate
        self.counts: Counter[str] = Counter()
        self.failures: list[str] = []
        self._lock = threading.Lock()

    def __enter__(self) -> Clients:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def answered(self) -> int:
        return sum(self.counts.values())

    def _new(self) -> None:
        def ask() -> None:
            with closing(http.client.HTTPConnection(self.address, timeout=10)) as connection:
                read(connection, "/api/users/hello")

        self._again("new connection", ask, self.pause)

    def _kept(self) -> None:
        with closing(http.client.HTTPConnection(self.address, timeout=10)) as connection:

            def ask() -> None:
                try:
                    read(connection, "/api/users/hello")
                except Exception:
                    connection.close()
                    raise

            self._again("kept connection", ask, self.pause)

    def _slow(self) -> None:
        def ask() -> None:
            with closing(http.client.HTTPConnection(self.address, timeout=30)) as connection:
                read(connection, f"/api/orders/slow?delay={SLOW_SECONDS}")

        self._again("slow answer", ask)

    def _stream(self) -> None:
        def ask() -> None:
            with closing(http.client.HTTPConnection(self.address, timeout=30)) as connection:
                size = read(connection, f"/api/catalog/large?size={STREAM_BYTES}", STREAM_SECONDS)
                if size != STREAM_BYTES:
                    raise OSError(f"{size} of {STREAM_BYTES} bytes")

        self._again("stream", ask)

    def _websocket(self) -> None:
        self._again("websocket", lambda: converse(self.address, "/api/users/socket"))

    def _again(self, kind: str, ask: Callable[[], None], pause: float = 0.1) -> None:
        while not self.over.is_set():
            started = time.monotonic()
            problem = ""
            try:
                ask()
            except (OSError, http.client.HTTPException) as error:
                problem = f"{kind}: {error!r}"
            with self._lock:
                if problem:
                    self.failures.append(problem)
                else:
                    self.counts[kind] += 1
            self.over.wait(max(0.0, started + pause - time.monotonic()))


def read(connection: http.client.HTTPConnection, path: str, seconds: float = 0.0) -> int:
    """How many bytes the answer has; taken slowly, where seconds are given. Raises OSError unless it is a 200."""
    connection.request("GET", path)
    answer = connection.getresponse()
    size = 0
    while part := answer.read(STREAM_BYTES // 100 if seconds else None):
        size += len(part)
        time.sleep(seconds / 100 if answer.status == 200 else 0)
    if answer.status != 200:
        raise OSError(f"status {answer.status}")
    return size


def converse(address: str, path: str) -> None:
    """What is said twice a second on a websocket comes back."""
    host, _colon, port = address.partition(":")
    key = base64.b64encode(os.urandom(16)).decode()
    with socket.create_connection((host, int(port or 80)), timeout=10) as connection:
        connection.sendall(
            f"GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
        )
        head = b""
        while b"\r\n\r\n" not in head:
            part = connection.recv(4096)
            if not part:
                raise OSError("closed instead of an answer")
            head += part
        if b" 101 " not in head.partition(b"\r\n")[0]:
            raise OSError(head.partition(b"\r\n")[0].decode())
        until = time.monotonic() + WEBSOCKET_SECONDS
        while time.monotonic() < until:
            frame = b"\x82\x84\0\0\0\0" + os.urandom(4)
            connection.sendall(frame)
            back = b""
            while len(back) < len(frame):
                part = connection.recv(len(frame) - len(back))
                if not part:
                    raise OSError("cut in a conversation")
                back += part
            if back != frame:
                raise OSError("another answer than what was said")
            time.sleep(0.5)


class Watch(Background):
    """Who said to lead, from moment to moment."""

    def __init__(self, leaders: Callable[[], list[str]]) -> None:
        super().__init__(self._work)
        self.seen: list[tuple[float, tuple[str, ...]]] = []
        self._leaders = leaders

    def __enter__(self) -> Watch:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _work(self) -> None:
        while not self.over.is_set():
            with suppress(OSError):
                self.seen.append((time.monotonic(), tuple(self._leaders())))
            self.over.wait(0.05)

    @property
    def most_at_once(self) -> int:
        return max(len(leaders) for _moment, leaders in self.seen)

    @property
    def changes(self) -> int:
        """How often another one led than before."""
        names = [leaders[0] for _moment, leaders in self.seen if leaders]
        return sum(before != after for before, after in zip(names, names[1:]))
