# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: fleet_status
short_description: The state of a fleet as data and as text
version_added: 0.2.0
author: Contributors to evenkeel.fleet (@evenkeel)
description:
  - Combines what the hosts, the database and the journal report about a fleet. Any of them may have failed to answer.
options:
  _input:
    description: The result of M(evenkeel.fleet.container_info) by host, for the hosts that were queried.
    type: dict
    required: true
  hosts:
    description: The instance id of each host of the fleet.
    type: dict
    required: true
  leader:
    description: The result of M(evenkeel.fleet.leader_info).
    type: dict
    required: true
  journal:
    description: The result of M(evenkeel.fleet.rollout_info).
    type: dict
    required: true
  balancer:
    description:
      - The result of M(evenkeel.fleet.target_info) by host, where there is a load balancer.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Show the fleet
  ansible.builtin.debug:
    msg: "{{ (looks | evenkeel.fleet.fleet_status(hosts=instance_ids, leader=leader, journal=journal)).lines }}"
"""

RETURN = r"""
_value:
  description: The fleet.
  type: dict
  contains:
    status:
      description:
        - C(schema), the version of this structure, which grows when it changes; C(problems), sentences;
          C(database_answers); C(leader), a host's name, and C(term).
        - C(hosts), each with C(name), C(instance_id), C(reachable), C(container) (its state), C(image), C(digest),
          C(previous_digest), C(started_at), C(version), C(healthy) (by its own health endpoint), C(published)
          (whether it is reachable from outside, as M(evenkeel.fleet.container_info) returns it), C(balancer) (its
          targets in the load balancer with their state), C(in_service), C(out) (who took it out of service),
          C(leads) and C(heartbeat_age) in seconds. Unknown values are null.
        - C(lock) and C(rollouts) as of M(evenkeel.fleet.rollout_info), each rollout with C(failures) (C(host), C(step),
          C(detail)) instead of its steps.
      type: dict
    lines:
      description: The same as text, the table of hosts first.
      type: list
      elements: str
"""

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.evenkeel.fleet.plugins.filter.text_table import text_table


def fleet_status(
    looks: Mapping[str, Any],
    *,
    hosts: Mapping[str, str],
    leader: Mapping[str, Any],
    journal: Mapping[str, Any],
    balancer: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    from ansible_collections.evenkeel.fleet.plugins.module_utils._rollout.status import rows, status_of, words

    status = status_of(hosts, looks, leader, journal, balancer)
    return {"status": status, "lines": [*text_table(rows(status)), *words(status)]}


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"fleet_status": fleet_status}
