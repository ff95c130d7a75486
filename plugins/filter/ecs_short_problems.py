# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: ecs_short_problems
short_description: What is wrong with services on Amazon ECS that are declared in short
version_added: 0.3.0
author: Contributors to evenkeel.fleet (@evenkeel)
description:
  - Takes the variable C(ecs_services) of the role C(ecs). AWS is not asked.
options:
  _input:
    description: The services, as the role declares them.
    type: list
    elements: dict
    required: true
  prefix:
    description: What the names of all services begin with.
    type: str
    default: ""
  internal:
    description: The variable C(ecs_internal) of the role.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Show what is wrong
  ansible.builtin.debug:
    msg: "{{ ecs_services | evenkeel.fleet.ecs_short_problems(internal=ecs_internal) }}"
"""

RETURN = r"""
_value:
  description: Sentences; empty where nothing is wrong.
  type: list
  elements: str
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any


def ecs_short_problems(
    services: Sequence[Any], *, prefix: str = "", internal: Mapping[str, Any] | None = None
) -> list[str]:
    from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.shorthand import problems_in_short

    return problems_in_short(services, prefix, internal or {})


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"ecs_short_problems": ecs_short_problems}
