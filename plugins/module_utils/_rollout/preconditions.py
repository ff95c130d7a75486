# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a rollout may begin: requirements of the fleet, the selection and the policy."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from .plan import FleetHost, Rollout, Wanted, planned_steps
from .policy import Policy, at_most, is_set, policy_problems


class RolloutRefusedError(Exception):
    """The rollout must not begin. reasons has each problem with its remedy."""

    def __init__(self, reasons: Sequence[str]) -> None:
        super().__init__(" ".join(reasons))
        self.reasons = tuple(reasons)


def begin(
    fleet: Sequence[FleetHost], wanted: Wanted, policy: Policy | None = None, selected: Iterable[str] | None = None
) -> Rollout:
    """The rollout of this digest, or of these; RolloutRefusedError where it must not begin.

    fleet has every host, also where only the selected ones are to be updated: the rules are about all of them.
    Of digests by host, each selected one needs its own; any other without one counts as not updated.
    """
    wishes = policy or Policy()
    chosen = {host.name for host in fleet} if selected is None else set(selected)
    reasons = [*policy_problems(wishes, len(fleet)), *_fleet_problems(fleet, chosen, wishes)]
    digests = dict.fromkeys((host.name for host in fleet), wanted) if isinstance(wanted, str) else wanted
    unknown = [host.name for host in fleet if host.name in chosen and host.name not in digests]
    if unknown:
        reasons.append(
            f"The journal has no earlier image of: {', '.join(unknown)}. Leave them out with --limit, or "
            "roll an image out to them."
        )
    if reasons:
        raise RolloutRefusedError(reasons)
    leaders = [host.name for host in fleet if host.leads]
    settled = {host.name: host.digest == digests.get(host.name, "") and not host.draining for host in fleet}
    rollout = Rollout(
        policy=wishes,
        hosts=tuple(host.name for host in fleet),
        pending=tuple(host.name for host in fleet if host.name in chosen and not settled[host.name]),
        skipped=tuple(host.name for host in fleet if host.name in chosen and settled[host.name]),
        serving=frozenset(host.name for host in fleet if host.serves),
        updated=frozenset(name for name, is_settled in settled.items() if is_settled),
        leader=leaders[0] if leaders else "",
        inherited=tuple(
            host.name
            for host in fleet
            if host.name in chosen and settled[host.name] and host.before not in (None, host.digest)
        ),
        left_out=tuple(host.name for host in fleet if host.name in chosen and host.draining and host.before),
    )
    reasons = _capacity_problems(rollout, fleet)
    if reasons:
        raise RolloutRefusedError(reasons)
    return rollout


def _fleet_problems(fleet: Sequence[FleetHost], chosen: set[str], policy: Policy) -> list[str]:
    names = [host.name for host in fleet]
    leaders = [host.name for host in fleet if host.leads]
    reasons = []
    if not names:
        reasons.append("The fleet has no host.")
    if len(set(names)) < len(names):
        reasons.append(f"A host is listed twice: {', '.join(sorted({n for n in names if names.count(n) > 1}))}.")
    if chosen - set(names):
        reasons.append(f"Not in the fleet: {', '.join(sorted(chosen - set(names)))}.")
    reasons += [
        f"{host.name} is kept out of service {host.kept_out.rstrip('.')}. Admit it, or leave it out: "
        f"--limit 'gateways:!{host.name}'."
        for host in fleet
        if host.kept_out and host.name in chosen
    ]
    if len(leaders) > 1:
        reasons.append(f"{' and '.join(leaders)} say that they lead: no host is drained until only one does.")
    if policy.elects and names and not leaders:
        reasons.append("No gateway leads: wait for the election, or check the database. Nothing is drained until then.")
    return reasons


def _capacity_problems(rollout: Rollout, fleet: Sequence[FleetHost]) -> list[str]:
    if not rollout.pending:
        return []
    policy, leader = rollout.policy, rollout.leader
    unhealthy = [host.name for host in fleet if not host.healthy and not host.draining]
    if unhealthy and not policy.allow_unhealthy:
        return [
            f"Unhealthy before the start: {', '.join(unhealthy)}. Repair them, remove them from the inventory, or "
            "set rollout_allow_unhealthy, which counts them as out of service and updates them first."
        ]
    # Hosts that are out of service are updated first, and are in service when the others are updated.
    later = replace(rollout, serving=rollout.serving | set(rollout.followers()))
    if rollout.serving & set(rollout.pending) and later.room() < 1:
        return [f"{rollout.no_room()} Lower rollout_min_in_service, raise rollout_max_unavailable, or add hosts."]
    if is_set(policy.canary) and at_most(policy.canary, len(rollout.hosts)) >= len(rollout.hosts):
        return [
            f"A canary of {policy.canary} is the whole fleet of {len(rollout.hosts)}, and no host is left to compare "
            "it with. Lower rollout_canary, or roll out without one."
        ]
    if leader in rollout.pending and len(rollout.hosts) > 1:
        others = (rollout.updated & rollout.serving) | set(rollout.pending)
        if not others - {leader}:
            return [f"{leader} leads, and no updated host can take over: update another host as well."]
    end = planned_steps(rollout)[-1]
    return list(end.words) if is_set(policy.canary) and end.result == "failed" else []
