# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: preflight_report
short_description: The preflight problems of many hosts as text
version_added: 0.1.0
author: Contributors to evenkeel.fleet (@evenkeel)
description:
  - Takes the problems of each host and returns a text that lists each problem once, with the hosts that have it.
options:
  _input:
    description: Problems by host.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Show the problems
  ansible.builtin.debug:
    msg: "{{ {'host-1': ['Port 80 is taken.']} | evenkeel.fleet.preflight_report }}"
"""

RETURN = r"""
_value:
  description: The text; empty where no host has a problem.
  type: str
"""

from collections.abc import Callable, Mapping
from typing import Any


def preflight_report(problems: Mapping[str, list[str]]) -> str:
    hosts_by_problem: dict[str, list[str]] = {}
    for host, found in problems.items():
        for problem in found:
            hosts_by_problem.setdefault(problem, []).append(host)
    if not hosts_by_problem:
        return ""
    lines = [
        f"- {'all hosts' if len(hosts) == len(problems) > 1 else ', '.join(hosts)}: {problem}"
        for problem, hosts in hosts_by_problem.items()
    ]
    return "\n".join([f"{len(lines)} thing(s) to put right; nothing was changed on any host:", *lines])


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"preflight_report": preflight_report}
