# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lease in PostgreSQL: what one evaluation reads, decides and writes, in one transaction."""

from __future__ import annotations

import logging
import uuid
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

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


_LAUNCH = (
    "INSERT INTO ec2_launch (instance_id, private_ip, public_ip, launched_at, version, incarnation)"
    " VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT (instance_id) DO "
)
# Registering says which process of the instance the row belongs to; later beats only bring back a lost row.
# draining_since is left alone: whoever set it ends it.
_REGISTER = _LAUNCH + (
    "UPDATE SET private_ip = excluded.private_ip, public_ip = excluded.public_ip,"
    " launched_at = excluded.launched_at, version = excluded.version, incarnation = excluded.incarnation"
)
_KEEP = _LAUNCH + "NOTHING"


class RequestRefusedError(Exception):
    """A handover that was asked for and can't be."""


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


@dataclass(frozen=True)
class Candidate:
    """A fresh instance that may take a vacancy."""

    instance_id: str
    last_heartbeat: datetime


class Step(Enum):
    FOLLOW = "follow"
    TAKE = "take"
    RENEW = "renew"
    HAND_OVER = "hand over"


@dataclass(frozen=True)
class Decision:
    step: Step
    drop_request: str | None = None
    """Why the pending request ends here."""
    waiting_for: Candidate | None = None
    """Who should take the vacancy."""


@dataclass(frozen=True)
class Verdict:
    """What an evaluation came to, once it is committed."""

    step: Step
    started: float
    """On this machine's clock, before the database's clock was read."""
    holder: str | None
    term: int
    due_in: float | None
    """Seconds until something may be decided that could not be now."""


def decide(lease: Lease, me: str, held_term: int | None, candidates: list[Candidate], now: datetime) -> Decision:
    """Apply the rules. `candidates` are in the order of preference; `held_term` is the term that this process took."""
    vacant = lease.holder is None or lease.expires_at is None or lease.expires_at <= now
    mine = not vacant and lease.holder == me and lease.term == held_term
    target, drop = _requested(lease, candidates, now)
    if mine:
        if target is None:
            return Decision(Step.RENEW, drop)
        if target.instance_id == me:
            return Decision(Step.RENEW, "it already leads")
        return Decision(Step.HAND_OVER)
    if not vacant:
        return Decision(Step.FOLLOW, drop)
    # Who let the lease expire may be dead and not stale yet: it has no claim to age.
    by_age = [one for one in candidates if one.instance_id == me or one.instance_id != lease.holder]
    preferred = target or (by_age[0] if by_age else None)
    if preferred and preferred.instance_id == me:
        return Decision(Step.TAKE, "done" if target else drop)
    return Decision(Step.FOLLOW, drop, preferred)


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
    """The rows of one instance, written by one process of it."""

    def __init__(self, database: Database, identity: Identity, version: str, timing: Timing) -> None:
        self._database = database
        self._identity = identity
        self._version = version
        self._timing = timing
        self._incarnation = uuid.uuid4()
        self._registered = False

    async def evaluate(self, held_term: int | None, step_down: Callable[[], None]) -> Verdict:
        """`step_down` is called before the lease is given up, so that nobody else can have it earlier."""
        me, timing = self._identity.instance_id, self._timing
        async with self._transaction() as connection:
            lease = await _lock(connection)
            started = clock.now()
            now = await _database_clock(connection)
            await self._remove_stale(connection, now)
            await self._beat(connection, now)
            candidates = await _candidates(connection)
            decision = decide(lease, me, held_term, candidates, now)
            holder, term, expires_at = lease.holder, lease.term, lease.expires_at
            if decision.drop_request:
                await _drop_request(connection, lease, decision.drop_request)
            if decision.step is Step.RENEW:
                await connection.execute(
                    "UPDATE leader_lease SET expires_at = %s + make_interval(secs => %s)", (now, timing.ttl)
                )
            elif decision.step is Step.TAKE:
                holder, term = me, lease.term + 1
                await connection.execute(
                    "UPDATE leader_lease SET holder = %s, term = %s, elected_at = %s,"
                    " expires_at = %s + make_interval(secs => %s)",
                    (me, term, now, now, timing.ttl),
                )
            elif decision.step is Step.HAND_OVER:
                step_down()
                holder = None
                await connection.execute("UPDATE leader_lease SET holder = NULL, expires_at = NULL")
            elif expires_at is None or expires_at <= now:
                holder = None
            await _picture(connection, holder)
            if decision.step in (Step.TAKE, Step.HAND_OVER):
                await _notify(connection)
        self._registered = True
        due = None
        if decision.step is Step.FOLLOW:
            if decision.waiting_for:
                due = (decision.waiting_for.last_heartbeat - now).total_seconds() + timing.stale
            elif holder and expires_at:
                due = (expires_at - now).total_seconds()
        return Verdict(decision.step, started, holder, term, due)

    async def resign(self, held_term: int | None) -> None:
        """Give up the lease and leave the fleet; what a newer process of this instance wrote stays."""
        me = self._identity.instance_id
        async with self._database.transaction(seconds=RESIGN_SECONDS, lock_seconds=RESIGN_SECONDS) as connection:
            lease = await _lock(connection)
            if lease.holder == me and lease.term == held_term:
                await connection.execute("UPDATE leader_lease SET holder = NULL, expires_at = NULL")
                await _picture(connection, None)
                await _notify(connection)
            await connection.execute(
                "DELETE FROM ec2_launch WHERE instance_id = %s AND incarnation = %s", (me, self._incarnation)
            )

    async def request_handover(self, target: str, requested_by: str, reason: str) -> None:
        async with self._transaction() as connection:
            lease = await _lock(connection)
            now = await _database_clock(connection)
            await self._remove_stale(connection, now)
            if target not in [candidate.instance_id for candidate in await _candidates(connection)]:
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
            "SELECT holder, term, expires_at, requested_holder, requested_by, reason, request_expires_at"
            " FROM leader_lease FOR UPDATE"
        )
        lease = await cursor.fetchone()
    if lease is None:
        raise psycopg.DataError("leader_lease is empty: put its row back with INSERT INTO leader_lease DEFAULT VALUES")
    return lease


async def _database_clock(connection: Connection) -> datetime:
    """Only after the lock was got, and in a statement of its own: the wait for the lock must not eat up the lease."""
    cursor = await connection.execute("SELECT clock_timestamp()")
    row = await cursor.fetchone()
    assert row is not None  # noqa: S101
    now: datetime = row[0]
    return now


async def _candidates(connection: Connection) -> list[Candidate]:
    async with connection.cursor(row_factory=class_row(Candidate)) as cursor:
        await cursor.execute(
            "SELECT instance_id, last_heartbeat FROM ec2_launch JOIN ec2_heartbeat USING (instance_id)"
            " WHERE draining_since IS NULL ORDER BY launched_at, instance_id"
        )
        return await cursor.fetchall()


async def _drop_request(connection: Connection, lease: Lease, why: str) -> None:
    await connection.execute(
        "UPDATE leader_lease SET requested_holder = NULL, requested_by = NULL, reason = NULL, request_expires_at = NULL"
    )
    fields = {"target": lease.requested_holder, "requestedBy": lease.requested_by, "reason": lease.reason, "why": why}
    log.info("handover request ended", extra={"fields": fields})


async def _picture(connection: Connection, holder: str | None) -> None:
    await connection.execute(
        "UPDATE ec2_heartbeat SET is_leader = false WHERE is_leader AND instance_id IS DISTINCT FROM %s", (holder,)
    )
    await connection.execute(
        "UPDATE ec2_heartbeat SET is_leader = true WHERE NOT is_leader AND instance_id = %s", (holder,)
    )


async def _notify(connection: Connection) -> None:
    await connection.execute("SELECT pg_notify(%s, '')", (CHANNEL,))
