# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import difflib
import re
import time
from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.plugins.action import ActionBase

from ansible_collections.evenkeel.fleet.plugins.plugin_utils._variables import KINDS, problem, specification, typed

# Equal to no value.
OMITTED = object()


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible-core ships no types
    """Checks roles' variables here and the host in one call.

    It is a call of host_converge, which a bootstrap needs next: to put a second module together costs time.
    """

    def run(self, tmp: str | None = None, task_vars: Mapping[str, Any] | None = None) -> dict[str, Any]:
        variables = task_vars or {}
        result: dict[str, Any] = super().run(tmp, variables)
        arguments = dict(self._task.args)
        problems = []
        for role in arguments.pop("roles", []):
            problems += self._role_problems(role, variables)
        names = arguments.pop("declarations", [])
        declarations = [] if problems else self._declarations(names, variables)
        result.update(
            self._execute_module(
                module_name="evenkeel.fleet.host_converge",
                module_args={
                    "fitness": {**arguments, "controller_time": time.time()},
                    **({"declarations": declarations} if declarations else {}),
                },
                task_vars=variables,
            )
        )
        refusal = _refusal_of_sudo(result)
        if refusal:
            problems.append(refusal)
            result.update(settled=False, containers={})
        result["problems"] = problems + result.get("problems", [])
        if problems:
            # A value of the wrong kind stops the call itself. They say better which one it is.
            result.pop("failed", None)
            result.pop("exception", None)
        return result

    def _declarations(self, names: list[str], variables: Mapping[str, Any]) -> list[Any]:
        """The declarations, or none where a role whose variables are not checked lacks one: its own task reports it."""
        try:
            return [kept(self._templar.template(variables[name]), variables.get("omit", OMITTED)) for name in names]
        except AnsibleError:
            return []

    def _role_problems(self, role: str, variables: Mapping[str, Any]) -> list[str]:
        options = specification(role)
        if options is None:
            return [f"There is no role {role} in this collection."]
        missing = [name for name, option in options.items() if option.get("required") and name not in variables]
        problems = [
            f"{name} is not set: {_summary(options[name])} Set it in the inventory's group_vars or with -e {name}=…"
            for name in missing
        ]
        problems += _misspelt(role, options, variables)
        values = {}
        for name in options:
            try:
                if name in variables:
                    values[name] = self._templar.template(variables[name])
            except AnsibleError as error:
                if not missing:  # otherwise it is most likely worked out from one of them
                    problems.append(f"{name} can't be evaluated: {error.message}")
        for name, value in values.items():
            # Ansible's validator splits a JSON text at its commas.
            if isinstance(value, str) and options[name].get("type") in KINDS:
                wrong = problem(name, value, options[name])
                problems += [wrong] if wrong else []
                values[name] = None if wrong else typed(value, options[name])
        optional = {name: {**option, "required": False} for name, option in options.items()}
        checked = ArgumentSpecValidator(optional).validate(values)
        problems += [f"Role {role}: {message}" for message in checked.error_messages]
        if not problems and f"{role}_problems" in variables:
            problems += self._templar.template(variables[f"{role}_problems"])
        return problems


def kept(value: Any, omitted: Any) -> Any:
    """Without what a template omits: before ansible-core 2.19 a placeholder stands for it until a module is called."""
    if isinstance(value, Mapping):
        return {name: kept(entry, omitted) for name, entry in value.items() if entry != omitted}
    if isinstance(value, list):
        return [kept(entry, omitted) for entry in value if entry != omitted]
    return value


def _refusal_of_sudo(result: Mapping[str, Any]) -> str:
    """The problem, if sudo refused to run the module; else empty."""
    said = " ".join(str(result.get(key) or "") for key in ("msg", "module_stderr", "module_stdout"))
    if "must have a tty" not in said:
        return ""
    return (
        "sudo on the host requires a terminal (requiretty in /etc/sudoers), which a pipelined connection does not "
        "have. Exempt the user (Defaults:NAME !requiretty, by visudo -f /etc/sudoers.d/NAME), or set "
        "ANSIBLE_PIPELINING=false."
    )


def _summary(option: Mapping[str, Any]) -> str:
    description = option.get("description", "")
    first = str(description[0] if isinstance(description, list) else description)
    return re.sub(r"[A-Z]\(([^)]*)\)", r"\1", first)


def _misspelt(role: str, options: Mapping[str, Any], variables: Mapping[str, Any]) -> list[str]:
    problems = []
    for name in variables:
        if name.startswith(f"{role}_") and name not in options:
            close = difflib.get_close_matches(name, options, n=1, cutoff=0.9)
            if close:
                problems.append(f"{name} is not a variable of the role {role}; did you mean {close[0]}?")
    return problems
