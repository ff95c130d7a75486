# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Long streams, many websockets, starts and reloads."""

from __future__ import annotations

import base64
import http.client
import os
import selectors
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from statistics import median

from tests.bench.gateway.machine import BenchError, free_port, resident_megabytes, until
from tests.bench.gateway.targets import HERE, Bench, Target, gateway_argv, healthy

DOWNLOAD_BYTES = 10_000_000_000
UPLOAD_BYTES = 2_000_000_000  # what takes it in is slower than the gateway
STREAM_TIMEOUT = 120
SOCKETS = 2000
RELOADS = 20


@dataclass
class Memory:
    """The highest RSS seen of a gateway, HAProxy and control plane together, by program at that moment."""

    root: int
    most: dict[str, float] = field(default_factory=dict)

    @property
    def total(self) -> float:
        return sum(self.most.values())

    @property
    def text(self) -> str:
        parts = sorted(self.most.items(), key=lambda item: -item[1])
        return f"{self.total:.0f} MB ({', '.join(f'{name} {used:.0f}' for name, used in parts)})"

    def look(self) -> None:
        now = resident_megabytes(self.root)
        if sum(now.values()) > self.total:
            self.most = now

    @contextmanager
    def watched(self) -> Iterator[None]:
        over = threading.Event()

        def watch() -> None:
            while not over.wait(0.2):
                self.look()

        thread = threading.Thread(target=watch)
        self.look()
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            self.look()


def origin(bench: Bench) -> int:
    """The upstream for what is long; returns its port."""
    port = free_port()
    bench.processes.serve("origin", port, [sys.executable, str(HERE / "origin.py"), str(port)])
    return port


def _head(gateway: Target, method: str, action: str, *more: str) -> bytes:
    lines = [f"{method} /api/long/{action} HTTP/1.1", "Host: bench", *more]
    if gateway.tokens[0]:
        lines.append(f"Authorization: Bearer {gateway.tokens[0]}")
    return "\r\n".join([*lines, "", ""]).encode()


def _read_head(connection: socket.socket) -> tuple[int, bytes]:
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(65536)
        if not more:
            raise BenchError(f"the connection was closed: {data[:300]!r}")
        data += more
    head, _, rest = data.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), rest


def _connect(gateway: Target) -> socket.socket:
    return socket.create_connection(("127.0.0.1", gateway.port), timeout=30)


def download(gateway: Target, size: int = DOWNLOAD_BYTES) -> tuple[float, Memory]:
    """Seconds, and the memory meanwhile."""
    memory, began = Memory(gateway.processes[0]), time.monotonic()
    with memory.watched(), closing(_connect(gateway)) as connection:
        connection.sendall(_head(gateway, "GET", f"stream?{size}"))
        status, rest = _read_head(connection)
        got, buffer = len(rest), bytearray(1 << 20)
        while got < size and time.monotonic() - began < STREAM_TIMEOUT:
            count = connection.recv_into(buffer)
            if not count:
                break
            got += count
    if status != 200 or got != size:
        raise BenchError(f"a download of {size} bytes: status {status}, {got} bytes came")
    return time.monotonic() - began, memory


def upload(gateway: Target, size: int = UPLOAD_BYTES) -> tuple[float, Memory]:
    memory, began, chunk = Memory(gateway.processes[0]), time.monotonic(), bytes(1 << 18)
    with memory.watched(), closing(_connect(gateway)) as connection:
        connection.sendall(_head(gateway, "POST", "sink", f"Content-Length: {size}"))
        sent = 0
        while sent < size and time.monotonic() - began < STREAM_TIMEOUT:
            connection.sendall(chunk[: size - sent])
            sent += min(len(chunk), size - sent)
        status, _ = _read_head(connection)
    if status != 200 or sent != size:
        raise BenchError(f"an upload of {size} bytes: status {status}, {sent} bytes went")
    return time.monotonic() - began, memory


def websockets(gateway: Target, count: int = SOCKETS, idle_seconds: float = 3) -> Memory:
    """Open that many, leave them idle, and see that each is alive still."""
    memory, connections = Memory(gateway.processes[0]), []
    try:
        with memory.watched():
            for number in range(count):
                connection = _connect(gateway)
                connections.append(connection)
                key = base64.b64encode(number.to_bytes(16, "big")).decode()
                upgrade = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13")
                connection.sendall(_head(gateway, "GET", "echo", *upgrade, f"Sec-WebSocket-Key: {key}"))
                status, _ = _read_head(connection)
                if status != 101:
                    raise BenchError(f"websocket {number + 1} of {count} was answered with {status}")
            time.sleep(idle_seconds)
            memory.look()
        _echo(connections)
    finally:
        for connection in connections:
            connection.close()
    return memory


def _echo(connections: list[socket.socket]) -> None:
    with selectors.DefaultSelector() as selector:
        for connection in connections:
            connection.sendall(b"\x81\x80\x00\x00\x00\x00")  # an empty text frame
            selector.register(connection, selectors.EVENT_READ, connection)
        waiting, ends = set(connections), time.monotonic() + 30
        while waiting and time.monotonic() < ends:
            for key, _ in selector.select(1):
                answered: socket.socket = key.data
                if not answered.recv(100):
                    raise BenchError("an idle websocket was closed")
                selector.unregister(answered)
                waiting.discard(answered)
    if waiting:
        raise BenchError(f"{len(waiting)} websockets no longer respond")


def start_seconds(bench: Bench, features: tuple[str, ...], **settings: str) -> float:
    """From the process's start to the first good answer of /api/health."""
    port = free_port()
    env = bench.gateway_env(port, features, None, **settings)
    began = time.monotonic()
    process = bench.processes.start("gateway-start", gateway_argv(), env)
    try:
        until(lambda: healthy(port) or process.poll() is not None, 30, "a gateway that was started is healthy")
        took = time.monotonic() - began
        if process.poll() is not None:
            raise BenchError(f"a gateway ended right after its start; see {bench.folder}/gateway-start.log")
    finally:
        bench.processes.stop(process)
    return took


@dataclass
class Clients:
    """Clients that ask one after the other until they are told to stop, and what came of it."""

    gateway: Target
    over: threading.Event = field(default_factory=threading.Event)
    asked: int = 0
    failed: list[str] = field(default_factory=list)

    def ask(self, *, keep: bool) -> None:
        """On a connection that is kept for as long as the gateway keeps it, or on a new one for each request.

        http.client connects again where the last answer said that the connection is closed; where it is closed
        without a word the request fails, and counts.
        """
        token = self.gateway.tokens[0]
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        connection = http.client.HTTPConnection("127.0.0.1", self.gateway.port, timeout=10)
        while not self.over.wait(0.01):
            self.asked += 1
            try:
                connection.request("GET", self.gateway.path, headers=headers)
                answer = connection.getresponse()
                answer.read()
                if answer.status != 200:
                    self.failed.append(f"status {answer.status}")
            except (OSError, http.client.HTTPException) as error:
                self.failed.append(f"{error!r} on a {'kept' if keep else 'new'} connection")
                connection.close()
            if not keep:
                connection.close()
        connection.close()


def reloads(gateway: Target, count: int = RELOADS, pause: float = 0.3) -> tuple[Clients, float]:
    """Reload HAProxy that many times while requests come; also the seconds that a reload took."""
    clients, took = Clients(gateway), []
    threads = [threading.Thread(target=clients.ask, kwargs={"keep": number % 4 != 0}) for number in range(8)]
    for thread in threads:
        thread.start()
    try:
        for number in range(count):
            time.sleep(pause)
            took.append(reload(gateway, number + 1))
        time.sleep(pause)
    finally:
        clients.over.set()
        for thread in threads:
            thread.join()
    return clients, median(took)


def reload(gateway: Target, number: int) -> float:
    """Change the configuration, and return when another HAProxy serves, with the seconds that it took."""
    if gateway.folder is None:
        raise BenchError(f"{gateway.name} has no configuration to change")
    current = gateway.folder / "current"
    before = current.readlink()
    (gateway.folder / ".env").write_text(f"PROXY_TIMEOUT_READ_SECONDS={60 + number}\n")
    os.kill(gateway.processes[0], signal.SIGHUP)
    return until(lambda: current.readlink() != before, 10, "a reload brings a new HAProxy")
