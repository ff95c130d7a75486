# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A planned change of the leader: requested in the lease's row, done by the gateways, confirmed by the lease."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from . import journal
from .errors import DatabaseError, FleetError, RefusalError
from .fleet_queries import clock, open_rollout, read, read_and_lock
from .fleet_state import FleetState, Lease, Refusal, locked, no_leader, successor
from .rollout_lock import LockRenewal
from .times import seconds, timestamp

if TYPE_CHECKING:
    from .database import Connection, Database

CHANNEL = "evenkeel_leader"
POLL_SECONDS = 0.1
RETRY_SECONDS = 0.5


@dataclass(frozen=True)
class HandoverRequest:
    """The wanted leader: `target`, or the oldest instance in service, `among` these, of this `version`."""

    by: str
    reason: str
    target: str | None = None
    among: Sequence[str] | None = None
    version: str | None = None


@dataclass(frozen=True)
class _PendingHandover:
    old: str
    old_term: int
    target: str
    at: datetime
    old_until: datetime | None


def hand_over(
    database: Database,
    request: HandoverRequest,
    *,
    timeout: float,
    renewal: LockRenewal,
    stale_after: float,
    check_mode: bool,
) -> dict[str, Any]:
    """Return once the lease says that another instance leads; raises RefusalError or FleetError.

    After `timeout` seconds the request is withdrawn, so that nothing happens later.
    """
    started = time.monotonic()
    while True:
        with database.transaction(keep=not check_mode) as connection:
            fleet = read_and_lock(connection, stale_after=stale_after)
            # Writing the outcome renews the lock again; it must not expire before.
            replace(renewal, ttl=max(renewal.ttl, 2 * timeout)).renew(connection, fleet.rollout, fleet.now)
            pending = _ask(connection, fleet, request, timeout, renewal.rollout_id)
        if isinstance(pending, _PendingHandover):
            break
        # An election may be under way.
        if pending.refusal != "no_leader" or time.monotonic() - started >= timeout:
            raise pending
        renewal = replace(renewal, steps=())  # they are written
        time.sleep(RETRY_SECONDS)
    if pending.target == pending.old or check_mode:
        return _result(pending, pending.old_term, None, changed=pending.target != pending.old)
    try:
        lease = _wait(database, pending, request, started + timeout, stale_after)
    except FleetError as error:
        with suppress(FleetError):  # The first error is more specific.
            _note(database, renewal, pending, "failed", error.message, time.monotonic() - started)
        raise
    result = _result(pending, lease.term, _gap(pending, lease), changed=True)
    gap = "unknown" if result["gap"] is None else f"{result['gap']:g} s"
    detail = f"{pending.old} → {pending.target}, term {pending.old_term} → {lease.term}, gap {gap}"
    _note(database, renewal, pending, "succeeded", detail, time.monotonic() - started)
    return result


def _ask(
    connection: Connection, fleet: FleetState, request: HandoverRequest, timeout: float, rollout_id: int | None
) -> _PendingHandover | RefusalError:
    """Write the request, unless it is refused or the target leads."""
    lease = fleet.lease
    if lease is None:
        raise FleetError(
            "There is no table leader_lease: these gateways are too old for a handover. Stop the leader last; the "
            "election then chooses another instance."
        )
    target = locked(fleet, rollout_id) or successor(
        fleet, target=request.target, among=request.among, version=request.version
    )
    leader = fleet.leader
    if isinstance(target, Refusal) or leader is None:
        refusal = target if isinstance(target, Refusal) else no_leader(fleet)
        return RefusalError(refusal.code, refusal.words, leader=leader, instances=fleet.shown())
    if target != leader:
        if _pending(fleet, lease, request):
            return RefusalError(
                "pending",
                f"A handover to {lease.requested_holder} is pending until {timestamp(lease.request_expires_at)}, "
                f"requested by {lease.requested_by}: {lease.reason}. Try again when it is over.",
            )
        connection.execute(
            "UPDATE leader_lease SET requested_holder = %s, requested_by = %s, reason = %s,"
            " request_expires_at = %s + make_interval(secs => %s)",
            (target, request.by, request.reason, fleet.now, timeout),
        )
        _notify(connection)
    return _PendingHandover(leader, lease.term, target, fleet.now, lease.expires_at)


def _pending(fleet: FleetState, lease: Lease, request: HandoverRequest) -> bool:
    """Another holder's request; this holder's own is written again."""
    lasts = lease.request_expires_at is not None and lease.request_expires_at > fleet.now
    return lasts and lease.requested_by != request.by


def _notify(connection: Connection) -> None:
    connection.execute("SELECT pg_notify(%s, '')", (CHANNEL,))


def _wait(
    database: Database, pending: _PendingHandover, request: HandoverRequest, deadline: float, stale_after: float
) -> Lease:
    while True:
        try:
            with database.transaction(snapshot=True) as connection:
                fleet = read(connection, stale_after=stale_after)
        except DatabaseError:  # Such as a pooler that restarts; the request stays valid.
            if time.monotonic() >= deadline:
                raise
            time.sleep(POLL_SECONDS)
            continue
        lease = _confirmed(pending, fleet)
        if lease:
            return lease
        wanted = fleet.lease and (fleet.lease.requested_holder, fleet.lease.requested_by)
        ours = wanted == (pending.target, request.by)
        # Until an instance leads, a dropped request can't be told from a fulfilled one.
        if fleet.leader is not None and not ours:
            raise _failed(
                pending,
                fleet,
                "The request was removed by the gateways or by another client. Check that the target is healthy. "
                f"See the log of the gateway of {pending.old}.",
            )
        if time.monotonic() >= deadline:
            return _withdraw(database, pending, request, stale_after)
        time.sleep(POLL_SECONDS)


def _confirmed(pending: _PendingHandover, fleet: FleetState) -> Lease | None:
    lease = fleet.lease
    return lease if lease and fleet.leader == pending.target and lease.term > pending.old_term else None


def _withdraw(database: Database, pending: _PendingHandover, request: HandoverRequest, stale_after: float) -> Lease:
    with database.transaction() as connection:
        fleet = read_and_lock(connection, stale_after=stale_after)
        lease = _confirmed(pending, fleet)
        if lease:
            return lease
        connection.execute(
            "UPDATE leader_lease SET requested_holder = NULL, requested_by = NULL, reason = NULL,"
            " request_expires_at = NULL WHERE requested_holder = %s AND requested_by = %s",
            (pending.target, request.by),
        )
    raise _failed(
        pending,
        fleet,
        "The timeout has passed, and the request was withdrawn. Check that the gateways reach the database.",
    )


def _failed(pending: _PendingHandover, fleet: FleetState, why: str) -> FleetError:
    leader = fleet.leader or "no instance"
    term = fleet.lease.term if fleet.lease else None
    return FleetError(
        f"The leadership was not handed over from {pending.old} (term {pending.old_term}) to {pending.target}: "
        f"{leader} leads (term {term}). {why}",
        old=pending.old,
        leader=fleet.leader,
        term=term,
    )


def _gap(pending: _PendingHandover, lease: Lease) -> float | None:
    """Seconds in which no instance held the lease, by the database's clock; an upper bound if the old leader died."""
    since = lease.vacant_since if lease.vacant_since and lease.vacant_since >= pending.at else pending.old_until
    gap = seconds(lease.elected_at, since)
    return None if gap is None else max(0.0, gap)


def _result(pending: _PendingHandover, term: int, gap: float | None, *, changed: bool) -> dict[str, Any]:
    return {
        "changed": changed,
        "old": pending.old,
        "new": pending.target,
        "old_term": pending.old_term,
        "term": term,
        "gap": gap if changed else 0.0,
        "refusal": None,
        "diff": {"before": {"leader": pending.old}, "after": {"leader": pending.target}},
    }


def _note(
    database: Database, renewal: LockRenewal, pending: _PendingHandover, result: str, detail: str, took: float
) -> None:
    if renewal.rollout_id is None:
        return
    step = {
        "host": journal.WHOLE_FLEET,
        "instance_id": pending.target,
        "step": journal.HANDOVER,
        "result": result,
        "seconds": round(took, 3),
        "detail": detail,
    }
    with database.transaction() as connection:
        rollout = open_rollout(connection)
        replace(renewal, steps=[step]).renew(connection, rollout, clock(connection))
