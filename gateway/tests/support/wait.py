"""Waits until something is true, always with a timeout."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import random
import socket
import time
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

_chance = random.SystemRandom()

P = ParamSpec("P")
T = TypeVar("T")


def until(condition: Callable[[], object], seconds: float, what: str) -> float:
    """Return how long it took."""
    started = time.monotonic()
    while not condition():
        if time.monotonic() - started > seconds:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.02)
    return time.monotonic() - started


async def until_async(condition: Callable[[], object], seconds: float, what: str) -> float:
    """The condition may be a coroutine."""
    started = time.monotonic()
    while True:
        found = condition()
        if await found if inspect.isawaitable(found) else found:
            break
        if time.monotonic() - started > seconds:
            raise AssertionError(f"not within {seconds} s: {what}")
        await asyncio.sleep(0.01)
    return time.monotonic() - started


async def in_thread(function: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """As asyncio.to_thread, but what was begun is over when this is, also where it is cancelled."""
    task = asyncio.create_task(asyncio.to_thread(function, *arguments, **named))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise


def free_port() -> int:
    """Return one that no connection takes before it is used: outside of what the kernel gives to clients."""
    while True:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", _chance.randrange(10_000, 32_000)))
            port: int = probe.getsockname()[1]
            return port
