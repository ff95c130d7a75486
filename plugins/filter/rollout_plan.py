# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: rollout_plan
short_description: The order and the batches of a rollout, or why it must not begin
version_added: 0.2.0
author: Contributors to evenkeel.fleet (@evenkeel)
description:
  - Takes what is known of each host of the fleet, and returns the batches in which a rollout of a digest would update
    it, with the leader last and alone.
  - Hosts that run the digest are skipped. A host that was left draining by a rollout that broke off comes first.
options:
  _input:
    description:
      - The whole fleet, a dictionary for each host, with C(name), C(digest) (what it runs, or null), C(healthy),
        C(draining) and C(leads).
    type: list
    elements: dict
    required: true
  wanted:
    description: The digest that every host is to run.
    type: str
    required: true
  selected:
    description: Names of the hosts to update; all without it. The rules are about the whole fleet all the same.
    type: list
    elements: str
  batches:
    description: Sizes of the batches, each a number or a percentage of the fleet; the last one is repeated.
    type: list
    elements: raw
    default: [1, 10%, 25%]
  max_unavailable:
    description: So many hosts may be out of service at once, a number or a percentage (rounded down, at least one).
    type: raw
    default: 25%
  min_in_service:
    description: So many hosts stay in service, a number or a percentage (rounded up).
    type: raw
    default: 1
  on_failure:
    description: V(rollback_host), V(rollback_all) or V(stop).
    type: str
    default: rollback_host
  elects:
    description: Whether the fleet elects a leader.
    type: bool
    default: true
  allow_unhealthy:
    description: Whether it may begin where hosts are unhealthy. They are updated first.
    type: bool
    default: false
  events:
    description:
      - What has happened since the rollout began, in this order, each a dictionary with C(kind), and C(host), C(serves)
        and C(words) where it has them. RV(_value.next) is then what comes next.
      - The kinds are V(done), V(failed), V(unreachable), V(put_off) and V(refused) for a host to be updated;
        V(handed_over) and V(handover_failed); V(put_back) and V(not_put_back); and at any time V(leader),
        V(out_of_service) and V(lock_lost).
    type: list
    elements: dict
    default: []
"""

EXAMPLES = r"""
- name: Plan the rollout
  ansible.builtin.set_fact:
    plan: "{{ fleet_hosts | evenkeel.fleet.rollout_plan(wanted=digest, batches=[1, '25%'], min_in_service=2) }}"
  vars:
    fleet_hosts:
      - {name: gateway-a, digest: "sha256:old", healthy: true, draining: false, leads: true}
      - {name: gateway-b, digest: "sha256:old", healthy: true, draining: false, leads: false}

- name: Stop where it must not begin
  ansible.builtin.assert:
    that: not plan.refusals
    fail_msg: "{{ plan.refusals | join(' ') }}"
"""

RETURN = r"""
_value:
  description: The plan.
  type: dict
  contains:
    refusals:
      description: Why the rollout must not begin, a sentence or two each. Where there are any, all else is empty.
      type: list
      elements: str
    batches:
      description: Names of hosts, batch by batch.
      type: list
      elements: list
    skipped:
      description: Selected hosts that run the digest.
      type: list
      elements: str
    hand_over:
      description: Who hands leadership over to one of whom (C(from), C(candidates)), before the last batch; or empty.
      type: dict
    next:
      description:
        - What to do next after O(events). C(kind) is V(update), V(hand_over), V(put_back), V(wait) or V(end);
          C(hosts) and C(candidates) are names; C(result) and C(words) tell of the end.
      type: dict
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.evenkeel.fleet.plugins.module_utils._rollout.plan import (
    Event,
    Host,
    Knobs,
    RefusedError,
    begin,
    replay,
    sunny_day,
)


def rollout_plan(
    fleet: Sequence[Mapping[str, Any]],
    wanted: str,
    selected: Sequence[str] | None = None,
    events: Sequence[Mapping[str, Any]] = (),
    **knobs: Any,
) -> dict[str, Any]:
    nothing: dict[str, Any] = {"batches": [], "skipped": [], "hand_over": {}, "next": {}}
    try:
        wishes = Knobs(**{**knobs, **({"batches": tuple(knobs["batches"])} if "batches" in knobs else {})})
        rollout = begin([Host(**host) for host in fleet], wanted, wishes, selected)
        after_events = replay(rollout, [Event(**event) for event in events])
    except RefusedError as refused:
        return {**nothing, "refusals": list(refused.reasons)}
    except (TypeError, ValueError) as error:
        raise AnsibleFilterError(f"rollout_plan: {error}") from error
    steps = sunny_day(rollout)
    handovers = [step for step in steps if step.kind == "hand_over"]
    return {
        "refusals": [],
        "batches": [list(step.hosts) for step in steps if step.kind == "update"],
        "skipped": list(rollout.skipped),
        "hand_over": {"from": handovers[0].hosts[0], "candidates": list(handovers[0].candidates)} if handovers else {},
        "next": {
            name: list(value) if isinstance(value, tuple) else value for name, value in asdict(after_events).items()
        },
    }


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"rollout_plan": rollout_plan}
