# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A service behind a gateway that costs little and ends gracefully: python3 upstream.py

NAME and PORT are its own. Every request is answered after DELAY seconds. /health says `ok`, or has the status HEALTH;
all else has the status STATUS, waits REQUEST_DELAY longer, and is answered with the name and the path. In the query,
`status=503` sets the status, `delay=1.5` waits longer, `size=100000` answers with so many bytes. A websocket gets back
each short frame that it sends, until it closes.

After SIGTERM it finishes what it has, and announces the end of each connection; it ends with the last of them.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import os
import signal
from urllib.parse import parse_qs, urlsplit

NAME = os.environ.get("NAME", "upstream")
PORT = int(os.environ.get("PORT", "8080"))
HEALTH = int(os.environ.get("HEALTH", "200"))
DELAY = float(os.environ.get("DELAY", "0.01"))
STATUS = int(os.environ.get("STATUS", "200"))
REQUEST_DELAY = float(os.environ.get("REQUEST_DELAY", "0"))
WEBSOCKET_KEY = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # of RFC 6455
SHORT_FRAME, CLOSE = 125, 8
IDLE = 75.0  # longer than a load balancer keeps an idle connection, so that it is the one to close
IDLE_AT_END = 2.0  # a request may be on its way
PIECE = b"x" * 65536


class Server:
    def __init__(self) -> None:
        self.ends = asyncio.Event()
        self._open: set[asyncio.Task[None]] = set()

    async def serve(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.ends.set)
        listening = await asyncio.start_server(self._connected, "", PORT, backlog=512)
        print(f"{NAME} serves on port {PORT}", flush=True)
        await self.ends.wait()
        while self._open:
            await asyncio.wait(self._open)
        listening.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._open.add(task)
        try:
            # The client is gone, or asked for nothing in time.
            with contextlib.suppress(OSError, EOFError, ValueError, asyncio.LimitOverrunError):
                while (head := await self._head(reader)) and await self._answer(head, reader, writer):
                    pass
        finally:
            self._open.discard(task)
            writer.close()

    async def _head(self, reader: asyncio.StreamReader) -> str:
        """The next request's; empty if none comes in time."""
        asked = asyncio.ensure_future(reader.readuntil(b"\r\n\r\n"))
        ends = asyncio.ensure_future(self.ends.wait())
        try:
            await asyncio.wait({asked, ends}, timeout=IDLE, return_when=asyncio.FIRST_COMPLETED)
            if self.ends.is_set():
                await asyncio.wait({asked}, timeout=IDLE_AT_END)
            return asked.result().decode("latin-1") if asked.done() else ""
        finally:
            asked.cancel()
            ends.cancel()

    async def _answer(self, head: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection stays open."""
        first, *lines = head.split("\r\n")
        method, target, _version = first.split(" ")
        headers = {name.lower(): value.strip() for name, _colon, value in (line.partition(":") for line in lines)}
        if headers.get("upgrade", "").lower() == "websocket":
            await self._echo(headers["sec-websocket-key"], reader, writer)
            return False
        await reader.readexactly(int(headers.get("content-length") or 0))
        url = urlsplit(target)
        query = {name: values[-1] for name, values in parse_qs(url.query).items()}
        status, size = int(query.get("status", STATUS)), int(query.get("size", 0))
        delay = float(query.get("delay", 0)) + DELAY
        if url.path == "/health":
            status = HEALTH
        else:
            delay += REQUEST_DELAY
        await asyncio.sleep(delay)
        body = b"" if size else json.dumps({"status": "ok", "service": NAME, "path": url.path}).encode()
        closes = self.ends.is_set() or headers.get("connection", "").lower() == "close"
        writer.write(
            f"HTTP/1.1 {status} Status\r\nContent-Type: application/json\r\nContent-Length: {size or len(body)}\r\n"
            f"{'Connection: close' if closes else 'X-Served-By: ' + NAME}\r\n\r\n".encode()
        )
        if method != "HEAD":
            writer.write(body)
            while size:
                writer.write(PIECE[:size])
                size -= min(size, len(PIECE))
                await writer.drain()
        await writer.drain()
        return not closes

    async def _echo(self, key: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted = base64.b64encode(hashlib.sha1(f"{key}{WEBSOCKET_KEY}".encode()).digest()).decode()
        writer.write(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {accepted}\r\n\r\n".encode()
        )
        while True:
            head = await reader.readexactly(2)
            length = head[1] & 0x7F
            if length > SHORT_FRAME:
                return
            mask, masked = await reader.readexactly(4), await reader.readexactly(length)
            text = bytes(byte ^ mask[place % 4] for place, byte in enumerate(masked))
            writer.write(bytes([head[0], length]) + text)
            await writer.drain()
            if head[0] & 0x0F == CLOSE:
                return


if __name__ == "__main__":
    asyncio.run(Server().serve())
