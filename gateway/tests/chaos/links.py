"""A TCP proxy from an instance to the database that can be cut, stalled and half-opened, one way or both."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field

UP, DOWN = "up", "down"
CUT = "cut"  # closed, and nothing new is accepted
STALL = "stall"  # nothing arrives either way; what was sent meanwhile arrives when it is over
STALL_UP, STALL_DOWN = "stall up", "stall down"  # the same one way: to the database, from the database
DEAF_CLIENT = "half-open client"  # the database's side is closed, and the client is never told
DEAF_SERVER = "half-open server"  # the client's side is closed, and the database is told when it is over
SLOW = "slow"  # each answer takes its time
MODES = (CUT, STALL, STALL_UP, STALL_DOWN, DEAF_CLIENT, DEAF_SERVER, SLOW)
SLOW_SECONDS = 0.025
_HELD = {STALL: (UP, DOWN), STALL_UP: (UP,), STALL_DOWN: (DOWN,), DEAF_SERVER: (UP, DOWN), DEAF_CLIENT: (UP, DOWN)}


@dataclass(eq=False)
class _Pair:
    client: asyncio.StreamWriter
    server: asyncio.StreamWriter | None = None
    deaf: bool = False
    tasks: list[asyncio.Task[None]] = field(default_factory=list)


class Link:
    def __init__(self, target: int) -> None:
        self._target = target
        self._pairs: set[_Pair] = set()
        self._open = {UP: asyncio.Event(), DOWN: asyncio.Event()}
        self._server: asyncio.Server | None = None
        self.port = 0
        self.mode: str | None = None

    async def start(self) -> None:
        await self._listen()
        for gate in self._open.values():
            gate.set()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        if self._server:
            self._server.close()
        for pair in list(self._pairs):
            for task in pair.tasks:
                task.cancel()
            self._drop(pair)

    async def break_(self, mode: str) -> None:
        self.mode = mode
        if mode == CUT:
            assert self._server
            self._server.close()
            for pair in list(self._pairs):
                self._drop(pair)
            return
        for way in _HELD.get(mode, ()):
            self._open[way].clear()
        for pair in list(self._pairs):
            if mode == DEAF_CLIENT:
                pair.deaf = True
                if pair.server:
                    _abort(pair.server)
            elif mode == DEAF_SERVER:
                _abort(pair.client)

    async def heal(self, *, reset: bool = False) -> None:
        """What waits is delivered now, or with `reset` lost together with its connection."""
        if reset:
            for pair in list(self._pairs):
                self._drop(pair)
        if self.mode == CUT:
            await self._listen()
        self.mode = None
        for gate in self._open.values():
            gate.set()

    def _drop(self, pair: _Pair) -> None:
        _abort(pair.client)
        if pair.server:
            _abort(pair.server)
        self._pairs.discard(pair)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pair = _Pair(writer)
        self._pairs.add(pair)
        try:
            await self._open[UP].wait()
            server_reader, pair.server = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            self._drop(pair)
            return
        if pair not in self._pairs:  # dropped meanwhile
            _abort(pair.server)
            return
        pair.tasks = [
            asyncio.create_task(self._pump(pair, reader, pair.server, UP)),
            asyncio.create_task(self._pump(pair, server_reader, writer, DOWN)),
        ]
        await asyncio.wait(pair.tasks)
        self._drop(pair)

    async def _pump(self, pair: _Pair, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: str) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                await self._open[way].wait()
                if self.mode == SLOW:
                    await asyncio.sleep(SLOW_SECONDS)
                writer.write(data)
                await writer.drain()
        await self._open[way].wait()
        if not pair.deaf:
            writer.close()


def _abort(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()
