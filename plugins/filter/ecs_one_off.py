# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: ecs_one_off
short_description: The parameters of a one-off task of a declared service on Amazon ECS
version_added: 0.3.0
author: Contributors to evenkeel.fleet (@evenkeel)
description:
  - Returns O(evenkeel.fleet.ecs_run#module:definition) for a command in a container of the service, in its network.
options:
  _input:
    description: The service, as P(evenkeel.fleet.ecs_declarations#filter) returns it.
    type: dict
    required: true
  command:
    description: The command, as a list.
    type: list
    elements: str
    required: true
  container:
    description: The container; empty for the first essential one.
    type: str
    default: ""
positional: command, container
"""

EXAMPLES = r"""
- name: Show the parameters
  ansible.builtin.debug:
    msg: "{{ ecs_services | evenkeel.fleet.ecs_declarations | first | evenkeel.fleet.ecs_one_off(['app', 'check']) }}"
"""

RETURN = r"""
_value:
  description: Parameters of RunTask.
  type: dict
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError


def ecs_one_off(service: Mapping[str, Any], command: Sequence[str], container: str = "") -> dict[str, Any]:
    from ansible_collections.evenkeel.fleet.plugins.module_utils._common.progress import OperationError
    from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.declarations import one_off

    try:
        return one_off(service, command, container)
    except OperationError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"ecs_one_off": ecs_one_off}
