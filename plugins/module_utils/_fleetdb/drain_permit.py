# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The permit to take an instance out of service, and its return. Each is one transaction."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from . import journal
from .errors import DatabaseError, FleetError, RefusalError
from .fleet_queries import read_and_lock
from .fleet_state import TEMPORARY, FleetState, GatewayInstance, Refusal, locked, permit, unknown
from .rollout_lock import LockRenewal
from .times import timestamp

if TYPE_CHECKING:
    from .database import Connection, Database

POLL_SECONDS = 0.5


class ServiceChange(Protocol):
    @property
    def step(self) -> str:
        """Its name in the journal."""

    def refusal(self, fleet: FleetState, instance_id: str, rollout_id: int | None) -> Refusal | None: ...

    def mark(self, fleet: FleetState, instance: GatewayInstance) -> datetime | None:
        """The draining_since of the instance afterwards."""

    def recorded_for(self, fleet: FleetState, instance: GatewayInstance, rollout_id: int | None) -> int | None:
        """The rollout in whose journal this is to be written; None if it is written already, or if there is none."""

    @property
    def detail(self) -> str | None:
        """The detail for the journal."""


@dataclass(frozen=True)
class Drain:
    """With `alone`, the leader may be drained while no other instance is in service.

    With `reason`, the instance is kept out of service: it stays marked and out when its rollout is over.
    """

    min_in_service: int
    alone: bool = False
    reason: str | None = None
    step: str = journal.PERMIT

    @property
    def detail(self) -> str | None:
        return self.reason

    def refusal(self, fleet: FleetState, instance_id: str, rollout_id: int | None) -> Refusal | None:
        return permit(fleet, instance_id, min_in_service=self.min_in_service, rollout_id=rollout_id, alone=self.alone)

    def mark(self, fleet: FleetState, instance: GatewayInstance) -> datetime | None:
        # A leader that is alone leads until its successor on the same machine does, which must be eligible.
        leads = fleet.may_lead(instance)
        return instance.draining_since or (None if leads else fleet.now)

    def recorded_for(self, fleet: FleetState, instance: GatewayInstance, rollout_id: int | None) -> int | None:
        out = fleet.out.get(instance.instance_id)
        noted = out and (out.rollout_id == rollout_id or (out.reason is not None and out.reason == self.reason))
        return None if noted else rollout_id


@dataclass(frozen=True)
class PutBack:
    """It may lead again and counts for the permits of others. Refused without a fresh heartbeat."""

    step: str = journal.ACTIVE
    detail: str | None = None

    def refusal(self, fleet: FleetState, instance_id: str, rollout_id: int | None) -> Refusal | None:
        instance = fleet.find(instance_id)
        refusal = locked(fleet, rollout_id)
        if refusal or instance is None:
            return refusal or unknown(fleet, instance_id)
        if not fleet.fresh(instance):
            return Refusal("stale", f"{instance_id} {fleet.absence(instance)}. See the log of its gateway.")
        return None

    def mark(self, fleet: FleetState, instance: GatewayInstance) -> datetime | None:  # noqa: ARG002
        return None

    def recorded_for(self, fleet: FleetState, instance: GatewayInstance, rollout_id: int | None) -> int | None:
        out = fleet.out.get(instance.instance_id)
        return (rollout_id or out.rollout_id) if out else None


def carry_out(
    database: Database,
    change: ServiceChange,
    *,
    instance_id: str,
    host: str,
    by: str,
    wait: float,
    renewal: LockRenewal,
    stale_after: float,
    check_mode: bool,
) -> dict[str, Any]:
    """Waits up to `wait` seconds while the refusal or another session's lock may pass; then raises RefusalError.

    After a refusal, too, the lock is renewed, and the journal has a skipped step.
    """
    started = time.monotonic()
    while True:
        waited = time.monotonic() - started
        try:
            with database.transaction(keep=not check_mode) as connection:
                fleet = read_and_lock(connection, stale_after=stale_after)
                rollout = renewal.renew(connection, fleet.rollout, fleet.now)
                actor = rollout.holder if rollout else by
                refusal = change.refusal(fleet, instance_id, renewal.rollout_id)
                final = refusal is None or refusal.code not in TEMPORARY or waited >= wait
                step = {"host": host, "instance_id": instance_id, "step": change.step, "seconds": round(waited, 3)}
                changed = False
                if refusal is None:
                    changed = _apply(connection, change, fleet, instance_id, renewal.rollout_id, actor, step)
                elif final and renewal.rollout_id is not None:
                    skipped = {**step, "result": "skipped", "detail": refusal.words}
                    journal.write(connection, renewal.rollout_id, actor, fleet.now, [skipped])
        except DatabaseError as error:
            if not error.busy or waited >= wait:
                raise
            time.sleep(POLL_SECONDS)
            continue
        if refusal is None:
            return _outcome(fleet, change, instance_id, changed, waited)
        if final:
            raise RefusalError(refusal.code, refusal.words, **_facts(fleet, instance_id))
        renewal = replace(renewal, steps=())  # they are written
        time.sleep(min(POLL_SECONDS, wait - waited))


def _apply(
    connection: Connection,
    change: ServiceChange,
    fleet: FleetState,
    instance_id: str,
    rollout_id: int | None,
    actor: str,
    step: dict[str, Any],
) -> bool:
    instance = fleet.known(instance_id)
    mark = change.mark(fleet, instance)
    recorded_for = change.recorded_for(fleet, instance, rollout_id)
    if recorded_for is not None:
        done = {**step, "result": "succeeded", "detail": change.detail}
        journal.write(connection, recorded_for, actor, fleet.now, [done])
    differs = mark != instance.draining_since
    marked = differs and _can_mark(connection)
    if marked:
        connection.execute("UPDATE ec2_launch SET draining_since = %s WHERE instance_id = %s", (mark, instance_id))
    elif differs and rollout_id is None:
        raise FleetError(
            "ec2_launch has no column draining_since, so that the instance can't be marked. Drain it as a part of "
            "a rollout (rollout_id), whose journal remembers it, or run a newer gateway."
        )
    return recorded_for is not None or marked


def _can_mark(connection: Connection) -> bool:
    """Whether the table has the column draining_since, which older gateways lack."""
    row = connection.execute(
        "SELECT count(*) FROM pg_attribute WHERE attrelid = 'ec2_launch'::regclass AND attname = 'draining_since'"
        " AND NOT attisdropped"
    ).fetchone()
    return row == (1,)


def _facts(fleet: FleetState, instance_id: str) -> dict[str, Any]:
    return {
        "instance_id": instance_id,
        "leader": fleet.leader,
        "in_service": fleet.in_service(),
        "instances": fleet.shown(),
    }


def _outcome(
    fleet: FleetState, change: ServiceChange, instance_id: str, changed: bool, waited: float
) -> dict[str, Any]:
    instance = fleet.known(instance_id)
    drained = isinstance(change, Drain)
    serving = set(fleet.in_service()) - {instance_id}
    after = serving if drained else serving | {instance_id}
    mark = timestamp(change.mark(fleet, instance))
    return {
        **_facts(fleet, instance_id),
        "changed": changed,
        "refusal": None,
        "in_service": sorted(after),
        "draining_since": mark,
        "waited": round(waited, 3),
        "diff": {
            "before": {
                instance_id: {
                    "in_service": not fleet.absence(instance),
                    "draining_since": timestamp(instance.draining_since),
                }
            },
            "after": {instance_id: {"in_service": not drained, "draining_since": mark}},
        },
    }
