# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A planned change of the leader: asked for in the lease's row, done by the gateways, confirmed by the lease."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from . import journal
from .errors import DatabaseError, FleetError, RefusedError
from .read import clock, lock, open_rollout, read
from .rollout_lock import Hold
from .state import FleetState, Lease, Refusal, locked, no_leader, seconds, successor, timestamp

if TYPE_CHECKING:
    from .database import Connection, Database

CHANNEL = "evenkeel_leader"
POLL_SECONDS = 0.1
RETRY_SECONDS = 0.5


@dataclass(frozen=True)
class Wish:
    """`target`, or else the oldest in service, `among` these, of this `version`. `by` and `reason` are shown."""

    by: str
    reason: str
    target: str | None = None
    among: Sequence[str] | None = None
    version: str | None = None


@dataclass(frozen=True)
class _Asked:
    old: str
    old_term: int
    target: str
    at: datetime
    old_until: datetime | None


def hand_over(
    database: Database,
    wish: Wish,
    *,
    timeout: float,
    hold: Hold,
    stale_after: float,
    check_mode: bool,
) -> dict[str, Any]:
    """Return once the lease says that another one leads; raises RefusedError or FleetError.

    When the time is over, the request is taken back, so that nothing happens later.
    """
    started = time.monotonic()
    while True:
        with database.transaction(keep=not check_mode) as connection:
            fleet = lock(connection, stale_after=stale_after)
            # Its outcome renews the lock once more; until then it must not end.
            replace(hold, ttl=max(hold.ttl, 2 * timeout)).renew(connection, fleet.rollout, fleet.now)
            asked = _ask(connection, fleet, wish, timeout, hold.rollout_id)
        if isinstance(asked, _Asked):
            break
        # An election may be under way.
        if asked.refusal != "no_leader" or time.monotonic() - started >= timeout:
            raise asked
        hold = replace(hold, steps=())  # they are written
        time.sleep(RETRY_SECONDS)
    if asked.target == asked.old or check_mode:
        return _result(asked, asked.old_term, None, changed=asked.target != asked.old)
    try:
        lease = _wait(database, asked, wish, started + timeout, stale_after)
    except FleetError as error:
        with suppress(FleetError):  # the first one says more
            _note(database, hold, asked, "failed", error.message, time.monotonic() - started)
        raise
    result = _result(asked, lease.term, _gap(asked, lease), changed=True)
    gap = "unknown" if result["gap"] is None else f"{result['gap']:g} s"
    detail = f"{asked.old} → {asked.target}, term {asked.old_term} → {lease.term}, gap {gap}"
    _note(database, hold, asked, "succeeded", detail, time.monotonic() - started)
    return result


def _ask(
    connection: Connection, fleet: FleetState, wish: Wish, timeout: float, rollout_id: int | None
) -> _Asked | RefusedError:
    """Write the request, unless it is refused or the target leads."""
    lease = fleet.lease
    if lease is None:
        raise FleetError(
            "There is no table leader_lease: these gateways have no lease, and can't be asked to hand it over. "
            "Stop the leader last; the election then picks another one."
        )
    target = locked(fleet, rollout_id) or successor(fleet, target=wish.target, among=wish.among, version=wish.version)
    leader = fleet.leader
    if isinstance(target, Refusal) or leader is None:
        refusal = target if isinstance(target, Refusal) else no_leader(fleet)
        return RefusedError(refusal.code, refusal.words, leader=leader, instances=fleet.shown())
    if target != leader:
        if _pending(fleet, lease, wish):
            return RefusedError(
                "pending",
                f"A handover to {lease.requested_holder} is pending until {timestamp(lease.request_expires_at)}, "
                f"requested by {lease.requested_by}: {lease.reason}. Try again when it is over.",
            )
        connection.execute(
            "UPDATE leader_lease SET requested_holder = %s, requested_by = %s, reason = %s,"
            " request_expires_at = %s + make_interval(secs => %s)",
            (target, wish.by, wish.reason, fleet.now, timeout),
        )
        _notify(connection)
    return _Asked(leader, lease.term, target, fleet.now, lease.expires_at)


def _pending(fleet: FleetState, lease: Lease, wish: Wish) -> bool:
    """Somebody else's request; one's own is asked anew."""
    lasts = lease.request_expires_at is not None and lease.request_expires_at > fleet.now
    return lasts and lease.requested_by != wish.by


def _notify(connection: Connection) -> None:
    connection.execute("SELECT pg_notify(%s, '')", (CHANNEL,))


def _wait(database: Database, asked: _Asked, wish: Wish, deadline: float, stale_after: float) -> Lease:
    while True:
        try:
            with database.transaction(snapshot=True) as connection:
                fleet = read(connection, stale_after=stale_after)
        except DatabaseError:  # a pooler that restarts; what was asked for goes on without us
            if time.monotonic() >= deadline:
                raise
            time.sleep(POLL_SECONDS)
            continue
        lease = _confirmed(asked, fleet)
        if lease:
            return lease
        wanted = fleet.lease and (fleet.lease.requested_holder, fleet.lease.requested_by)
        ours = wanted == (asked.target, wish.by)
        # What a gateway drops and what it fulfils look alike until somebody leads.
        if fleet.leader is not None and not ours:
            raise _failed(
                asked,
                fleet,
                "The request was dropped, by the gateways or by somebody else: is the target healthy? "
                f"See the log of the gateway of {asked.old}.",
            )
        if time.monotonic() >= deadline:
            return _withdraw(database, asked, wish, stale_after)
        time.sleep(POLL_SECONDS)


def _confirmed(asked: _Asked, fleet: FleetState) -> Lease | None:
    lease = fleet.lease
    return lease if lease and fleet.leader == asked.target and lease.term > asked.old_term else None


def _withdraw(database: Database, asked: _Asked, wish: Wish, stale_after: float) -> Lease:
    with database.transaction() as connection:
        fleet = lock(connection, stale_after=stale_after)
        lease = _confirmed(asked, fleet)
        if lease:
            return lease
        connection.execute(
            "UPDATE leader_lease SET requested_holder = NULL, requested_by = NULL, reason = NULL,"
            " request_expires_at = NULL WHERE requested_holder = %s AND requested_by = %s",
            (asked.target, wish.by),
        )
    raise _failed(asked, fleet, "The time is over, and the request was taken back. Do the gateways reach the database?")


def _failed(asked: _Asked, fleet: FleetState, why: str) -> FleetError:
    leader = fleet.leader or "nobody"
    term = fleet.lease.term if fleet.lease else None
    return FleetError(
        f"The leadership did not go from {asked.old} (term {asked.old_term}) to {asked.target}: {leader} leads (term "
        f"{term}). {why}",
        old=asked.old,
        leader=fleet.leader,
        term=term,
    )


def _gap(asked: _Asked, lease: Lease) -> float | None:
    """For how long nobody held the lease, by the database's clock; at most, where the old leader died meanwhile."""
    since = lease.vacant_since if lease.vacant_since and lease.vacant_since >= asked.at else asked.old_until
    gap = seconds(lease.elected_at, since)
    return None if gap is None else max(0.0, gap)


def _result(asked: _Asked, term: int, gap: float | None, *, changed: bool) -> dict[str, Any]:
    return {
        "changed": changed,
        "old": asked.old,
        "new": asked.target,
        "old_term": asked.old_term,
        "term": term,
        "gap": gap if changed else 0.0,
        "refusal": None,
        "diff": {"before": {"leader": asked.old}, "after": {"leader": asked.target}},
    }


def _note(database: Database, hold: Hold, asked: _Asked, result: str, detail: str, took: float) -> None:
    if hold.rollout_id is None:
        return
    step = {
        "host": journal.WHOLE_FLEET,
        "instance_id": asked.target,
        "step": journal.HANDOVER,
        "result": result,
        "seconds": round(took, 3),
        "detail": detail,
    }
    with database.transaction() as connection:
        rollout = open_rollout(connection)
        replace(hold, steps=[step]).renew(connection, rollout, clock(connection))
