# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: ecs_balanced
short_description: The services on Amazon ECS that stand behind the internal load balancer
version_added: 0.3.0
author: Contributors to evenkeel.fleet (@evenkeel)
description:
  - Takes the variable C(ecs_services) of the role C(ecs), and returns those with a port.
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
"""

EXAMPLES = r"""
- name: Show the target groups
  ansible.builtin.debug:
    msg: "{{ ecs_services | evenkeel.fleet.ecs_balanced | map(attribute='group') }}"
"""

RETURN = r"""
_value:
  description:
    - By service, its C(name), the C(group), which is the name of its target group, the C(port) of its containers, the
      C(listener), which is the port of the load balancer, and C(health), its health check.
  type: list
  elements: dict
"""

from collections.abc import Callable, Sequence
from typing import Any


def ecs_balanced(services: Sequence[Any], *, prefix: str = "") -> list[dict[str, Any]]:
    from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.shorthand import balanced_services

    return balanced_services(services, prefix)


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"ecs_balanced": ecs_balanced}
