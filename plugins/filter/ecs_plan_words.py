# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: ecs_plan_words
short_description: What a deployment on Amazon ECS would change, or why it is refused, in words
version_added: 0.3.0
author: Contributors to evenkeel.fleet (@evenkeel)
description:
  - Takes C(services) as M(evenkeel.fleet.ecs_services_info) returns it.
options:
  _input:
    description: The services by name.
    type: dict
    required: true
  refusals:
    description: Return why the deployment can't succeed, instead of the plan.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Show the plan
  ansible.builtin.debug:
    msg: "{{ found.services | evenkeel.fleet.ecs_plan_words }}"
"""

RETURN = r"""
_value:
  description: The lines; without refusals, an empty list.
  type: list
  elements: str
"""

from collections.abc import Callable, Mapping
from typing import Any


def ecs_plan_words(services: Mapping[str, Mapping[str, Any]], refusals: bool = False) -> list[str]:
    if refusals:
        return [f"{name}: {words}" for name, one in services.items() for words in (*one["problems"], *one["findings"])]
    lines = []
    for name, one in services.items():
        steps = one["steps"] if one["changed"] else ["is as declared"]
        lines += [f"{name}: {step}" for step in steps]
        lines += [f"{name}: warning: {words}" for words in one["warnings"]]
    return lines


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"ecs_plan_words": ecs_plan_words}
