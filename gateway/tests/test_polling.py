# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Periodic checks run at the same moments."""

from __future__ import annotations

import asyncio

from evenkeel_gateway import polling


def test_all_are_woken_together() -> None:
    async def wakes(every: float, times: int) -> list[float]:
        found = []
        for _ in range(times):
            await polling.sleep(every)
            found.append(asyncio.get_running_loop().time())
        return found

    async def main() -> tuple[list[float], list[float]]:
        often, seldom = await asyncio.gather(wakes(0.1, 7), wakes(0.3, 2))
        return often, seldom

    often, seldom = asyncio.run(main())
    for moment in seldom:
        assert min(abs(moment - other) for other in often) < 0.02


def test_an_event_is_not_waited_out() -> None:
    async def main() -> tuple[bool, bool, float]:
        event, loop = asyncio.Event(), asyncio.get_running_loop()
        before = await polling.wait(event, 0.05)
        loop.call_later(0.05, event.set)
        began = loop.time()
        return before, await polling.wait(event, 3600), loop.time() - began

    before, came, waited = asyncio.run(main())
    assert (before, came) == (False, True)
    assert waited < 5
