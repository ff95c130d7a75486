# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One clock for all polling: a wake-up costs more than the poll itself, so all pollers wake up together."""

from __future__ import annotations

import asyncio
import contextlib

SECONDS = 0.2
"""The shortest interval; all others are multiples of it."""


def left(every: float = SECONDS) -> float:
    """Return the seconds until the loop's clock is at a multiple of `every`."""
    return every - asyncio.get_running_loop().time() % every


async def sleep(every: float = SECONDS) -> None:
    await asyncio.sleep(left(every))


async def wait(event: asyncio.Event, every: float = SECONDS) -> bool:
    """Wait for the event or the next wake-up; returns whether the event is set."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(left(every)):
            await event.wait()
    return event.is_set()
