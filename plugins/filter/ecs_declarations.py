# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: ecs_declarations
short_description: Declared services on Amazon ECS with all their defaults
version_added: 0.3.0
author: Contributors to evenkeel.fleet (@evenkeel)
description:
  - Takes the variable C(ecs_services) of the role C(ecs), and returns the services that are chosen, with all keys.
  - Fails for a name that is not declared, that is missing or that is there twice.
options:
  _input:
    description: The services, as the role declares them.
    type: list
    elements: dict
    required: true
  chosen:
    description: The names of the services to return; empty for all.
    type: list
    elements: str
    default: []
  prefix:
    description: What the names of all services begin with. Names can be chosen with and without it.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Show the names of the services
  ansible.builtin.debug:
    msg: "{{ ecs_services | evenkeel.fleet.ecs_declarations | map(attribute='name') }}"
"""

RETURN = r"""
_value:
  description:
    - The services. C(scaling), C(migration), C(build), C(probe) and C(logs) are null where they are not declared.
    - C(logs) has the C(groups) that the containers log to.
  type: list
  elements: dict
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError


def ecs_declarations(
    services: Sequence[Mapping[str, Any]], chosen: Sequence[str] = (), prefix: str = ""
) -> list[dict[str, Any]]:
    from ansible_collections.evenkeel.fleet.plugins.module_utils._common.progress import OperationError
    from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.declarations import declarations

    try:
        return declarations(services, chosen, prefix)
    except OperationError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"ecs_declarations": ecs_declarations}
