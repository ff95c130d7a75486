"""How long the fleet has no leader, with the production settings: `python -m chaos.figures`, or `make chaos-figures`.

Several fleets of three wait side by side, since waiting is most of it.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import logging
import random
import signal
import statistics
import sys
import tempfile
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

from chaos import history
from chaos.checker import Limits, check, offset
from chaos.fleet import Fleet, Way
from chaos.history import Lease
from evenkeel_gateway import clock
from support.postgres import Cluster
from support.wait import in_thread

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from chaos.fleet import Instance

LISTENING = [Way(), Way(), Way()]
DEAF = [Way(pooled=True, listens=False)] * 3
OUTAGES = [(mode, seconds) for mode in ("fast", "immediate") for seconds in (3.0, 12.0, 20.0, 40.0)]
LIMITS = Limits(margin=1.0, leaderless=16.0, settle=0.0)
_numbers = itertools.count(1)


@dataclass
class Figure:
    name: str
    limits: dict[str, float]
    values: list[float] = field(default_factory=list)

    def statistic(self, name: str) -> float:
        values = sorted(self.values)
        if name == "median":
            return statistics.median(values)
        return values[-1] if name == "max" else values[min(len(values) - 1, int(0.99 * len(values)))]

    @property
    def good(self) -> bool:
        return all(self.statistic(name) <= limit for name, limit in self.limits.items())

    def __str__(self) -> str:
        found = "  ".join(f"{name} {self.statistic(name):6.2f}" for name in ("median", "p99", "max"))
        wanted = ", ".join(f"{name} ≤ {limit:g}" for name, limit in self.limits.items())
        return f"{self.name:58} {len(self.values):4}  {found}   {wanted:28} {'' if self.good else 'MISSED'}"


@asynccontextmanager
async def fleet(ways: list[Way], cluster: Cluster | None = None) -> AsyncIterator[Fleet]:
    """Running, at the speed of production; what it did is checked at the end."""
    async with AsyncExitStack() as stack:
        if cluster is None:
            cluster = Cluster(**history.SETTINGS)
            await in_thread(cluster.__enter__)
            stack.callback(cluster.__exit__)
        name = f"figures_{next(_numbers)}"
        with psycopg.connect(cluster.conninfo(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gateway-figures-")))
        running = await stack.enter_async_context(Fleet(cluster, folder, name, scale=1, ways=ways, writes=False))
        for instance in running.instances:
            instance.start()
        await running.until_led(30)
        await all_joined(running)
        wall = offset()
        yield running
        traces = running.traces()  # before the history: each grant is to be found in it
        violations = check(traces, history.read(running.conninfo), LIMITS, wall=wall)
        if violations:
            raise AssertionError(violations)


async def all_joined(running: Fleet) -> None:
    for instance in running.instances:
        while not (instance.running and instance.running[-1].reader.read().samples):  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def new_leader(running: Fleet, old: Instance, seconds: float = 40) -> float:
    """Return the moment at which another instance began to lead."""
    while True:
        leader = await running.until_led(seconds)
        if leader is not old:
            return leader.running[-1].reader.read().beliefs()[-1].start
        await asyncio.sleep(0.01)


async def crashes(running: Fleet, figure: Figure, count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(random.uniform(0, running.timing.tick))
        old = await running.until_led(5)
        at = clock.now()
        old.kill()
        figure.values.append(await new_leader(running, old) - at)
        old.start()
        await all_joined(running)


async def stops(running: Fleet, figure: Figure, count: int) -> None:
    for _ in range(count):
        old = await running.until_led(5)
        process = old.running[-1]
        process.pid.send_signal(signal.SIGTERM)
        began = await new_leader(running, old)
        figure.values.append(began - process.reader.read().beliefs()[-1].end)
        await in_thread(process.pid.wait, 30)
        old.start()
        await all_joined(running)
        await asyncio.sleep(random.uniform(0, 1))


async def handovers(running: Fleet, figure: Figure, count: int) -> None:
    """From the request on, not only from when the fleet had no leader."""
    for _ in range(count):
        await asyncio.sleep(random.uniform(0, 1))
        old = await running.until_led(5)
        target = random.choice([one for one in running.instances if one is not old])
        at = clock.now()
        await running.request_handover(target.name, "ann")
        figure.values.append(await new_leader(running, old) - at)


async def outage(ways: list[Way], mode: str, seconds: float, back: Figure, late: Figure) -> None:
    async with fleet(ways) as running:
        await asyncio.sleep(random.uniform(0, running.timing.tick))
        wall = offset()
        leases = [one for one in history.read(running.conninfo) if isinstance(one, Lease) and one.expires_at]
        expires = leases[-1].expires_at
        assert expires
        await in_thread(running.cluster.stop, mode)
        await asyncio.sleep(seconds)
        trusted = running.beliefs()[-1].end
        await in_thread(running.cluster.start)
        at = clock.now()
        await running.until_led(30)
        began = [belief.start for belief in running.beliefs() if belief.end > at][-1]
        back.values.append(max(0.0, began - at))
        late.values.append(trusted - (expires.timestamp() - wall))
        # No other leader beside it, and none instead of it.
        await asyncio.sleep(running.timing.tick + 1)
        now = clock.now()
        assert len([belief for belief in running.beliefs() if belief.start <= now < belief.end]) == 1


async def measure(fleets: int, count: int) -> list[Figure]:
    crash = Figure("crash of the leader: until another leads", {"median": 14, "max": 16})
    stop = Figure("SIGTERM: without a leader", {"p99": 1})
    handover = Figure("planned handover: from the request on", {"p99": 1})
    deaf_stop = Figure("SIGTERM without LISTEN, through PgBouncer: without a leader", {"max": 2})
    deaf_handover = Figure("planned handover without LISTEN: from the request on", {"max": 2})
    back = Figure("database is back: until one leads", {"max": 6})
    deaf_back = Figure("database is back behind PgBouncer: until one leads", {"max": 6})
    late = Figure("database is away: end of trust after the lease's end", {"max": 0})

    async def repeat(ways: list[Way], steps: list[tuple[Callable[..., Awaitable[None]], Figure, int]]) -> None:
        async with fleet(ways, cluster) as running:
            for step, figure, times in steps:
                await step(running, figure, times)

    with Cluster(**history.SETTINGS) as cluster:
        await asyncio.gather(
            *(repeat(LISTENING, [(crashes, crash, count)]) for _ in range(fleets)),
        )
        await repeat(LISTENING, [(handovers, handover, 10 * count), (stops, stop, 5 * count)])
        await repeat(DEAF, [(handovers, deaf_handover, 5 * count), (stops, deaf_stop, 3 * count)])
    for ways, figure in ((LISTENING, back), (DEAF, deaf_back)):
        for some in (OUTAGES[::2], OUTAGES[1::2]):
            await asyncio.gather(*(outage(ways, mode, seconds, figure, late) for mode, seconds in some))
    return [crash, stop, handover, deaf_stop, deaf_handover, back, deaf_back, late]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m chaos.figures", description=__doc__)
    parser.add_argument("--fleets", type=int, default=4)
    parser.add_argument("--count", type=int, default=10, help="crashes of each fleet; more of what is quicker")
    options = parser.parse_args()
    logging.getLogger("evenkeel_gateway").setLevel(logging.ERROR)
    figures = asyncio.run(measure(options.fleets, options.count))
    print(*figures, sep="\n")  # noqa: T201
    return int(not all(figure.good for figure in figures))


if __name__ == "__main__":
    sys.exit(main())
