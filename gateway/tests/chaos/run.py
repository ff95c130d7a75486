"""Runs one seed: a fleet, its faults, and the verdict."""

from __future__ import annotations

import asyncio
import copy
import itertools
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

from chaos import history
from chaos.checker import (
    DATABASE,
    Harm,
    Limits,
    Span,
    Violation,
    check,
    check_leaderless,
    check_quiet,
    leaderless,
    offset,
)
from chaos.faults import Hands, plan
from chaos.fleet import Fleet, Way
from chaos.history import Lease
from evenkeel_gateway import clock, lease
from support.postgres import Cluster
from support.wait import in_thread

if TYPE_CHECKING:
    from chaos.faults import Fault
    from chaos.trace import Belief, Trace

WAYS = [Way(), Way(), Way(), Way(pooled=True), Way(pooled=True, listens=False)]
SCALE = 5.0
LENGTH = 16.0
_AROUND_SECONDS = 6.0
_PULSE_SECONDS = 0.05
_CLOCK_SET_SECONDS = 0.02
_STALLED_SECONDS = 0.25
_STARVED_SECONDS = 0.5
_numbers = itertools.count(1)


@dataclass
class Result:
    seed: int
    again: str
    faults: list[str]
    violations: list[Violation]
    timeline: list[tuple[float, str]]
    terms: int = 0
    writes: int = 0
    gaps: list[float] = field(default_factory=list)
    """How long the fleet had no leader, each time."""
    kinds: list[str] = field(default_factory=list)

    def report(self) -> str:
        """For the developer who has to find out why."""
        lines = [f"seed {self.seed}: {len(self.violations)} violations", *(f"  fault {fault}" for fault in self.faults)]
        lines += [f"VIOLATION of '{one.rule}' at {one.at:.3f}: {one.what}" for one in self.violations[:5]]
        if self.violations:
            at = self.violations[0].at
            lines.append("what happened around the first:")
            lines += [
                f"  {moment:.3f} {what}" for moment, what in sorted(self.timeline) if abs(moment - at) < _AROUND_SECONDS
            ]
        lines.append(f"again: {self.again}")
        return "\n".join(lines)


def limits(fleet: Fleet) -> Limits:
    timing = fleet.timing
    return Limits(
        margin=timing.margin / 2,
        # The lease's time, the grace, and what a busy machine takes for an evaluation.
        leaderless=timing.ttl + lease.GRACE_SECONDS + 1.0,
        # A transaction and a connection that are under way run into their deadlines first.
        settle=3.0 + 5.0 / fleet.scale + max(2.0, 5.0 / fleet.scale),
    )


async def run(
    seed: int,
    *,
    scale: float = SCALE,
    length: float = LENGTH,
    kinds: tuple[str, ...] = (),
    mutant: str = "",
    ways: list[Way] | None = None,
    clocks: bool = True,
    cluster: Cluster | None = None,
) -> Result:
    """With a `mutant` it ends at the first violation. A `cluster` that is given must not be broken."""
    lease.REQUEST_SECONDS = 30.0 / scale
    with ExitStack() as stack:
        path = stack.enter_context(tempfile.TemporaryDirectory(prefix="gateway-chaos-"))
        database = "chaos"
        if cluster:
            database = f"chaos_{next(_numbers)}"
        else:
            cluster = await in_thread(stack.enter_context, Cluster(**history.SETTINGS))
        with psycopg.connect(cluster.conninfo(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {database}".encode())
        names = [f"i-{number}" for number in range(1, len(ways or WAYS) + 1)]
        async with Fleet(
            cluster, Path(path), database, scale=scale, ways=ways or WAYS, mutant=mutant, clocks=clocks
        ) as fleet:
            result = await _run(fleet, plan(seed, length, names, scale, kinds), seed)
            result.again += f" CHAOS='--scale {scale:g} --length {length:g}{mutant and f' --mutant {mutant}'}'"
            return result


async def _run(fleet: Fleet, faults: list[Fault], seed: int) -> Result:
    hands = Hands(fleet)
    wall = offset()
    for instance in fleet.instances:
        instance.start()
    await fleet.until_led(30)
    for instance in fleet.instances:
        await hands._joined(instance)
    start = clock.now()
    pulse = asyncio.create_task(_pulse(hands.harm))
    carrying = asyncio.create_task(hands.carry_out(faults))
    while not carrying.done():
        await asyncio.wait({carrying}, timeout=1)
        if not fleet.mutant:
            continue
        if await _safety(fleet, hands, wall):
            carrying.cancel()
    if not carrying.cancelled():
        carrying.result()
    violations: list[Violation] = []
    if not fleet.mutant:
        violations += await _quiet(fleet, hands.harm)
    pulse.cancel()
    end = clock.now()
    whole = Span(start, end)
    names = [instance.name for instance in fleet.instances]
    violations += await _safety(fleet, hands, wall)
    if not fleet.mutant:
        _add_starved(fleet, hands.harm)
        violations += check_leaderless(fleet.beliefs(), hands.harm, names, whole, limits(fleet))
    changes = await in_thread(history.read, fleet.conninfo)
    for trace in fleet.traces():
        _crashed(fleet, trace, violations)
    return Result(
        seed=seed,
        again=f"make chaos SEED={seed}",
        faults=[str(fault) for fault in faults],
        violations=violations,
        timeline=_timeline(hands, fleet.beliefs(), changes),
        terms=max((change.term for change in changes), default=0),
        writes=sum(not isinstance(change, Lease) for change in changes),
        gaps=[gap.length for gap in leaderless(fleet.beliefs(), *whole)],
        kinds=hands.kinds,
    )


async def _pulse(harm: Harm) -> None:
    """While this process did not come to its turn, no way to the database was open."""
    while True:
        before = clock.now()
        await asyncio.sleep(_PULSE_SECONDS)
        if clock.now() - before > _PULSE_SECONDS + _STALLED_SECONDS:
            harm.add(DATABASE, before, clock.now())


def _add_starved(fleet: Fleet, harm: Harm) -> None:
    """A process that wrote no sample was stopped, or the machine had no time for it."""
    for instance in fleet.instances:
        for process in instance.processes:
            for one, other in pairwise(process.reader.read().samples):
                if other.before - one.after > _STARVED_SECONDS:
                    harm.add(instance.name, one.after, other.before)


def _crashed(fleet: Fleet, trace: Trace, violations: list[Violation]) -> None:
    log = (fleet.folder / trace.who / "log").read_text()
    for word in ("Traceback", "a part ended by itself"):
        if word in log:
            at = log.index(word)
            violations.append(Violation("crash", clock.now(), f"{trace.who}: {log[max(0, at - 200) : at + 3000]}"))
            return


async def _safety(fleet: Fleet, hands: Hands, wall: float) -> list[Violation]:
    # Before the history: each grant is to be found in it.
    traces = copy.deepcopy(fleet.traces())
    try:
        changes = await in_thread(history.read, fleet.conninfo)
    except psycopg.Error:
        return []  # away just now; there is a last look at the end
    steady = not hands.leaped and abs(offset() - wall) < _CLOCK_SET_SECONDS
    return check(traces, changes, limits(fleet), wall=wall if steady else None)


async def _quiet(fleet: Fleet, harm: Harm) -> list[Violation]:
    """When all is whole again: one leads, and goes on to, though the oldest goes and comes."""
    for _ in range(3):
        start = clock.now()
        violations = await _quiet_once(fleet)
        starved = Harm({DATABASE: list(harm.spans.get(DATABASE, ()))})
        _add_starved(fleet, starved)
        if not violations or not any(span.end > start for spans in starved.spans.values() for span in spans):
            break
    return violations


async def _quiet_once(fleet: Fleet) -> list[Violation]:
    timing = fleet.timing
    asked = clock.now()
    while not await in_thread(_settled, fleet):
        await asyncio.sleep(0.2)
        if clock.now() - asked > timing.ttl * 2 + 20:
            return [Violation("flapping", asked, f"it does not settle: {await in_thread(_rows, fleet)}")]
    start = clock.now()
    leader = await fleet.until_led(1)
    oldest = next(one for one in fleet.instances if one is not leader)
    await in_thread(oldest.kill)
    await asyncio.sleep(timing.tick)
    oldest.start()
    await asyncio.sleep(timing.ttl)
    return check_quiet(fleet.beliefs(), Span(start, clock.now() - 0.1))


def _settled(fleet: Fleet) -> bool:
    """One leads, all instances are registered, and no handover is pending."""
    query = (
        "SELECT requested_holder IS NULL AND expires_at > clock_timestamp() + interval '1 s' * %s"
        " AND (SELECT count(*) FROM ec2_heartbeat WHERE last_heartbeat > clock_timestamp() - interval '1 s' * %s) = %s"
        " FROM leader_lease"
    )
    with psycopg.connect(fleet.conninfo, autocommit=True) as connection:
        values = (fleet.timing.ttl / 2, fleet.timing.tick * 1.5, len(fleet.instances))
        row = connection.execute(query, values).fetchone()
    return row == (True,) and fleet.leader() is not None


def _rows(fleet: Fleet) -> str:
    with psycopg.connect(fleet.conninfo, autocommit=True) as connection:
        rows = connection.execute("SELECT clock_timestamp(), leader_lease FROM leader_lease").fetchall()
        rows += connection.execute("SELECT * FROM ec2_heartbeat").fetchall()
    return "\n".join(map(str, rows))


def _timeline(hands: Hands, beliefs: list[Belief], changes: list[history.Change]) -> list[tuple[float, str]]:
    found = [(at, f"fault: {what}") for at, what in hands.done]
    for belief in beliefs:
        found += [(belief.start, f"{belief.who} believes: term {belief.term}"), (belief.end, f"{belief.who} no longer")]
    last: Lease | None = None
    for change in changes:
        if isinstance(change, Lease):
            if last is None or (change.holder, change.term) != (last.holder, last.term):
                at = change.committed.timestamp() - offset()
                found.append((at, f"lease: {change.holder}, term {change.term}, until {change.expires_at}"))
            last = change
    return found
