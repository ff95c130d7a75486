# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: ecs_status
short_description: The state of services on Amazon ECS as data and as text
version_added: 0.3.0
author: Contributors to evenkeel.fleet (@evenkeel)
description:
  - Takes C(services) as M(evenkeel.fleet.ecs_services_info) returns it with C(state) V(true).
options:
  _input:
    description: The services by name.
    type: dict
    required: true
  cluster:
    description: The cluster, for the commands that are shown.
    type: str
    required: true
  region:
    description: The region, for the commands that are shown.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Show the services
  ansible.builtin.debug:
    msg: "{{ (found.services | evenkeel.fleet.ecs_status(cluster='production')).lines }}"
"""

RETURN = r"""
_value:
  description: The services.
  type: dict
  contains:
    status:
      description:
        - C(schema), the version of this structure, which grows when it changes; C(cluster); C(problems), sentences.
        - C(services), each with C(name), C(exists), C(revision), C(desired), C(running), C(pending), C(deployment)
          (C(status), C(reason), C(created_at)), C(last_good), C(way_back) (where a rollback goes), C(drift) (what a
          deployment would change), C(tasks), C(stopped) (failed in the last hour), C(exec) (commands that open a
          shell), C(events) and C(problems).
      type: dict
    lines:
      description: The same as text, the table of services first.
      type: list
      elements: str
"""

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.evenkeel.fleet.plugins.filter.text_table import text_table


def ecs_status(services: Mapping[str, Any], *, cluster: str, region: str = "") -> dict[str, Any]:
    from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.status import rows, status_of, words

    status = status_of(services, cluster, region)
    return {"status": status, "lines": [*text_table(rows(status)), *words(status)]}


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"ecs_status": ecs_status}
