# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lock on changing the fleet or one service: one rollout at a time holds it, until it expires (rollout_record.py).

The id of its row proves the lock. Ids are never reused, and only the call that inserts the row returns it: a controller
that lost its lock while it was stopped has an id whose row is closed. A further secret would prove nothing, because a
client that may write to these tables could write it, too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from . import journal
from .errors import DatabaseError, FleetError, RefusalError
from .fleet_queries import clock, lock_scope, open_rollout, out_of_service, rollout_of, tables
from .fleet_state import FleetState, Refusal, locked
from .rollout_record import RolloutRecord
from .schema import create_missing
from .scope import FLEET, Scope
from .times import timestamp

if TYPE_CHECKING:
    from .database import Connection, Database

Steps = Sequence[Mapping[str, Any]]
POLL_SECONDS = 1.0
SAID_EVERY = 30.0
_UNIQUE_VIOLATION = "23505"
# With the table of the rollouts.
_OPEN = "INSERT INTO {} ({}) VALUES ({}) RETURNING id"
_EXTEND = "UPDATE {} SET expires_at = %s WHERE id = %s"
_CLOSE = "UPDATE {} SET finished_at = %s, result = %s WHERE id = %s"
# A mark that a permit set has the time of the permit's step. With a reason it stays.
_CLEAR = """
UPDATE ec2_launch SET draining_since = NULL
WHERE draining_since IS NOT NULL AND EXISTS (
    SELECT FROM fleet_rollout_step step JOIN fleet_rollout rollout ON rollout.id = step.rollout_id
    WHERE step.instance_id = ec2_launch.instance_id AND step.at = ec2_launch.draining_since
      AND step.step = %s AND step.detail IS NULL AND rollout.finished_at IS NOT NULL)
RETURNING instance_id"""


@dataclass(frozen=True)
class LockRenewal:
    """A call on behalf of a rollout: it renews the lock for `ttl` seconds and writes the steps, or is refused."""

    rollout_id: int | None = None
    ttl: float = 120.0
    steps: Steps = ()
    scope: Scope = FLEET

    def renew(self, connection: Connection, rollout: RolloutRecord | None, now: datetime) -> RolloutRecord | None:
        """`rollout` is the open one, locked. An expired lock that no other rollout acquired can be renewed."""
        journal.refuse_reserved(self.steps)
        if self.rollout_id is None:
            if self.steps:
                raise FleetError("steps need rollout_id, the rollout to which they belong.")
            return None
        return self.prove(connection, rollout, now)

    def prove(self, connection: Connection, rollout: RolloutRecord | None, now: datetime) -> RolloutRecord:
        """The same for a call that needs the lock."""
        journal.refuse_reserved(self.steps)
        if rollout is None or rollout.id != self.rollout_id:
            raise _lost(connection, self.rollout_id, rollout, self.scope)
        expires_at = now + timedelta(seconds=self.ttl)
        connection.execute(_EXTEND.format(self.scope.rollouts).encode(), (expires_at, rollout.id))
        journal.write(connection, rollout.id, rollout.holder, now, self.steps, self.scope)
        return replace(rollout, expires_at=expires_at)


@dataclass(frozen=True)
class _Acquired:
    fleet: FleetState
    rollout: RolloutRecord
    took_over: RolloutRecord | None = None
    cleared: Sequence[str] = ()


@dataclass(frozen=True)
class _HeldByOther:
    refusal: Refusal
    lock: Mapping[str, Any]


def acquire(
    database: Database,
    *,
    holder: str,
    reason: str,
    digest: str | None,
    wait: float,
    renewal: LockRenewal,
    stale_after: float,
    check_mode: bool,
    say: Callable[[str], None] = lambda _line: None,
) -> dict[str, Any]:
    """Take the lock, waiting for it up to `wait` seconds; raises RefusalError that names its holder.

    While it waits, `say` gets a line each half minute.

    Instances that an ended rollout left draining may lead again from then on. `interrupted` are those that were not
    put back into service; a permit does not count them until they are.
    """
    journal.refuse_reserved(renewal.steps)
    if not check_mode:
        with database.transaction() as connection:
            create_missing(connection, renewal.scope)
    started = time.monotonic()
    said = float("-inf")
    mine: list[int] = []
    while True:
        try:
            with database.transaction(keep=not check_mode) as connection:
                attempt = _attempt(connection, holder, reason, digest, renewal, stale_after, mine)
        except DatabaseError as error:
            if error.state == _UNIQUE_VIOLATION:  # Another client was faster.
                continue
            if error.in_doubt and len(mine) == 1:  # the row that was tried will tell
                continue
            raise
        waited = time.monotonic() - started
        if isinstance(attempt, _Acquired):
            return _acquired(attempt, waited, check_mode)
        if waited >= wait:
            text = f"{attempt.refusal.words} Waited {waited:.0f} s." if wait else attempt.refusal.words
            raise RefusalError(attempt.refusal.code, text, lock=attempt.lock)
        if waited - said >= SAID_EVERY:
            said = waited
            say(f"{attempt.refusal.words} Waiting, for {wait - waited:.0f} s at most.")
        time.sleep(min(POLL_SECONDS, max(0.05, min(wait - waited, attempt.lock["expires_in"]))))


def _attempt(
    connection: Connection,
    holder: str,
    reason: str,
    digest: str | None,
    renewal: LockRenewal,
    stale_after: float,
    mine: list[int],
) -> _Acquired | _HeldByOther:
    scope = renewal.scope
    create_missing(connection, scope)  # In check mode it was not called before.
    fleet = lock_scope(connection, scope, stale_after=stale_after)
    open_ = fleet.rollout
    if open_ and open_.id in mine:
        return _Acquired(fleet, open_)
    refusal = locked(fleet, None)
    if open_ and refusal:
        return _HeldByOther(refusal, open_.shown(fleet.now))
    if open_:
        _close(connection, open_, fleet.now, "abandoned")
    expires_at = fleet.now + timedelta(seconds=renewal.ttl)
    wanted = {"holder": holder, "reason": reason, "digest": digest, "started_at": fleet.now, "expires_at": expires_at}
    if not scope.is_fleet:
        wanted["scope"] = scope.name
    values = ", ".join(f"%({column})s" for column in wanted)
    statement = _OPEN.format(scope.rollouts, ", ".join(wanted), values)
    [(rollout_id,)] = connection.execute(statement.encode(), wanted)
    rollout = RolloutRecord(rollout_id, holder, reason, digest, fleet.now, expires_at, scope=scope.name)
    mine.append(rollout.id)
    journal.write(connection, rollout.id, holder, fleet.now, renewal.steps, scope)
    return _Acquired(fleet, rollout, open_, _clear_marks(connection, fleet))


def _acquired(taken: _Acquired, waited: float, check_mode: bool) -> dict[str, Any]:
    fleet, rollout = taken.fleet, taken.rollout
    shown = rollout.shown(fleet.now)
    if check_mode:
        shown["rollout_id"] = None  # none was made
    return {
        "changed": True,
        "rollout_id": shown["rollout_id"],
        "lock": shown,
        "took_over": taken.took_over.shown(fleet.now) if taken.took_over else None,
        "interrupted": [one.shown() for one in fleet.out.values()],
        "cleared": list(taken.cleared),
        "waited": round(waited, 3),
        "diff": _diff(taken.took_over, holder=rollout.holder, reason=rollout.reason),
    }


def renew(database: Database, *, renewal: LockRenewal, check_mode: bool) -> dict[str, Any]:
    """Raises RefusalError where the lock is lost. Counts as changed only where steps were written."""
    with database.transaction(keep=not check_mode) as connection:
        _need_tables(connection, renewal.scope)
        open_ = open_rollout(connection, renewal.scope)
        now = clock(connection)
        rollout = renewal.prove(connection, open_, now)
    return {
        "changed": bool(renewal.steps),
        "rollout_id": rollout.id,
        "lock": rollout.shown(now),
        "diff": {"before": {}, "after": {}},
    }


def release(
    database: Database, *, result: Literal["succeeded", "failed"], renewal: LockRenewal, check_mode: bool
) -> dict[str, Any]:
    """A second release changes nothing. `interrupted` are the hosts that this rollout leaves out of service."""
    with database.transaction(keep=not check_mode) as connection:
        _need_tables(connection, renewal.scope)
        open_ = open_rollout(connection, renewal.scope)
        now = clock(connection)
        before = rollout_of(connection, renewal.rollout_id, renewal.scope)
        changed = before is None or before.result != result
        if before is None or changed:
            rollout = _close(connection, renewal.prove(connection, open_, now), now, result)
        else:
            rollout = before
        out = out_of_service(connection) if renewal.scope.is_fleet else {}
        left = [one for one in out.values() if one.rollout_id == rollout.id]
    return {
        "changed": changed,
        "rollout_id": rollout.id,
        "lock": rollout.shown(now),
        "interrupted": [one.shown() for one in left],
        "diff": _diff(rollout) if changed else {"before": {}, "after": {}},
    }


def break_(
    database: Database,
    *,
    rollout_id: int | None,
    by: str,
    reason: str,
    stale_after: float,
    check_mode: bool,
    scope: Scope = FLEET,
) -> dict[str, Any]:
    """End the rollout that holds the lock, or only the given one; its next step is refused."""
    with database.transaction(keep=not check_mode) as connection:
        if not tables(connection).has(scope):
            return _nothing_broken()
        fleet = lock_scope(connection, scope, stale_after=stale_after)
        open_ = fleet.rollout
        if open_ is None or rollout_id not in (None, open_.id):
            return _nothing_broken()
        step = {"host": journal.WHOLE_FLEET, "step": journal.BREAK, "result": "succeeded", "detail": reason}
        journal.write(connection, open_.id, by, fleet.now, [step], scope)
        rollout = _close(connection, open_, fleet.now, "abandoned")
        cleared = _clear_marks(connection, fleet)
    return {
        "changed": True,
        "rollout_id": rollout.id,
        "lock": rollout.shown(fleet.now),
        "interrupted": [one.shown() for one in fleet.out.values()],
        "cleared": cleared,
        "diff": _diff(rollout),
    }


def _nothing_broken() -> dict[str, Any]:
    return {
        "changed": False,
        "rollout_id": None,
        "lock": None,
        "interrupted": [],
        "cleared": [],
        "diff": {"before": {}, "after": {}},
    }


def _close(connection: Connection, rollout: RolloutRecord, now: datetime, result: str) -> RolloutRecord:
    connection.execute(_CLOSE.format(Scope(rollout.scope).rollouts).encode(), (now, result, rollout.id))
    return replace(rollout, finished_at=now, result=result)


def _clear_marks(connection: Connection, fleet: FleetState) -> list[str]:
    """Remove the draining marks of ended rollouts: if all instances had one, none could be elected."""
    if not any(one.draining_since for one in fleet.instances):
        return []
    return sorted(row[0] for row in connection.execute(_CLEAR, (journal.PERMIT,)).fetchall())


def _need_tables(connection: Connection, scope: Scope) -> None:
    if not tables(connection).has(scope):
        raise FleetError(
            f"The database has no table {scope.rollouts}: no {scope.noun} ever ran on it. Check that it is the right "
            "database."
        )


def _lost(connection: Connection, rollout_id: int | None, holder: RolloutRecord | None, scope: Scope) -> RefusalError:
    past = rollout_of(connection, rollout_id, scope)
    noun = scope.noun
    if past is None:
        text = f"There is no {noun} {rollout_id}{'' if scope.is_fleet else f' of {scope.name}'}."
    else:
        ended = timestamp(past.finished_at)
        text = f"{noun.capitalize()} {rollout_id} ended as {past.result} at {ended}: its lock is lost."
    if holder:
        text += f" {holder.holder} holds the lock now ({noun} {holder.id}: {holder.reason})."
    return RefusalError("lost", f"{text} Nothing was changed; start a new {noun}.")


def _diff(before: RolloutRecord | None, **after: Any) -> dict[str, Any]:
    return {
        "before": {"lock": {"holder": before.holder, "reason": before.reason} if before else None},
        "after": {"lock": after or None},
    }
