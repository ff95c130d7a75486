# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fleet in the plan's types, from hosts, database and journal; and the next step, for a playbook."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .plan import Event, FleetHost, Rollout, Step, Wanted, planned_steps, replay
from .policy import Policy, at_least, at_most
from .preconditions import RolloutRefusedError, begin

# Ansible nests each step in the previous one, up to about 240. Hooks and putting back need some of these.
MOST_STEPS = 110


def fleet_of(
    hosts: Mapping[str, str],
    looks: Mapping[str, Mapping[str, Any]],
    instances: Iterable[Mapping[str, Any]],
    interrupted: Iterable[Mapping[str, Any]] = (),
    *,
    before: Mapping[str, Mapping[str, Any]] | None = None,
    settings_count: bool = True,
) -> list[FleetHost]:
    """Every host of the inventory.

    hosts: instance id by name. looks: the result of container_swap (state pulled) of the queried hosts; what
    the others run is not known. instances: as leader_info returns them. interrupted: as rollout_lock does.
    With settings_count, a gateway with other settings than the declared ones is another one, whatever its image.
    """
    known = {str(instance["instance_id"]): instance for instance in instances}
    left_out = {str(entry["instance_id"]): entry for entry in interrupted}
    found = []
    for name, identity in hosts.items():
        instance = known.get(identity, {})
        look = looks.get(name) or {}
        serving = look.get("serving") or {}
        draining = bool(instance.get("draining_since")) or identity in left_out
        runs = name not in looks or bool(serving)
        found.append(
            FleetHost(
                name=name,
                digest=None if settings_count and look.get("as_declared") is False else serving.get("digest"),
                healthy=runs and bool(instance.get("fresh")),
                draining=draining,
                leads=bool(instance.get("leads")),
                before=((before or {}).get(name) or {}).get("before"),
                kept_out=_kept_out(instance.get("draining_since"), left_out.get(identity)),
            )
        )
    return found


def digests_before(
    undone: Mapping[str, Any], looks: Mapping[str, Mapping[str, Any]], selected: Iterable[str]
) -> dict[str, str]:
    """The digest that each host is to run when a rollout is taken back; without hosts whose digest is not known.

    undone: the rollout as rollout_info returns it. A host that does not run its image any more, or did not get it,
    stays as it is. One that runs nothing gets what it ran before.
    """
    found = {}
    for name in selected:
        runs = ((looks.get(name) or {}).get("serving") or {}).get("digest")
        before = (undone["hosts"].get(name) or {}).get("before") or (undone.get("inherited") or {}).get(name)
        digest = before if runs in (None, undone["digest"]) else runs
        if digest:
            found[name] = str(digest)
    return found


def _kept_out(marked_since: str | None, out: Mapping[str, Any] | None) -> str:
    """The holder and the reason, or "" for a host that an interrupted rollout left out of service."""
    if out is None:
        return f"by a mark in ec2_launch, since {marked_since}" if marked_since else ""
    return f"by {out['by']} since {out['since']}: {out['reason']}" if out.get("reason") is not None else ""


def next_step(
    fleet: Sequence[FleetHost],
    wanted: Wanted,
    policy: Mapping[str, Any],
    selected: Iterable[str],
    events: Iterable[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """The next step, as kind, hosts, candidates, result and words, and the number of hosts updated so far.

    kind is refused if the rollout must not begin.
    """
    try:
        rollout = begin(fleet, wanted, policy_of(policy), selected)
    except RolloutRefusedError as error:
        return {**_shown(Step("refused", result="failed", words=error.reasons)), "updated": 0}
    steps = len(planned_steps(rollout))
    if steps > MOST_STEPS:
        words = (
            f"The plan has {steps} steps, and Ansible can't nest more than {MOST_STEPS}. Increase rollout_batches, or "
            "update a part of the fleet with --limit.",
        )
        return {**_shown(Step("refused", result="failed", words=words)), "updated": 0}
    heard = [Event(**event) for event in events]
    return {**_shown(replay(rollout, heard)), "updated": sum(event.kind == "done" for event in heard)}


def policy_of(values: Mapping[str, Any]) -> Policy:
    return Policy(**{**values, "batches": tuple(values["batches"])} if "batches" in values else values)


def in_service_at_least(fleet: Sequence[FleetHost], policy: Mapping[str, Any]) -> int:
    """As a number of hosts. An invalid value, which is refused elsewhere, means all of them."""
    try:
        return at_least(policy_of(policy).min_in_service, len(fleet))
    except ValueError:
        return len(fleet)


def checkpoint(shares: Iterable[int | str], fleet: int, before: int, now: int) -> bool:
    """Whether a rollout that had updated `before` hosts, and has updated `now`, has reached a checkpoint."""
    return any(before < at_most(share, fleet) <= now for share in shares)


def plan_lines(
    fleet: Sequence[FleetHost], wanted: Wanted, policy: Mapping[str, Any], selected: Iterable[str]
) -> list[str]:
    """The plan as text, a line for each step; or the reasons why it must not begin."""
    try:
        rollout = begin(fleet, wanted, policy_of(policy), selected)
    except RolloutRefusedError as error:
        return list(error.reasons)
    lines = [_line(step, rollout) for step in planned_steps(rollout)]
    if rollout.skipped:
        what = f"already on {wanted[:19]}" if isinstance(wanted, str) else "stay as they are"
        lines.insert(0, f"{what}: {', '.join(rollout.skipped)}")
    return lines


def planned_batches(
    fleet: Sequence[FleetHost], wanted: Wanted, policy: Mapping[str, Any], selected: Iterable[str]
) -> list[list[str]]:
    """The hosts of each batch, if nothing fails; empty if the rollout must not begin."""
    try:
        rollout = begin(fleet, wanted, policy_of(policy), selected)
    except RolloutRefusedError:
        return []
    return [list(step.hosts) for step in planned_steps(rollout) if step.kind == "update"]


def _line(step: Step, rollout: Rollout) -> str:
    names = ", ".join(step.hosts)
    if step.kind == "hand_over":
        return f"hand leadership over from {names}"
    if step.kind == "judge":
        canaries = ", ".join(host for host in step.hosts if host not in step.candidates)
        return f"compare {canaries} with {', '.join(step.candidates)}"
    if step.kind == "end":
        return f"end: {' '.join(step.words)}" if step.result == "failed" else "verify, and release the lock"
    last = " (the leader, last)" if step.hosts == (rollout.leader,) else ""
    return f"update {names}{last}"


def _shown(step: Step) -> dict[str, Any]:
    return {
        "kind": step.kind,
        "hosts": list(step.hosts),
        "candidates": list(step.candidates),
        "result": step.result,
        "words": list(step.words),
    }
