# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: ecs_clients
short_description: The services on Amazon ECS that have the URLs of others in their environment
version_added: 0.3.0
author: Contributors to evenkeel.fleet (@evenkeel)
description:
  - Takes the variable C(ecs_services) of the role C(ecs), and returns those with upstreams, as the option C(clients) of
    M(evenkeel.fleet.ecs_internal_info).
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
- name: Show the services that have the URLs of others
  ansible.builtin.debug:
    msg: "{{ ecs_services | evenkeel.fleet.ecs_clients | map(attribute='service') }}"
"""

RETURN = r"""
_value:
  description: By service, C(service), C(container) and C(variables).
  type: list
  elements: dict
"""

from collections.abc import Callable, Sequence
from typing import Any


def ecs_clients(services: Sequence[Any], *, prefix: str = "") -> list[dict[str, Any]]:
    from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.shorthand import clients

    return clients(services, prefix)


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"ecs_clients": ecs_clients}
