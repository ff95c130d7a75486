# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fleet at one moment, by the database's clock, and decisions from it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from .rollout_record import RolloutRecord
from .scope import Scope
from .times import seconds, timestamp

STALE_SECONDS = 15.0


@dataclass(frozen=True)
class Lease:
    """The row of leader_lease: which instance leads, and a handover that was requested."""

    holder: str | None
    term: int
    elected_at: datetime | None = None
    expires_at: datetime | None = None
    vacant_since: datetime | None = None
    requested_holder: str | None = None
    requested_by: str | None = None
    reason: str | None = None
    request_expires_at: datetime | None = None


@dataclass(frozen=True)
class GatewayInstance:
    instance_id: str
    launched_at: datetime | None
    private_ip: str | None = None
    public_ip: str | None = None
    version: str | None = None
    draining_since: datetime | None = None
    last_heartbeat: datetime | None = None
    is_leader: bool = False


@dataclass(frozen=True)
class OutOfService:
    """A host that a rollout took out of service and has not put back, by the journal.

    With a `reason` it is kept out until an operator puts it back; else the rollout was interrupted.
    """

    instance_id: str
    host: str
    rollout_id: int
    at: datetime
    by: str = ""
    reason: str | None = None

    def shown(self) -> dict[str, Any]:
        return {
            "host": self.host,
            "instance_id": self.instance_id,
            "rollout_id": self.rollout_id,
            "since": timestamp(self.at),
            "by": self.by,
            "reason": self.reason,
        }


@dataclass(frozen=True)
class FleetState:
    """`instances` in the order of age. `lease` is None where there is no such table: an older gateway.

    `out` is by instance id. A swapped gateway returns with a new row without a mark, so that the mark alone would count
    it as in service before it was put back.
    """

    now: datetime
    instances: Sequence[GatewayInstance]
    lease: Lease | None = None
    rollout: RolloutRecord | None = None
    out: Mapping[str, OutOfService] = field(default_factory=dict)
    stale_after: float = STALE_SECONDS

    def find(self, instance_id: str) -> GatewayInstance | None:
        """Also an instance out of service whose row was deleted when its gateway ended."""
        gone = GatewayInstance(instance_id, None) if instance_id in self.out else None
        return next((one for one in self.instances if one.instance_id == instance_id), gone)

    def known(self, instance_id: str) -> GatewayInstance:
        """An instance that is known to exist."""
        found = self.find(instance_id)
        if found is None:
            raise LookupError(instance_id)
        return found

    @property
    def leader(self) -> str | None:
        """The id of the leader; None if no instance leads, or if that is not known."""
        if self.lease:
            valid = self.lease.expires_at is not None and self.lease.expires_at > self.now
            return self.lease.holder if valid else None
        marked = self.marked
        return marked[0].instance_id if len(marked) == 1 and self.fresh(marked[0]) else None

    @property
    def marked(self) -> list[GatewayInstance]:
        """The instances that are marked as the leader."""
        return [one for one in self.instances if one.is_leader]

    @property
    def held_by(self) -> RolloutRecord | None:
        """The rollout that holds the lock, unless the lock has expired."""
        return self.rollout if self.rollout and not self.rollout.expired(self.now) else None

    def may_lead(self, instance: GatewayInstance) -> bool:
        """Whether it is the leader by the lease or by its mark; such an instance never counts as a follower."""
        holds = self.lease is not None and self.lease.holder == instance.instance_id
        return holds or instance.is_leader or self.leader == instance.instance_id

    def fresh(self, instance: GatewayInstance) -> bool:
        age = seconds(self.now, instance.last_heartbeat)
        return age is not None and abs(age) <= self.stale_after

    def absence(self, instance: GatewayInstance) -> str | None:
        """Why an instance is not in service, or None."""
        if instance.last_heartbeat is None:
            return "has no heartbeat"
        if not self.fresh(instance):
            return f"has no fresh heartbeat: the last one is {seconds(self.now, instance.last_heartbeat):g} s old"
        out = self.out.get(instance.instance_id)
        if out and out.reason is not None:
            return f"is kept out of service by {out.by} since {timestamp(out.at)}: {out.reason}"
        if out:
            return f"was taken out of service by rollout {out.rollout_id} and not put back"
        return f"has been draining since {timestamp(instance.draining_since)}" if instance.draining_since else None

    def in_service(self, besides: str | None = None) -> list[str]:
        found = [one.instance_id for one in self.instances if not self.absence(one)]
        return [instance_id for instance_id in found if instance_id != besides]

    def shown(self) -> list[dict[str, Any]]:
        return [
            {
                "instance_id": one.instance_id,
                "private_ip": one.private_ip,
                "public_ip": one.public_ip,
                "launched_at": timestamp(one.launched_at),
                "version": one.version,
                "heartbeat_age": seconds(self.now, one.last_heartbeat),
                "draining_since": timestamp(one.draining_since),
                "fresh": self.fresh(one),
                "leads": one.instance_id == self.leader,
                "in_service": not self.absence(one),
            }
            for one in self.instances
        ]


def doubts(fleet: FleetState) -> list[str]:
    """Why it is not certain which instance leads."""
    found = []
    marked = [one.instance_id for one in fleet.marked]
    if len(marked) > 1:
        found.append(f"{' and '.join(marked)} are all marked as the leader")
    if fleet.lease is None:
        if not marked:
            found.append("no instance is marked as the leader")
        found += [f"{one.instance_id} leads and {why}" for one in fleet.marked if (why := _silence(fleet, one))]
        return found
    leader = fleet.leader
    if leader is None:
        holder = fleet.lease.holder
        gone = f": the lease of {holder} has expired" if holder else ""
        found.append(f"no instance leads{gone}")
    elif marked != [leader]:
        found.append(f"{leader} holds the lease, but {_marked(marked)} marked as the leader")
    instance = fleet.find(leader) if leader else None
    if leader and instance is None:
        found.append(f"{leader} holds the lease, but is not a registered instance")
    elif instance and (why := _silence(fleet, instance)):
        found.append(f"{leader} leads and {why}")
    return found


def _silence(fleet: FleetState, instance: GatewayInstance) -> str | None:
    return None if fleet.fresh(instance) else fleet.absence(instance)


def _marked(marked: Sequence[str]) -> str:
    return f"{' and '.join(marked)} {'is' if len(marked) == 1 else 'are'}" if marked else "no instance is"


def permit(
    fleet: FleetState, instance_id: str, *, min_in_service: int, rollout_id: int | None, alone: bool
) -> Refusal | None:
    """Why an instance may not be drained now, or None. With `alone`, a leader without a successor may be."""
    instance = fleet.find(instance_id)
    refusal = locked(fleet, rollout_id)
    if refusal or instance is None:
        return refusal or unknown(fleet, instance_id)
    others = fleet.in_service(besides=instance_id)
    if fleet.may_lead(instance) and not (alone and not others):
        return Refusal("leading", f"{instance_id} is the leader: hand the leadership over first, and drain it last.")
    if fleet.leader is None:
        return Refusal(
            "no_leader",
            f"The leader is not known ({'; '.join(doubts(fleet))}): no instance is drained until one leads.",
        )
    if len(others) < min_in_service:
        absences = {one.instance_id: fleet.absence(one) for one in fleet.instances if one.instance_id != instance_id}
        missing = "; ".join(f"{name} {why}" for name, why in absences.items() if why)
        return Refusal(
            "too_few",
            f"Without {instance_id}, {len(others)} would be in service ({', '.join(others) or 'none'}), but "
            f"{min_in_service} are required{f': {missing}' if missing else ''}.",
        )
    return None


def locked(fleet: FleetState, rollout_id: int | None) -> Refusal | None:
    rollout = fleet.held_by
    if rollout is None or rollout.id == rollout_id:
        return None
    scope = Scope(rollout.scope)
    of_scope = "" if scope.is_fleet else f" and scope: {scope.name}"
    return Refusal(
        "locked",
        f"{scope.about} is locked by {rollout.holder} since {timestamp(rollout.started_at)} ({scope.noun} "
        f"{rollout.id}: {rollout.reason}). Wait until it ends; if its controller is dead, the lock expires in "
        f"{seconds(rollout.expires_at, fleet.now):g} s, or break it (rollout_lock with state: broken{of_scope}).",
    )


def no_leader(fleet: FleetState) -> Refusal:
    return Refusal("no_leader", f"There is no leader to take over from: {'; '.join(doubts(fleet))}.")


def unknown(fleet: FleetState, instance_id: str) -> Refusal:
    known = ", ".join(one.instance_id for one in fleet.instances) or "none"
    return Refusal(
        "unknown", f"{instance_id} is not registered in the fleet (registered: {known}). Check that its gateway runs."
    )


@dataclass(frozen=True)
class Refusal:
    """`code` is for playbooks. Those in TEMPORARY may pass by themselves."""

    code: str
    words: str


TEMPORARY = ("no_leader", "too_few", "stale", "unknown")


def successor(
    fleet: FleetState, *, target: str | None, among: Sequence[str] | None, version: str | None
) -> str | Refusal:
    """The next leader: `target`, or the oldest instance that is in service, in `among` and of `version`.

    The present leader, if `among` or `version` is given and it matches: then there is nothing to do.
    """
    leader = fleet.leader
    if leader is None:
        return no_leader(fleet)
    if target is not None:
        instance = fleet.find(target)
        if instance is None:
            return unknown(fleet, target)
        absence = None if target == leader else fleet.absence(instance)
        code = "draining" if fleet.fresh(instance) else "stale"
        return Refusal(code, f"{target} can't lead: it {absence}.") if absence else target
    wanted = [
        one
        for one in fleet.instances
        if (among is None or one.instance_id in among) and (version is None or one.version == version)
    ]
    if (among is not None or version is not None) and leader in [one.instance_id for one in wanted]:
        return leader
    fit = [one.instance_id for one in wanted if not fleet.absence(one) and one.instance_id != leader]
    if fit:
        return fit[0]
    reasons = [f"{one.instance_id} {fleet.absence(one)}" for one in wanted if fleet.absence(one)]
    text = "No instance can take over from " + leader
    text += f" of the candidates ({', '.join(among)})" if among is not None else ""
    text += f" with version {version}" if version is not None else ""
    return Refusal("no_candidate", f"{text}{': ' if reasons else ''}{'; '.join(reasons)}.")
