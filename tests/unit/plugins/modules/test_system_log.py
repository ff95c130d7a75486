# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible writes the arguments of a module to the system log of the host that runs it, unless told not to."""

from __future__ import annotations

import importlib
import json
import re
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils import basic

MODULES = Path(__file__).parents[4] / "plugins" / "modules"
SECRET = "planted-in-an-environment"
CONTAINER = {"name": "api", "image": "gateway:1", "env": {"PLAIN": SECRET}}
ARGUMENTS: dict[str, dict[str, Any]] = {
    "container_swap": {"container": CONTAINER},
    "host_converge": {"declarations": [{"name": "gateway", "containers": [CONTAINER]}]},
}


def test_every_module_that_takes_containers_is_here() -> None:
    takes = re.compile(r'"container": \{"type": "dict"|"declarations": DECLARATIONS')
    assert {path.stem for path in MODULES.glob("*.py") if takes.search(path.read_text())} == set(ARGUMENTS)


@pytest.mark.parametrize("name", ARGUMENTS)
def test_an_environment_is_not_in_the_system_log(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[str] = []

    class StoppedError(Exception):
        """The module has its arguments; what it does with them is not of interest."""

    def stop(*_: object, **__: object) -> None:
        raise StoppedError

    monkeypatch.setattr(
        basic.AnsibleModule, "log", lambda _self, message, log_args=None: logged.append(f"{message}{log_args}")
    )
    monkeypatch.setattr(basic.AnsibleModule, "_set_cwd", stop)
    given = json.dumps({"ANSIBLE_MODULE_ARGS": ARGUMENTS[name]})
    monkeypatch.setattr(basic, "_ANSIBLE_ARGS", given.encode())
    monkeypatch.setattr(basic, "_ANSIBLE_PROFILE", "legacy", raising=False)
    monkeypatch.setattr(sys, "stdin", StringIO(given))
    module = importlib.import_module(f"ansible_collections.evenkeel.fleet.plugins.modules.{name}")
    with pytest.raises(StoppedError):
        module.main()
    assert SECRET not in "".join(logged)
