# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Clients of all kinds, until stdin ends and COUNT requests are done: python mixed_load.py HOST PORT RATE COUNT [PATH…]

Kept connections and new ones (RATE requests/s together), slow answers of 5 s, downloads of 20 MB that take some 5 s,
and websockets of 8 s. Prints as JSON how many of each kind were done, and each that failed or was cut. A connection
that was kept and is closed instead of answering counts as a failure, even where a client might simply ask again.
"""

from __future__ import annotations

import asyncio
import collections
import itertools
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable

HOST, PORT, RATE, COUNT = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
# Each request has the next path.
PATHS = itertools.cycle(sys.argv[5:] or ["/api/users/hello"])
KEPT, NEW, SLOW, STREAMS, WEBSOCKETS = 12, 12, 3, 1, 2
LATE_SECONDS = 1.0
SLOW_SECONDS = 5
STREAM_BYTES = 20_000_000
PIECES = 50
WEBSOCKET_SECONDS = 8
TIMEOUT = 30.0


class Load:
    def __init__(self) -> None:
        self.done: collections.Counter[str] = collections.Counter()
        self.failures: list[str] = []
        self.over = asyncio.Event()

    async def repeat(self, kind: str, once: Callable[[], Awaitable[None]], pause: float = 0.0) -> None:
        due = time.monotonic()
        while not self.over.is_set():
            try:
                async with asyncio.timeout(TIMEOUT):
                    await once()
                self.done[kind] += 1
            except (OSError, EOFError, ValueError, TimeoutError) as error:
                self.failures.append(f"{time.time():.3f} {kind}: {error!r}")
            # Who is late catches up, so that the rate is held.
            due = max(due + pause, time.monotonic() - LATE_SECONDS)
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def run(self) -> None:
        pause = (KEPT + NEW) / RATE
        clients = [self.repeat("kept", Kept().ask, pause) for _number in range(KEPT)]
        clients += [self.repeat("new", ask_anew, pause) for _number in range(NEW)]
        clients += [self.repeat("slow", slow) for _number in range(SLOW)]
        clients += [self.repeat("stream", download) for _number in range(STREAMS)]
        clients += [self.repeat("websocket", talk) for _number in range(WEBSOCKETS)]
        tasks = [asyncio.create_task(client) for client in clients]
        await asyncio.to_thread(sys.stdin.read)
        while self.done.total() < COUNT and len(self.failures) < COUNT:
            await asyncio.sleep(0.1)
        self.over.set()
        await asyncio.gather(*tasks)
        print(json.dumps({"done": self.done, "failures": self.failures}))


class Connection:
    """One connection; `closes` once the server has said so."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.closes = False

    @classmethod
    async def open(cls) -> Connection:
        return cls(*await asyncio.open_connection(HOST, PORT))

    async def send(self, path: str, *headers: str) -> int:
        """Send a request and read the answer's head: how long its body is."""
        lines = [f"GET {path} HTTP/1.1", f"Host: {HOST}", *headers, "", ""]
        self.writer.write("\r\n".join(lines).encode())
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().lower()
        status = head.split()[1]
        if status not in ("200", "101"):
            raise ValueError(head + repr(await self.reader.read(300)))
        self.closes = "\r\nconnection: close\r\n" in head
        return int(head.partition("\r\ncontent-length: ")[2].partition("\r\n")[0] or 0)

    def close(self) -> None:
        self.writer.close()


class Kept:
    def __init__(self) -> None:
        self.connection: Connection | None = None

    async def ask(self) -> None:
        connection = self.connection = self.connection or await Connection.open()
        try:
            await connection.reader.readexactly(await connection.send(next(PATHS)))
        except Exception:
            connection.closes = True
            raise
        finally:
            if connection.closes:
                connection.close()
                self.connection = None


async def ask_anew() -> None:
    connection = await Connection.open()
    try:
        await connection.reader.readexactly(await connection.send(next(PATHS)))
    finally:
        connection.close()


async def slow() -> None:
    connection = await Connection.open()
    try:
        await connection.reader.readexactly(await connection.send(f"{next(PATHS)}?delay={SLOW_SECONDS}"))
    finally:
        connection.close()


async def download() -> None:
    """At the pace of a client's line."""
    connection = await Connection.open()
    try:
        left = await connection.send(f"{next(PATHS)}?size={STREAM_BYTES}")
        if left != STREAM_BYTES:
            raise ValueError(f"{left} bytes were announced")
        while left:
            piece = min(left, STREAM_BYTES // PIECES)
            await connection.reader.readexactly(piece)
            left -= piece
            await asyncio.sleep(0.1)
    finally:
        connection.close()


async def talk() -> None:
    connection = await Connection.open()
    try:
        key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
        await connection.send(
            next(PATHS), "Upgrade: websocket", "Connection: Upgrade", key, "Sec-WebSocket-Version: 13"
        )
        end = time.monotonic() + WEBSOCKET_SECONDS
        while time.monotonic() < end:
            said = os.urandom(8)
            connection.writer.write(b"\x82\x88\0\0\0\0" + said)
            if await connection.reader.readexactly(10) != b"\x82\x08" + said:
                raise ValueError("another frame came back")
            await asyncio.sleep(0.1)
        connection.writer.write(b"\x88\x80\0\0\0\0")
        await connection.reader.readexactly(2)
    finally:
        connection.close()


asyncio.run(Load().run())
