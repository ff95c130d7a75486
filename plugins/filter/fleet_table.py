# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: fleet_table
short_description: A table of the hosts of a fleet
version_added: 0.2.0
author: Contributors to evenkeel.fleet (@evenkeel)
description:
  - Takes what the modules of this collection returned for each host, and returns a table with one line per host.
  - A value that is not known is shown as V(-).
options:
  _input:
    description:
      - The hosts by name. Each host is a dictionary with any of C(instance_id), C(seconds), C(container) (an entry of
        C(containers) of M(evenkeel.fleet.host_converge)) and C(leader) (the instance ID of the leader).
    type: dict
    required: true
  columns:
    description: The columns, after the name of the host.
    type: list
    elements: str
    required: true
    choices: [instance, image, version, health, in service, leader, seconds, update]
  instances:
    description: The instances that the database knows, as M(evenkeel.fleet.leader_info) returns them.
    type: list
    elements: dict
    default: []
  events:
    description: The events of a rollout, oldest first. The column C(update) shows the last event of each host.
    type: list
    elements: dict
    default: []
  check_mode:
    description:
      - Nothing waited for a container to be healthy. The column C(health) shows V(running) instead of V(healthy).
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Show the fleet
  ansible.builtin.debug:
    msg: >-
      {{ {'host-1': {'instance_id': 'i-1'}}
         | evenkeel.fleet.fleet_table(columns=['instance', 'version', 'in service'], instances=leader.instances) }}
"""

RETURN = r"""
_value:
  description: The lines.
  type: list
  elements: str
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.evenkeel.fleet.plugins.filter.text_table import text_table

NOT_KNOWN = "-"


def _health(container: Mapping[str, Any], check_mode: bool) -> str:
    status = str(container.get("status") or "failed or unreachable")
    return "healthy" if status == "running" and not check_mode else status


def _leads(host: Mapping[str, Any], about: Mapping[str, Any], instance: Mapping[str, Any]) -> bool:
    own = about.get("instanceId")
    leader = host.get("leader") or (own if about.get("amILeader") else "")
    return bool(instance.get("leads") or (leader and leader == own))


def _cells(
    host: Mapping[str, Any], instance: Mapping[str, Any], event: Mapping[str, Any], check_mode: bool
) -> dict[str, str]:
    container = host.get("container") or {}
    about = container.get("about") or {}
    return {
        "instance": str(host.get("instance_id") or about.get("instanceId") or NOT_KNOWN),
        "image": str(container.get("digest") or NOT_KNOWN)[:19],
        "version": str(instance.get("version") or about.get("version") or NOT_KNOWN),
        "health": _health(container, check_mode),
        "in service": "yes" if instance.get("in_service") else "NO",
        "leader": "leader" if _leads(host, about, instance) else NOT_KNOWN,
        "seconds": f"{float(host.get('seconds') or 0):.1f}",
        "update": str(event.get("kind") or NOT_KNOWN),
    }


def fleet_table(
    hosts: Mapping[str, Mapping[str, Any]],
    columns: Sequence[str],
    instances: Sequence[Mapping[str, Any]] = (),
    events: Sequence[Mapping[str, Any]] = (),
    check_mode: bool = False,
) -> list[str]:
    by_id = {entry["instance_id"]: entry for entry in instances}
    # A handover names the new leader, and says nothing about its update.
    last = {event["host"]: event for event in events if "host" in event and event["kind"] != "handed_over"}
    rows = [["host", *columns]]
    for name, host in hosts.items():
        cells = _cells(host, by_id.get(host.get("instance_id"), {}), last.get(name, {}), check_mode)
        rows.append([name, *(cells[column] for column in columns)])
    return text_table(rows)


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"fleet_table": fleet_table}
