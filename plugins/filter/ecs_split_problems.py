# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: ecs_split_problems
short_description: Why a sidecar can't be moved to a service of its own yet
version_added: 0.3.0
author: Contributors to evenkeel.fleet (@evenkeel)
description:
  - Takes the variable C(ecs_services) of the role C(ecs), which has to declare the end.
options:
  _input:
    description: The services, as the role declares them.
    type: list
    elements: dict
    required: true
  main:
    description: The name of the main service.
    type: str
    required: true
  container:
    description: The name of the sidecar.
    type: str
    required: true
  worker:
    description: The name of the worker's service.
    type: str
    required: true
  evidence:
    description: The regular expression for the worker's log.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Show what is missing
  ansible.builtin.debug:
    msg: >-
      {{ ecs_services | evenkeel.fleet.ecs_split_problems(main='api', container='worker', worker='audit',
                                                          evidence='stored') }}
"""

RETURN = r"""
_value:
  description: Sentences; empty where all is declared.
  type: list
  elements: str
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any


def ecs_split_problems(
    services: Sequence[Mapping[str, Any]], *, main: str, container: str, worker: str, evidence: str
) -> list[str]:
    given = {
        "ecs_split_from": main,
        "ecs_split_container": container,
        "ecs_split_worker": worker,
        "ecs_split_evidence": evidence,
    }
    found = [f"{name} is not set." for name, value in given.items() if not value]
    by_name = {str(one.get("name", "")): one for one in services}
    for variable, name in (("ecs_split_from", main), ("ecs_split_worker", worker)):
        if name and name not in by_name:
            found.append(f"{variable} is {name}, and ecs_services has {', '.join(by_name) or 'no services'}.")
    if main and main == worker:
        found.append("ecs_split_from and ecs_split_worker name the same service.")
    task: Mapping[str, Any] = by_name.get(main, {}).get("task") or {}
    if container in [one.get("name") for one in task.get("containerDefinitions") or []]:
        found.append(f"The task of {main} in ecs_services still has the container {container}. Remove it there.")
    return found


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"ecs_split_problems": ecs_split_problems}
