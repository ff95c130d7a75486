# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: blue_green_problems
short_description: Why a fleet can't be switched from one side to the other
version_added: 0.2.0
author: Contributors to evenkeel.fleet (@evenkeel)
description:
  - Takes the sides of a fleet and the settings of a blue/green rollout.
  - Returns a sentence for each setting that is wrong.
options:
  _input:
    description: The hosts of each side, by the name of the side.
    type: dict
    required: true
  hosts:
    description: All hosts of the fleet.
    type: list
    elements: str
    required: true
  selected:
    description: The hosts of the play.
    type: list
    elements: str
    required: true
  balancer:
    description: The load balancer, as O(evenkeel.fleet.rollout#role:main:rollout_lb).
    type: str
    required: true
  groups:
    description: The target group of each side.
    type: dict
    required: true
  scaling_groups:
    description: The Auto Scaling group of each side.
    type: dict
    required: true
  scales_in:
    description: The hook C(scale_in.yml) runs after the rollout.
    type: bool
    required: true
  into:
    description: The side that gets the image; empty for the one without requests.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Check the sides
  ansible.builtin.fail:
    msg: "{{ rollout_sides | evenkeel.fleet.blue_green_problems(hosts=rollout_hosts, selected=ansible_play_hosts_all,
                                                                balancer='haproxy', groups={}, scaling_groups={},
                                                                scales_in=false, into='green') }}"
"""

RETURN = r"""
_value:
  description: The sentences; empty if nothing is wrong.
  type: list
  elements: str
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any


def blue_green_problems(
    sides: Mapping[str, Sequence[str]],
    *,
    hosts: Sequence[str],
    selected: Sequence[str],
    balancer: str,
    groups: Mapping[str, str],
    scaling_groups: Mapping[str, str],
    scales_in: bool,
    into: str,
) -> list[str]:
    listed = {side: list(members) for side, members in sides.items()}
    members = [host for side in listed.values() for host in side]
    problems = {
        f"rollout_sides has {len(sides)} sides; it must have two.": len(sides) != 2,
        f"A side has no host ({listed}): put the hosts into the groups blue and green, or set rollout_sides.": not all(
            listed.values()
        ),
        f"Each host of rollout_hosts must be in exactly one side: {listed}.": sorted(members) != sorted(hosts),
        "All requests are switched at once: run it without --limit.": not set(hosts) <= set(selected),
        "Set rollout_lb: without a load balancer, requests can't be switched.": balancer == "none",
        "rollout_side_groups must name the target group of each side.": balancer == "target_group"
        and not set(sides) <= set(groups),
        "rollout_side_scaling_groups must name the Auto Scaling group of each side.": scales_in
        and not set(sides) <= set(scaling_groups),
        f"rollout_into is {into}; the sides are {' and '.join(sides)}.": bool(into) and into not in sides,
    }
    return [problem for problem, wrong in problems.items() if wrong]


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"blue_green_problems": blue_green_problems}
