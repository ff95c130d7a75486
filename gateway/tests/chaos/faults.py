"""Faults, with their times and durations, planned from a seed, and the code that injects them."""

from __future__ import annotations

import asyncio
import random
import signal
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import psycopg

from chaos import links
from chaos.checker import DATABASE, Harm
from evenkeel_gateway import clock
from evenkeel_gateway.database import DATABASE_ERRORS
from evenkeel_gateway.lease import RequestRefusedError
from support.wait import in_thread

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from chaos.fleet import Fleet, Instance

LEADER = "leader"
STOP_SECONDS = (10.0, 20.0, 60.0)
HOUR = 3600.0


@dataclass(frozen=True)
class Fault:
    at: float
    kind: str
    target: str = ""
    """An instance's name, or the leader of that moment."""
    seconds: float = 0.0
    choice: int = 0

    def __str__(self) -> str:
        return f"{self.at:5.1f} {self.kind} {self.target} {self.seconds:.1f} s"


def plan(seed: int, length: float, names: list[str], scale: float, kinds: tuple[str, ...] = ()) -> list[Fault]:
    """Return faults that overlap; the same ones for the same seed. Few `kinds` come in close order."""
    chance = random.Random(seed)
    pause = 0.7 if kinds else 1.6
    kinds = kinds or tuple(KINDS)
    found = []
    at = chance.uniform(0.2, 1.5)
    while at < length:
        kind = chance.choice(kinds)
        target = LEADER if chance.random() < 0.5 else chance.choice(names)
        found.append(Fault(at, kind, target, _seconds(chance, kind, scale), chance.randrange(1000)))
        at += chance.expovariate(1 / pause)
    return found


def _seconds(chance: random.Random, kind: str, scale: float) -> float:
    if kind == "stop":
        return chance.choice(STOP_SECONDS) / scale
    if kind == "database crash":
        return chance.uniform(0, 20 / scale)
    # From a moment to longer than the lease.
    return chance.choice((chance.uniform(0.1, 4), chance.uniform(4, 25))) / scale


@dataclass
class Hands:
    """Each fault leaves what it broke whole again."""

    fleet: Fleet
    harm: Harm = field(default_factory=Harm)
    done: list[tuple[float, str]] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    leaped: bool = False
    _busy: set[str] = field(default_factory=set)

    async def carry_out(self, faults: list[Fault]) -> None:
        began = clock.now()
        async with asyncio.TaskGroup() as group:
            for fault in faults:
                await asyncio.sleep(max(0.0, began + fault.at - clock.now()))
                group.create_task(self._one(fault))

    async def _one(self, fault: Fault) -> None:
        of_database = fault.kind in ("database restart", "database crash", "pooler restart", "database clock", "lock")
        instance = self._target(fault)
        what = instance.name
        if of_database or fault.kind in ("handover", "rolling"):
            what = fault.kind.partition(" ")[0]
        elif fault.kind in links.MODES or fault.kind == "host clock":
            # Together with what happens to the process.
            what = f"{instance.name} {'clock' if fault.kind == 'host clock' else 'link'}"
        if what in self._busy:
            return
        self._busy.add(what)
        self.kinds.append(fault.kind)
        name = fault.kind if of_database else f"{fault.kind} {instance.name}"
        self.done.append((clock.now(), f"{name} {fault.seconds:.2f} s"))
        try:
            await KINDS[fault.kind](self, fault, instance)
        finally:
            self._busy.discard(what)
            self.done.append((clock.now(), f"{name} is over"))

    def _target(self, fault: Fault) -> Instance:
        leader = self.fleet.leader() if fault.target == LEADER else None
        named = [one for one in self.fleet.instances if one.name == fault.target]
        return leader or (named or self.fleet.instances)[0]

    async def kill(self, fault: Fault, instance: Instance) -> None:
        began = clock.now()
        await in_thread(instance.kill)
        await asyncio.sleep(fault.seconds)
        instance.start()
        await self._joined(instance)
        self.harm.add(instance.name, began, clock.now())

    async def stop(self, fault: Fault, instance: Instance) -> None:
        began = clock.now()
        instance.signal(signal.SIGSTOP)
        await asyncio.sleep(fault.seconds)
        instance.signal(signal.SIGCONT)
        self.harm.add(instance.name, began, clock.now())

    async def restart(self, fault: Fault, instance: Instance) -> None:
        """Stopped in order; half of the time the new process starts beside the old one, as a container swap does."""
        began = clock.now()
        old = instance.running
        if fault.choice % 2:
            instance.start()
            await self._joined(instance)
        for process in old:
            process.pid.send_signal(signal.SIGTERM)
        for process in old:
            await in_thread(process.pid.wait, 30)
        if not fault.choice % 2:
            instance.start()
            await self._joined(instance)
        self.harm.add(instance.name, began, clock.now())

    async def rolling(self, fault: Fault, _: Instance) -> None:
        for instance in self.fleet.instances:
            if instance.name in self._busy:
                continue
            self._busy.add(instance.name)
            try:
                await self.restart(fault, instance)
            finally:
                self._busy.discard(instance.name)

    async def link(self, fault: Fault, instance: Instance) -> None:
        mode = fault.kind if fault.kind in links.MODES else links.MODES[fault.choice % len(links.MODES)]
        began = clock.now()
        for link in instance.links:
            await link.break_(mode)
        await asyncio.sleep(fault.seconds)
        for link in instance.links:
            await link.heal(reset=fault.choice % 3 == 0)
        self.harm.add(instance.name, began, clock.now())

    async def database_restart(self, fault: Fault, _: Instance) -> None:
        await self._database_away("fast", 0.0)

    async def database_crash(self, fault: Fault, _: Instance) -> None:
        await self._database_away("immediate", fault.seconds)

    async def _database_away(self, mode: str, seconds: float) -> None:
        began = clock.now()
        await in_thread(self.fleet.cluster.stop, mode)
        await asyncio.sleep(seconds)
        await in_thread(self.fleet.cluster.start)
        self.harm.add(DATABASE, began, clock.now())

    async def pooler_restart(self, fault: Fault, _: Instance) -> None:
        began = clock.now()
        await in_thread(self.fleet.pooler.restart)
        for instance in self.fleet.instances:
            if instance.way.pooled:
                self.harm.add(instance.name, began, clock.now())

    async def lock(self, fault: Fault, _: Instance) -> None:
        """Another session locks the lease's row and stalls."""
        began = clock.now()
        try:
            connection = await psycopg.AsyncConnection.connect(self.fleet.conninfo, connect_timeout=3)
        except psycopg.Error:
            return
        try:
            await connection.execute("SELECT FROM leader_lease FOR UPDATE")
            await asyncio.sleep(fault.seconds)
        except psycopg.Error:
            pass
        finally:
            await connection.close()
            self.harm.add(DATABASE, began, clock.now())

    async def handover(self, fault: Fault, instance: Instance) -> None:
        """Two at once, to different targets: one of them is refused, or they follow each other."""
        others = [one for one in self.fleet.instances if one is not self.fleet.leader()]
        first, second = random.Random(fault.choice).sample(others, 2)
        results = await asyncio.gather(
            self.fleet.request_handover(first.name, "ann"),
            self.fleet.request_handover(second.name, "bob"),
            return_exceptions=True,
        )
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, (RequestRefusedError, *DATABASE_ERRORS)):
                raise result

    async def host_clock(self, fault: Fault, instance: Instance) -> None:
        instance.set_clock(HOUR if fault.choice % 2 else -HOUR)
        await asyncio.sleep(fault.seconds)
        instance.set_clock(0)

    async def database_clock(self, fault: Fault, _: Instance) -> None:
        """It leaps and stays where it is; each instance that saw it before sees that."""
        self.leaped = True
        try:
            await self.fleet.shift_database_clock(HOUR if fault.choice % 2 else -HOUR)
        except psycopg.Error:
            return
        now = clock.now()
        # An instance that sees it gives the holder a new lease's time, once each.
        self.harm.add(DATABASE, now, now + self.fleet.timing.tick)

    async def _joined(self, instance: Instance) -> None:
        """Until the newest process has evaluated, or for as long as it could not."""
        process = instance.processes[-1]
        end = clock.now() + 10
        while process.alive and not process.reader.read().samples:
            await asyncio.sleep(0.05)
            if clock.now() > end:
                break


KINDS: dict[str, Callable[[Hands, Fault, Instance], Awaitable[None]]] = {
    "kill": Hands.kill,
    "stop": Hands.stop,
    "restart": Hands.restart,
    "rolling": Hands.rolling,
    **dict.fromkeys(links.MODES, Hands.link),
    "database restart": Hands.database_restart,
    "database crash": Hands.database_crash,
    "pooler restart": Hands.pooler_restart,
    "lock": Hands.lock,
    "handover": Hands.handover,
    "host clock": Hands.host_clock,
    "database clock": Hands.database_clock,
}
