# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lease in PostgreSQL: what one evaluation reads, decides and writes, in one transaction."""

from __future__ import annotations

import logging
import uuid
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

import psycopg
from psycopg.rows import class_row

from evenkeel_gateway import clock

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime

    from evenkeel_gateway.database import Connection, Database
    from evenkeel_gateway.identity import Identity
    from evenkeel_gateway.settings import Settings

log = logging.getLogger(__name__)

CHANNEL = "evenkeel_leader"
LOCK_SECONDS = 2.0
TRANSACTION_SECONDS = 4.0
RESIGN_SECONDS = 2.0
REQUEST_SECONDS = 30.0
# How long a vacancy waits for the preferred instance. All evaluate when it begins; one that does not is not there.
GRACE_SECONDS = 0.5
# How often the target of a handover polls for its turn where it gets no notification.
TARGET_POLL_SECONDS = 0.2
# How long a process watches before it takes an expired lease or removes an instance: the database's clock may have
# jumped. Only processes that read it before can tell, so they are notified and evaluate, too.
WATCH_SECONDS = 1.5
# No lease or heartbeat is further ahead of the database's clock than this, unless the clock was set back.
AHEAD = timedelta(minutes=2)
_GRACE = timedelta(seconds=GRACE_SECONDS)

_LAUNCH = (
    "INSERT INTO ec2_launch (instance_id, private_ip, public_ip, launched_at, version, incarnation)"
    " VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT (instance_id) DO "
)
# Registering records which process of the instance owns the row; later heartbeats only restore a lost row.
# draining_since is not touched: the tool that set it clears it.
_REGISTER = _LAUNCH + (
    "UPDATE SET private_ip = excluded.private_ip, public_ip = excluded.public_ip,"
    " launched_at = excluded.launched_at, version = excluded.version, incarnation = excluded.incarnation"
)
_KEEP = _LAUNCH + "NOTHING"


class RequestRefusedError(Exception):
    """A request for a handover was refused."""


@dataclass(frozen=True)
class Timing:
    ttl: float
    margin: float
    tick: float
    stale: float

    @classmethod
    def of(cls, settings: Settings) -> Timing:
        return cls(
            settings.lease_ttl_seconds,
            settings.lease_margin_seconds,
            settings.election_tick_seconds,
            settings.stale_instance_threshold_seconds,
        )


@dataclass(frozen=True)
class Lease:
    holder: str | None
    term: int
    expires_at: datetime | None
    requested_holder: str | None
    requested_by: str | None
    reason: str | None
    request_expires_at: datetime | None
    incarnation: uuid.UUID | None
    vacant_since: datetime


@dataclass(frozen=True)
class Candidate:
    """A fresh instance that may take a vacancy."""

    instance_id: str
    last_heartbeat: datetime


@dataclass(frozen=True)
class Instance:
    instance_id: str
    last_heartbeat: datetime
    draining: bool


class Step(Enum):
    FOLLOW = "follow"
    TAKE = "take"
    RENEW = "renew"
    HAND_OVER = "hand over"


@dataclass(frozen=True)
class Decision:
    step: Step
    drop_request: str | None = None
    """Why the pending request ends."""
    due_in: float | None = None
    """Seconds until the next evaluation may decide something else."""


@dataclass(frozen=True)
class Verdict:
    """The committed result of an evaluation."""

    step: Step
    started: float
    """This machine's clock just before the database's clock was read."""
    holder: str | None
    term: int
    due_in: float | None
    """Seconds until the next evaluation may decide something else."""
    lease_left: float
    """Seconds until the lease ends, if there is one."""


class _ClockReading(NamedTuple):
    """The database's clock, with this machine's clock before and after the read."""

    started: float
    now: datetime
    ended: float

    def leap(self, before: _ClockReading) -> float:
        """Return by how many seconds the database's clock advanced more than this machine's."""
        return (self.now - before.now).total_seconds() - (self.ended - before.started)


def decide(lease: Lease, me: str, held_term: int | None, candidates: list[Candidate], now: datetime) -> Decision:
    """Apply the rules. `candidates` are in order of preference; `held_term` is the term that this process took."""
    vacant_since = lease.vacant_since if lease.holder is None else lease.expires_at
    target, drop = _requested(lease, candidates, now)
    if vacant_since is not None and vacant_since <= now:
        return _fill(lease, me, candidates, vacant_since, now)
    if lease.expires_at is None:  # vacant, but the clock was set back
        return _fill(lease, me, candidates, now - _GRACE, now)
    if lease.holder == me and lease.term == held_term:
        if target is None:
            return Decision(Step.RENEW, drop)
        if target.instance_id == me:
            return Decision(Step.RENEW, "it already leads")
        return Decision(Step.HAND_OVER, due_in=GRACE_SECONDS)
    due_in = (lease.expires_at - now).total_seconds()
    if target and target.instance_id == me:
        due_in = min(due_in, TARGET_POLL_SECONDS)
    return Decision(Step.FOLLOW, drop, due_in)


def _fill(lease: Lease, me: str, candidates: list[Candidate], since: datetime, now: datetime) -> Decision:
    """Decide who takes the vacancy: the target of a request, then the oldest instance; only those that are present."""
    if now >= since + _GRACE:
        # During a vacancy every instance evaluates again after each grace.
        candidates = [one for one in candidates if one.last_heartbeat >= max(since, now - 2 * _GRACE)]
    target, drop = _requested(lease, candidates, now)
    # The last holder let its lease expire: it may be dead but not stale yet, so its age does not count.
    by_age = [one for one in candidates if one.instance_id == me or one.instance_id != lease.holder]
    preferred = target or (by_age[0] if by_age else None)
    if preferred is None:
        return Decision(Step.FOLLOW, drop)
    if preferred.instance_id == me:
        return Decision(Step.TAKE, "done" if target else drop)
    return Decision(Step.FOLLOW, drop, max((since + _GRACE - now).total_seconds(), 0.0) or GRACE_SECONDS)


def _requested(lease: Lease, candidates: list[Candidate], now: datetime) -> tuple[Candidate | None, str | None]:
    if lease.requested_holder is None or lease.request_expires_at is None:
        return None, None
    if lease.request_expires_at <= now:
        return None, "it has expired"
    for candidate in candidates:
        if candidate.instance_id == lease.requested_holder:
            return candidate, None
    return None, "its target has no fresh heartbeat or is draining"


class LeaseStore:
    """The rows of one instance, as one process of it writes them."""

    def __init__(self, database: Database, identity: Identity, version: str, timing: Timing) -> None:
        self._database = database
        self._identity = identity
        self._version = version
        self._timing = timing
        self._incarnation = uuid.uuid4()
        self._registered = False
        self._tried_term: int | None = None
        self._first_reading: _ClockReading | None = None
        self._last_reading: _ClockReading | None = None

    async def evaluate(self, step_down: Callable[[], None]) -> Verdict:
        """Evaluate once. `step_down` is called before the lease is released, so that there never are two leaders."""
        async with self._transaction() as connection:
            lease = await _lock(connection)
            reading = await _read_clock(connection)
            lease = await self._mend_clock(connection, lease, reading)
            watch = self._watch_left(reading)
            candidates = await self._join(connection, reading.now, remove_stale=not watch)
            expired = lease.expires_at is not None and lease.expires_at <= reading.now
            if watch and expired:
                decision = Decision(Step.FOLLOW, None, watch)
                if self._first_reading is None:
                    await _notify(connection)
            else:
                me = self._identity.instance_id
                decision = decide(lease, me, self._held_term(lease), candidates, reading.now)
            if decision.drop_request:
                await _drop_request(connection, lease, decision.drop_request)
            holder, term = await self._carry_out(connection, decision.step, lease, reading.now, step_down)
        self._registered = True
        self._first_reading = self._first_reading or reading
        self._last_reading = reading
        left = self._timing.ttl
        if decision.step is Step.FOLLOW:
            left = max(0.0, (lease.expires_at - reading.now).total_seconds()) if lease.expires_at else 0.0
        return Verdict(decision.step, reading.started, holder, term, decision.due_in, left)

    async def _join(self, connection: Connection, now: datetime, *, remove_stale: bool) -> list[Candidate]:
        """Write this instance's heartbeat; returns all present instances."""
        if remove_stale:
            await self._remove_stale(connection, now)
        await self._beat(connection, now)
        present = await _present(connection)
        if any(one.last_heartbeat > now + AHEAD for one in present):
            await _beat_now(connection, now)
            present = await _present(connection)
        me = self._identity.instance_id
        if all(one.instance_id != me for one in present):
            raise psycopg.DataError(
                f"no leader can be elected: the row of {me} was written but is not found; check ec2_launch and "
                "ec2_heartbeat for triggers, rules and row-level security"
            )
        return _candidates(present)

    async def _carry_out(
        self, connection: Connection, step: Step, lease: Lease, now: datetime, step_down: Callable[[], None]
    ) -> tuple[str | None, int]:
        """Return the holder of the lease after this step, and its term."""
        me, ttl = self._identity.instance_id, self._timing.ttl
        if step is Step.FOLLOW:
            holder = lease.holder if lease.expires_at and lease.expires_at > now else None
            if holder is None:
                await _mark_leader(connection, None)
            return holder, lease.term
        holder, term = me, lease.term
        if step is Step.RENEW:
            await connection.execute("UPDATE leader_lease SET expires_at = %s + make_interval(secs => %s)", (now, ttl))
        elif step is Step.TAKE:
            # Remembered before the commit: its answer may be lost.
            term = self._tried_term = lease.term + 1
            await connection.execute(
                "UPDATE leader_lease SET holder = %s, term = %s, incarnation = %s, elected_at = %s,"
                " expires_at = %s + make_interval(secs => %s)",
                (me, term, self._incarnation, now, now, ttl),
            )
        else:
            step_down()
            holder = None
            await _give_up(connection)
        await _mark_leader(connection, holder)
        if step is not Step.RENEW:
            await _notify(connection)
        return holder, term

    async def resign(self) -> None:
        """Release the lease and deregister; the rows of a newer process of this instance stay."""
        me = self._identity.instance_id
        async with self._database.transaction(seconds=RESIGN_SECONDS, lock_seconds=RESIGN_SECONDS) as connection:
            lease = await _lock(connection)
            if lease.holder == me and lease.term == self._held_term(lease):
                await _give_up(connection)
                await _mark_leader(connection, None)
                await _notify(connection)
            await connection.execute(
                "DELETE FROM ec2_launch WHERE instance_id = %s AND incarnation = %s", (me, self._incarnation)
            )

    async def request_handover(self, target: str, requested_by: str, reason: str) -> None:
        async with self._transaction() as connection:
            lease = await _lock(connection)
            now = (await _read_clock(connection)).now
            stale = now - timedelta(seconds=self._timing.stale)
            candidates = _candidates(await _present(connection))
            fresh = [one.instance_id for one in candidates if one.last_heartbeat > stale]
            if target not in fresh:
                raise RequestRefusedError(f"{target} has no fresh heartbeat or is draining")
            if lease.request_expires_at and lease.request_expires_at > now and lease.requested_holder != target:
                raise RequestRefusedError(
                    f"a handover to {lease.requested_holder} is pending until {lease.request_expires_at.isoformat()}, "
                    f"requested by {lease.requested_by}: {lease.reason}"
                )
            await connection.execute(
                "UPDATE leader_lease SET requested_holder = %s, requested_by = %s, reason = %s,"
                " request_expires_at = %s + make_interval(secs => %s)",
                (target, requested_by, reason, now, REQUEST_SECONDS),
            )
            await _notify(connection)

    def _transaction(self) -> AbstractAsyncContextManager[Connection]:
        return self._database.transaction(seconds=TRANSACTION_SECONDS, lock_seconds=LOCK_SECONDS)

    def _watch_left(self, reading: _ClockReading) -> float:
        first = self._first_reading
        return max(0.0, first.started + WATCH_SECONDS - reading.started) if first else WATCH_SECONDS

    def _held_term(self, lease: Lease) -> int | None:
        """Return the term that this process took, if it is the latest one."""
        return self._tried_term if lease.incarnation == self._incarnation else None

    async def _mend_clock(self, connection: Connection, lease: Lease, reading: _ClockReading) -> Lease:
        """Correct the lease when the database's clock was set forward or back.

        Set forward: between two readings it advanced more than this process's clock; the holder then gets a new
        lease's time. Set back: the lease ends further ahead than any that is ever written.
        """
        now, ttl = reading.now, timedelta(seconds=self._timing.ttl)
        leap = reading.leap(self._last_reading) if self._last_reading else 0.0
        forward = leap > self._timing.margin / 2
        if forward:
            log.warning("the database's clock was set forward", extra={"fields": {"seconds": round(leap, 3)}})
            await _beat_now(connection, now)
        if lease.expires_at and (forward or lease.expires_at > now + AHEAD + ttl):
            lease = replace(lease, expires_at=now + ttl)
            await connection.execute("UPDATE leader_lease SET expires_at = %s", (lease.expires_at,))
        return lease

    async def _remove_stale(self, connection: Connection, now: datetime) -> None:
        cursor = await connection.execute(
            "DELETE FROM ec2_launch WHERE instance_id <> %s AND NOT EXISTS ("
            "SELECT FROM ec2_heartbeat WHERE ec2_heartbeat.instance_id = ec2_launch.instance_id"
            " AND last_heartbeat > %s - make_interval(secs => %s)) RETURNING instance_id",
            (self._identity.instance_id, now, self._timing.stale),
        )
        for (instance_id,) in await cursor.fetchall():
            log.warning("stale instance removed", extra={"fields": {"instanceId": instance_id}})

    async def _beat(self, connection: Connection, now: datetime) -> None:
        identity = self._identity
        await connection.execute(
            _KEEP if self._registered else _REGISTER,
            (
                identity.instance_id,
                identity.private_ip,
                identity.public_ip,
                identity.launched_at,
                self._version,
                self._incarnation,
            ),
        )
        await connection.execute(
            "INSERT INTO ec2_heartbeat (instance_id, last_heartbeat) VALUES (%s, %s)"
            " ON CONFLICT (instance_id) DO UPDATE SET last_heartbeat = excluded.last_heartbeat",
            (identity.instance_id, now),
        )


async def _lock(connection: Connection) -> Lease:
    async with connection.cursor(row_factory=class_row(Lease)) as cursor:
        await cursor.execute(
            "SELECT holder, term, expires_at, requested_holder, requested_by, reason, request_expires_at,"
            " incarnation, vacant_since FROM leader_lease FOR UPDATE"
        )
        lease = await cursor.fetchone()
    if lease is None:
        raise psycopg.DataError("leader_lease is empty; restore its row: INSERT INTO leader_lease DEFAULT VALUES")
    return lease


async def _read_clock(connection: Connection) -> _ClockReading:
    """Read after the lock is held, in a statement of its own: waiting for the lock must not use up the lease."""
    started = clock.now()
    cursor = await connection.execute("SELECT clock_timestamp()")
    row = await cursor.fetchone()
    assert row is not None  # noqa: S101
    return _ClockReading(started, row[0], clock.now())


async def _beat_now(connection: Connection, now: datetime) -> None:
    """Renew all heartbeats after the clock was set forward: dead instances become stale later."""
    await connection.execute("UPDATE ec2_heartbeat SET last_heartbeat = %s", (now,))


async def _give_up(connection: Connection) -> None:
    await connection.execute(
        "UPDATE leader_lease SET holder = NULL, expires_at = NULL, incarnation = NULL, vacant_since = clock_timestamp()"
    )


async def _present(connection: Connection) -> list[Instance]:
    async with connection.cursor(row_factory=class_row(Instance)) as cursor:
        await cursor.execute(
            "SELECT instance_id, last_heartbeat, draining_since IS NOT NULL AS draining"
            " FROM ec2_launch JOIN ec2_heartbeat USING (instance_id) ORDER BY launched_at, instance_id"
        )
        return await cursor.fetchall()


def _candidates(present: list[Instance]) -> list[Candidate]:
    return [Candidate(one.instance_id, one.last_heartbeat) for one in present if not one.draining]


async def _drop_request(connection: Connection, lease: Lease, why: str) -> None:
    await connection.execute(
        "UPDATE leader_lease SET requested_holder = NULL, requested_by = NULL, reason = NULL, request_expires_at = NULL"
    )
    fields = {"target": lease.requested_holder, "requestedBy": lease.requested_by, "reason": lease.reason, "why": why}
    log.info("handover request ended", extra={"fields": fields})


async def _mark_leader(connection: Connection, holder: str | None) -> None:
    await connection.execute(
        "UPDATE ec2_heartbeat SET is_leader = false WHERE is_leader AND instance_id IS DISTINCT FROM %s", (holder,)
    )
    await connection.execute(
        "UPDATE ec2_heartbeat SET is_leader = true WHERE NOT is_leader AND instance_id = %s", (holder,)
    )


async def _notify(connection: Connection) -> None:
    await connection.execute("SELECT pg_notify(%s, '')", (CHANNEL,))
