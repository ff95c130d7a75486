# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: hosts_of
short_description: The hosts of a play, which fails where there are none
version_added: 0.2.0
author: Contributors to evenkeel.fleet (@evenkeel)
description:
  - Ansible skips a play whose C(hosts) match nothing, and ends with success. With this lookup as its C(hosts), the play
    fails and says which group has no host, or which C(--limit) leaves none of it.
  - For the implicit localhost it fails where C(--limit) leaves it out.
options:
  _terms:
    description: The group, or C(localhost).
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Bring the hosts to the wanted state
  hosts: "{{ lookup('evenkeel.fleet.hosts_of', 'gateways') }}"
  roles:
    - evenkeel.fleet.gateway
"""

RETURN = r"""
_raw:
  description: The groups.
  type: list
  elements: str
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ansible import context
from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase

# Nothing is run, and often without an inventory.
ONLY_LOOKS = ("syntax", "listhosts", "listtasks", "listtags")
SHOWN = 10


class LookupModule(LookupBase):  # type: ignore[misc]  # ansible-core ships no types
    def run(self, terms: Sequence[str], variables: Mapping[str, Any] | None = None, **_options: Any) -> list[str]:
        known = variables or {}
        if not any(context.CLIARGS.get(option) for option in ONLY_LOOKS):
            for group in terms:
                problem = missing(
                    group,
                    groups=known.get("groups", {}),
                    # In the pattern of a play's hosts, these are all hosts that --limit leaves.
                    left=known.get("ansible_play_hosts_all", []),
                    limit=str(known.get("ansible_limit") or ""),
                    inventories=known.get("ansible_inventory_sources") or [],
                )
                if problem:
                    raise AnsibleError(problem)
        return list(terms)


def missing(
    group: str, *, groups: Mapping[str, Sequence[str]], left: Sequence[str], limit: str, inventories: Sequence[str]
) -> str:
    """Why a play on this group would have no host; empty where it has one."""
    if group == "localhost":
        if not limit or group in [*left, *limit.split(",")]:
            return ""
        return f"--limit {limit} leaves out localhost, on which this playbook works. Run it without --limit."
    members = groups.get(group, [])
    if not members:
        return (
            f"No host is in the group {group}. {_inventory(groups, inventories)} "
            f"Name the inventory of the fleet with -i, and put its hosts into the group {group}."
        )
    if not set(members) & set(left):
        return (
            f"--limit {limit} leaves no host of the group {group}, which has {_some(members)}. "
            "Name one of them, or run it without --limit."
        )
    return ""


def _inventory(groups: Mapping[str, Sequence[str]], inventories: Sequence[str]) -> str:
    name = f"The inventory {', '.join(map(str, inventories))}" if inventories else "The inventory"
    sizes = [f"{group} ({len(hosts)})" for group, hosts in groups.items() if group != "all" and hosts]
    return f"{name} has hosts in these groups: {_some(sizes)}." if sizes else f"{name} has no hosts."


def _some(names: Sequence[str]) -> str:
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")
