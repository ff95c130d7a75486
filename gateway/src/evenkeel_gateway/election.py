# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether this process is the leader: decided by evaluating the lease in the database."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from typing import TYPE_CHECKING, NamedTuple, Protocol

from evenkeel_gateway import clock, metrics
from evenkeel_gateway.database import DATABASE_ERRORS, Conninfo, connect, deadline, describe
from evenkeel_gateway.lease import CHANNEL, LOCK_SECONDS, TRANSACTION_SECONDS, LeaseStore, RequestRefusedError, Step

if TYPE_CHECKING:
    from evenkeel_gateway.lease import Timing, Verdict

log = logging.getLogger(__name__)

# Without notifications, and while the database is unreachable, it polls more often than the tick.
POLL_SECONDS = 1.0
# Do not wake up just before the lease expires.
_EPSILON = 0.01


class ChangeEvent:
    """An event that repeats: each announcement wakes up all that wait at this moment."""

    def __init__(self) -> None:
        self._next = asyncio.Event()

    def announce(self) -> None:
        past, self._next = self._next, asyncio.Event()
        past.set()

    async def wait(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._next.wait()


class Election(Protocol):
    kind: str
    changed: ChangeEvent
    """Announced when leadership begins and when it is given up; not when the lease runs out, see `lease_left`."""

    @property
    def leads(self) -> bool:
        """Whether it is the leader at this moment; ask again before each use."""

    @property
    def term(self) -> int:
        """The highest term seen: the fencing token for a leader's writes."""

    @property
    def leader(self) -> str | None:
        """The instance id of the leader, as far as this process knows."""

    @property
    def lease_left(self) -> float:
        """Seconds for which it may still trust its lease."""

    @property
    def problem(self) -> str | None:
        """Why the last evaluation failed."""

    @property
    def vacancy(self) -> str | None:
        """A message when there has been no leader for longer than an election takes, with its likely cause."""

    async def run(self) -> None: ...

    async def resign(self) -> None: ...


class MemoryElection:
    """A single node without a database: it is always the leader."""

    kind = "memory"
    term = 1

    def __init__(self, instance_id: str) -> None:
        self.leads = True
        self.leader: str | None = instance_id
        self.lease_left = math.inf
        self.problem: str | None = None
        self.vacancy: str | None = None
        self.changed = ChangeEvent()

    async def run(self) -> None:
        await asyncio.Event().wait()

    async def resign(self) -> None:
        self.leads, self.leader, self.lease_left = False, None, 0.0
        self.changed.announce()


class Trust(NamedTuple):
    term: int
    until: float


class DatabaseElection:
    kind = "postgresql"

    def __init__(self, store: LeaseStore, instance_id: str, timing: Timing, listener: Listener | None) -> None:
        self._store = store
        self._me = instance_id
        self._timing = timing
        self._listener = listener
        self._trust: Trust | None = None
        self._seen_term = 0
        self._seen_leader: str | None = None
        self._seen_until = 0.0
        self._vacant_since: float | None = None
        self._stopping = False
        self._idle = asyncio.Lock()
        self.changed = ChangeEvent()
        self.problem: str | None = None

    @property
    def leads(self) -> bool:
        trust = self._trust
        return trust is not None and clock.now() < trust.until

    @property
    def term(self) -> int:
        return self._seen_term

    @property
    def leader(self) -> str | None:
        return self._seen_leader if clock.now() < self._seen_until else None

    @property
    def lease_left(self) -> float:
        trust = self._trust
        return max(0.0, trust.until - clock.now()) if trust else 0.0

    @property
    def vacancy(self) -> str | None:
        seconds = clock.now() - self._vacant_since if self._vacant_since is not None else 0.0
        if seconds <= self._timing.ttl:
            return None
        return f"no leader for {seconds:.0f} s: check whether draining_since is set in all rows of ec2_launch"

    async def run(self) -> None:
        listening = asyncio.create_task(self._listener.run()) if self._listener else None
        try:
            while not self._stopping:
                wait = await self._evaluate_safely()
                await self._sleep(wait)
        finally:
            if listening:
                listening.cancel()

    async def evaluate(self) -> Verdict:
        """One evaluation; raises one of DATABASE_ERRORS."""
        async with self._idle:
            verdict = await self._store.evaluate(self._step_down)
            self._accept(verdict)
            return verdict

    async def resign(self) -> None:
        """Stop, release the lease and deregister; when the database does not answer, the lease expires."""
        self._stopping = True
        self._step_down()
        try:
            async with self._idle:
                # An evaluation that was under way may have taken the lease meanwhile.
                self._step_down()
                await self._store.resign()
        except DATABASE_ERRORS as error:
            log.warning("could not resign, the lease will expire", extra={"fields": {"error": describe(error)}})
        else:
            log.info("resigned", extra={"fields": {"term": self._seen_term}})

    async def force(self) -> None:
        """Request the leadership once, for FORCE_LEADER."""
        try:
            await self._store.request_handover(self._me, self._me, "FORCE_LEADER")
        except RequestRefusedError as error:
            log.warning("FORCE_LEADER refused", extra={"fields": {"error": str(error)}})
        else:
            log.info("FORCE_LEADER: leadership requested")

    def _accept(self, verdict: Verdict) -> None:
        self._seen_term = verdict.term
        self._seen_leader = verdict.holder
        self._seen_until = verdict.started + verdict.lease_left
        self._vacant_since = (self._vacant_since or verdict.started) if verdict.holder is None else None
        metrics.ELECTION_EVALUATIONS.labels(verdict.step.value).inc()
        led = self._trust
        if verdict.step in (Step.TAKE, Step.RENEW) and not self._stopping:
            self._trust = Trust(verdict.term, verdict.started + self._timing.ttl - self._timing.margin)
            if led is None:
                log.info("leading", extra={"fields": {"term": verdict.term}})
        else:
            self._trust = None
            if led:
                log.info("following", extra={"fields": {"term": verdict.term, "leader": verdict.holder}})
        if led is None or self._trust is None or led.term != self._trust.term:
            self.changed.announce()

    def _step_down(self) -> None:
        self._trust = None
        self.changed.announce()

    async def _evaluate_safely(self) -> float:
        try:
            verdict = await self.evaluate()
        except DATABASE_ERRORS as error:
            metrics.ELECTION_EVALUATIONS.labels("error").inc()
            if self.problem is None:
                log.warning("election: the database does not answer", extra={"fields": {"error": describe(error)}})
            self.problem = describe(error)
            return min(self._timing.tick, POLL_SECONDS)
        if self.problem:
            log.info("election: the database answers again")
        self.problem = None
        listening = self._listener is not None and self._listener.listening
        tick = self._timing.tick if listening else min(self._timing.tick, POLL_SECONDS)
        if verdict.due_in is None:
            return tick
        return max(0.0, min(tick, verdict.started + verdict.due_in + _EPSILON - clock.now()))

    async def _sleep(self, seconds: float) -> None:
        if self._listener is None:
            await asyncio.sleep(seconds)
            return
        try:
            async with asyncio.timeout(seconds):
                await self._listener.news.wait()
        except TimeoutError:
            return
        self._listener.news.clear()


class Listener:
    """Receives changes of the lease at once, by LISTEN, which does not work through a transaction pooler."""

    def __init__(self, conninfo: Conninfo, application_name: str) -> None:
        self._conninfo = conninfo
        self._application_name = application_name
        self.news = asyncio.Event()
        self.listening = False

    async def run(self) -> None:
        while True:
            try:
                await self._listen()
            except DATABASE_ERRORS as error:
                log.debug("not listening", extra={"fields": {"error": describe(error)}})
            finally:
                self.listening = False
            await asyncio.sleep(POLL_SECONDS)

    async def _listen(self) -> None:
        connection = await connect(self._conninfo, self._application_name)
        try:
            with deadline(connection, TRANSACTION_SECONDS):
                await connection.execute(f"LISTEN {CHANNEL}")
            self.listening = True
            self.news.set()  # earlier notifications are lost
            while True:
                async for _ in connection.notifies(timeout=5, stop_after=1):
                    self.news.set()
                with deadline(connection, LOCK_SECONDS):
                    await connection.execute("SELECT 1")
        finally:
            await connection.close()
