# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: rollout_step
short_description: Get the next step of a rollout
version_added: 0.2.0
author: Contributors to evenkeel.fleet (@evenkeel)
description:
  - Takes the state of the fleet from its hosts, the database and the journal, and the events since the rollout began,
    and returns the next step. The role C(rollout) calls it after each batch.
options:
  _input:
    description: The events since the rollout began, as dictionaries with C(kind), C(host), C(serves) and C(words).
    type: list
    elements: dict
    required: true
  fleet:
    description:
      - C(hosts) (instance id by name, of the whole fleet), C(looks) (by host, the result of
        M(evenkeel.fleet.container_swap) with C(state=pulled)), C(instances) (of M(evenkeel.fleet.leader_info)),
        C(interrupted) (of M(evenkeel.fleet.rollout_lock)) and C(before) (by host, this rollout's C(hosts) of
        M(evenkeel.fleet.rollout_info)).
    type: dict
    required: true
  wanted:
    description: The digest of the wanted image.
    type: str
    required: true
  policy:
    description: C(batches), C(max_unavailable), C(min_in_service), C(on_failure), C(elects), C(allow_unhealthy).
    type: dict
    required: true
  selected:
    description: The hosts that are to be updated.
    type: list
    elements: str
    required: true
  undone:
    description:
      - A rollout of M(evenkeel.fleet.rollout_info) that is rolled back. Hosts that run its image get their previous
        one instead of O(wanted). The others stay as they are.
    type: dict
    default: {}
  checkpoints:
    description: Numbers of updated hosts, or percentages of the fleet, after which to pause.
    type: list
    elements: str
    default: []
  updated:
    description: The number of hosts that were updated before the last step.
    type: int
    default: 0
"""

EXAMPLES = r"""
- name: Show what comes next
  ansible.builtin.debug:
    msg: >-
      {{ events | evenkeel.fleet.rollout_step(fleet=fleet, wanted=digest, policy={}, selected=ansible_play_hosts) }}
"""

RETURN = r"""
_value:
  description:
    - C(kind) (C(update), C(hand_over), C(put_back), C(end) or C(refused)), C(hosts), C(candidates), C(result),
      C(words), C(plan), the whole plan in words, C(batches), its hosts batch by batch, C(digests), the one that each
      selected host is to run, C(min_in_service) as a number of hosts, C(updated), how many hosts are updated, and
      C(checkpoint), whether the last step has come to one.
  type: dict
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any


def rollout_step(
    events: Sequence[Mapping[str, Any]],
    *,
    fleet: Mapping[str, Any],
    wanted: str,
    policy: Mapping[str, Any],
    selected: Sequence[str],
    undone: Mapping[str, Any] | None = None,
    checkpoints: Sequence[int | str] = (),
    updated: int = 0,
) -> dict[str, Any]:
    from ansible_collections.evenkeel.fleet.plugins.module_utils._rollout.playbook import (
        checkpoint,
        digests_before,
        fleet_of,
        in_service_at_least,
        next_step,
        plan_lines,
        planned_batches,
    )

    known = (fleet["hosts"], fleet["looks"], fleet["instances"], fleet.get("interrupted") or ())
    hosts = fleet_of(*known, before=fleet.get("before"), settings_count=not undone)
    digests = digests_before(undone, fleet["looks"], selected) if undone else dict.fromkeys(selected, wanted)
    goal = digests if undone else wanted
    step = next_step(hosts, goal, policy, selected, events)
    return {
        **step,
        "checkpoint": checkpoint(checkpoints, len(hosts), updated, step["updated"]),
        "plan": plan_lines(hosts, goal, policy, selected),
        "batches": planned_batches(hosts, goal, policy, selected),
        "digests": digests,
        "min_in_service": in_service_at_least(hosts, policy),
    }


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"rollout_step": rollout_step}
