# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules that ask the database or the load balancer, run in Ansible's own process where they run on the controller.

A process of their own takes half a second to start, most of which is Python reading files, and a rollout makes four
such calls for each host.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any, NoReturn

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.common.parameters import remove_values
from ansible.plugins.action.normal import ActionModule as NormalAction

from ansible_collections.evenkeel.fleet.plugins.plugin_utils._progress_pipe import PROGRESS

# Elsewhere the system's libraries for networks don't take it to be used after a fork, and Ansible's workers are forks.
FORKS_SAFELY = sys.platform == "linux"


class OnController(NormalAction):  # type: ignore[misc]  # ansible-core ships no types
    """The action of a module whose `main` takes what makes its AnsibleModule."""

    module: ModuleType
    # What it calls its AnsibleModule; None for InProcessModule.
    made_as: type[InProcessModule] | None = None

    def run(self, tmp: str | None = None, task_vars: Mapping[str, Any] | None = None) -> dict[str, Any]:
        variables = task_vars or {}
        if not self._is_here(variables):
            elsewhere: dict[str, Any] = super().run(tmp, variables)
            return elsewhere
        environment: dict[str, str] = {}
        self._compute_environment_string(environment)
        # The worker ends with its task.
        os.environ.update({name: str(value) for name, value in environment.items()})

        def make(**specification: Any) -> InProcessModule:
            made_as = self.made_as or InProcessModule
            return made_as(self._task.action, plain(self._task.args), specification, self._task.check_mode)

        try:
            self.module.main(make)
        except ModuleExit as ended:
            return ended.result
        raise RuntimeError(f"{self._task.action} ended without a result")

    def _is_here(self, variables: Mapping[str, Any]) -> bool:
        """Whether the module would run on this machine, as this user, by this very Python."""
        connection = self._connection
        if not FORKS_SAFELY or self._task.async_val or connection.transport != "local" or connection.become:
            return False
        of_host = variables.get("ansible_delegated_vars", {}).get(self._task.delegate_to, variables)
        interpreter = self._templar.template(of_host.get("ansible_python_interpreter", ""))
        return bool(interpreter == sys.executable)


class ModuleExit(SystemExit):
    """As a module's process ends; with its result."""

    def __init__(self, result: dict[str, Any]) -> None:
        super().__init__(0)
        self.result = result


class InProcessModule:
    """What such a module uses of AnsibleModule."""

    def __init__(self, name: str, arguments: dict[str, Any], specification: dict[str, Any], check_mode: bool) -> None:
        specification.pop("supports_check_mode")
        # Keeps arguments out of the system's log, which is not written here.
        specification.pop("no_log", None)
        self._name = name
        self._warnings: list[str] = []
        self.check_mode = check_mode
        checked = ArgumentSpecValidator(**specification).validate(arguments)
        self.params: dict[str, Any] = checked.validated_parameters
        self.no_log_values: set[str] = set(checked._no_log_values)
        if checked.error_messages:
            self.fail_json(msg=" ".join(checked.error_messages))

    def warn(self, warning: str) -> None:
        self._warnings.append(warning)

    def log(self, msg: str) -> None:
        """Modules write it to the log of the machine that they run on; here it goes to the live view."""
        PROGRESS.say(msg)

    @property
    def shows_log(self) -> bool:
        """Whether those lines are shown now."""
        return PROGRESS.is_open

    def fail_json(self, msg: str, **result: Any) -> NoReturn:
        self._end({"msg": msg, "failed": True, "changed": False, **result})

    def exit_json(self, **result: Any) -> NoReturn:
        self._end({"changed": False, **result})

    def _end(self, result: dict[str, Any]) -> NoReturn:
        if self._warnings:
            result["warnings"] = self._warnings
        result["invocation"] = {"module_args": self.params}
        raise ModuleExit(remove_values(result, self.no_log_values))


def plain(value: Any) -> Any:
    """Without what Ansible notes about its values."""
    if isinstance(value, Mapping):
        return {plain(str(name)): plain(entry) for name, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    if isinstance(value, bool):
        return value
    # Ansible's values are of subclasses, so a comparison of types finds them different from AWS's.
    if isinstance(value, str):
        # Before ansible-core 2.19, str() of unsafe text is unsafe text.
        return str.__str__(value)
    return next((kind(value) for kind in (int, float) if isinstance(value, kind)), value)
