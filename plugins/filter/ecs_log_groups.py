# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: ecs_log_groups
short_description: The log groups that containers of declared services name
version_added: 0.3.0
author: Contributors to evenkeel.fleet (@evenkeel)
description:
  - Takes services as C(ecs_services) of the role C(ecs), and returns the log groups of the region, each once.
options:
  _input:
    description: The services.
    type: list
    elements: dict
    required: true
  region:
    description: The region. Log groups of other regions are left out.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Create the log groups
  evenkeel.fleet.log_group:
    name: "{{ item.name }}"
    retention: "{{ item.retention | default(omit) }}"
  loop: "{{ ecs_services | evenkeel.fleet.ecs_log_groups('eu-central-1') }}"
"""

RETURN = r"""
_value:
  description: The log groups with C(name) and, where it is declared, C(retention).
  type: list
  elements: dict
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any


def ecs_log_groups(services: Sequence[Mapping[str, Any]], region: str) -> list[dict[str, str]]:
    from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.declaration_problems import log_groups

    return log_groups(services, region)


class FilterModule:
    def filters(self) -> dict[str, Callable[..., list[dict[str, str]]]]:
        return {"ecs_log_groups": ecs_log_groups}
