# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A pass-through proxy in the usual Python way: uvicorn in front, an aiohttp client behind."""

from __future__ import annotations

import os
from collections.abc import Awaitable, MutableMapping
from typing import Any, Callable

import aiohttp

UPSTREAM = os.environ["UPSTREAM"]
HOP_BY_HOP = {b"connection", b"keep-alive", b"te", b"transfer-encoding", b"upgrade", b"host"}

Message = MutableMapping[str, Any]
_sessions: list[aiohttp.ClientSession] = []


def session() -> aiohttp.ClientSession:
    if not _sessions:  # it needs a running loop
        connector = aiohttp.TCPConnector(limit=128)
        _sessions.append(aiohttp.ClientSession(connector=connector, auto_decompress=False))
    return _sessions[0]


async def app(
    scope: MutableMapping[str, Any],
    receive: Callable[[], Awaitable[Message]],
    send: Callable[[Message], Awaitable[None]],
) -> None:
    if scope["type"] != "http":
        return
    headers = [(name.decode(), value.decode()) for name, value in scope["headers"] if name not in HOP_BY_HOP]
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    url = UPSTREAM + scope["raw_path"].decode()
    async with session().request(scope["method"], url, headers=headers, data=body or None) as answer:
        kept = [(name, value) for name, value in answer.raw_headers if name.lower() not in HOP_BY_HOP]
        await send({"type": "http.response.start", "status": answer.status, "headers": kept})
        async for chunk in answer.content.iter_any():
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
