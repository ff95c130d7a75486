# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One beat for all that looks again and again: to be woken costs more than the look, so they are woken together."""

from __future__ import annotations

import asyncio
import contextlib

SECONDS = 0.2
"""Whoever looks does it every so often, or at a multiple of this."""


def left(every: float = SECONDS) -> float:
    """Seconds until the loop's clock is at a multiple of `every` again."""
    return every - asyncio.get_running_loop().time() % every


async def sleep(every: float = SECONDS) -> None:
    await asyncio.sleep(left(every))


async def wait(event: asyncio.Event, every: float = SECONDS) -> bool:
    """Return with the next beat, or at once when the event comes: whether it did."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(left(every)):
            await event.wait()
    return event.is_set()
