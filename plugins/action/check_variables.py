# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase

from ansible_collections.evenkeel.fleet.plugins.plugin_utils._variables import all_options, problem


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible-core ships no types
    """Checks the values that the hosts of the play have for the variables of all roles. It asks no host."""

    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: Mapping[str, Any] | None = None) -> dict[str, Any]:
        variables = task_vars or {}
        result: dict[str, Any] = super().run(tmp, variables)
        hosts_by_problem: dict[str, list[str]] = {}
        for host, found in self._problems(variables):
            hosts_by_problem.setdefault(found, []).append(host)
        result["changed"] = False
        if hosts_by_problem:
            everywhere = set(variables.get("ansible_play_hosts_all", []))
            result["failed"] = True
            result["msg"] = ["Nothing was changed."] + [
                found if everywhere <= set(hosts) else f"{', '.join(hosts)}: {found}"
                for found, hosts in hosts_by_problem.items()
            ]
        return result

    def _problems(self, variables: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        own = str(variables.get("inventory_hostname", ""))
        for name, option in all_options().items():
            if name in variables:
                yield from self._of(own, name, variables, option)
        for host in variables.get("ansible_play_hosts_all", []):
            # What a host other than this one has of its own; what a play or a role sets is the same for all.
            known = variables["hostvars"][host] if host != own else {}
            for name, option in all_options().items():
                if name in known:
                    yield from self._of(host, name, known, option)

    def _of(
        self, host: str, name: str, known: Mapping[str, Any], option: Mapping[str, Any]
    ) -> Iterator[tuple[str, str]]:
        if option.get("type", "str") == "str" and "choices" not in option:
            return
        try:
            value = known[name]
            found = problem(name, self._templar.template(value) if isinstance(value, str) else value, option)
        except AnsibleError:
            return  # made of what is not known yet, and checked where it is used
        if found:
            yield host, found
