# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A module returns the same in its own process and in Ansible's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg.conninfo
import pytest
import yaml

from tests.integration.fleetdb.fleets import Fleet
from tests.integration.support import CHECKOUT, environment, run_by_ansible

TIMES = ("heartbeat_age", "lease_left", "waited", "draining_since")


@pytest.fixture
def another_python(tmp_path: Path) -> str:
    """The same one by another name."""
    name = tmp_path / "python"
    name.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    name.chmod(0o755)
    return str(name)


def told(name: str, arguments: dict[str, Any], *options: str) -> tuple[bool, dict[str, Any]]:
    code, text = run_by_ansible(name, arguments, *options)
    assert "localhost |" in text, text
    return code == 0, yaml.safe_load(text.partition("=>")[2])


@pytest.mark.parametrize(
    ("name", "arguments", "good"),
    [
        ("leader_info", {}, True),
        ("rollout_info", {"last": "2"}, True),
        ("instance_drain", {"instance_id": "i-3", "min_in_service": 2}, True),
        ("instance_drain", {"instance_id": "i-1", "min_in_service": 2}, False),
        ("instance_drain", {"instance_id": "i-3"}, False),
        ("rollout_lock", {"state": "gone"}, False),
    ],
)
def test_it_is_the_same(fleet: Fleet, another_python: str, name: str, arguments: dict[str, Any], good: bool) -> None:
    fleet.populate(3)
    options = {**fleet.options, **arguments}
    here = told(name, options, "--check")
    elsewhere = told(name, options, "--check", "-e", f"ansible_python_interpreter={another_python}")
    assert here[0] == elsewhere[0] == good
    assert without_times(here[1]) == without_times(elsewhere[1])


def test_an_interpreter_that_is_named_is_taken(fleet: Fleet) -> None:
    succeeded, result = told("leader_info", fleet.options, "-e", "ansible_python_interpreter=/nowhere/python")
    assert not succeeded
    assert "/nowhere/python" in str(result)


def test_the_environment_of_a_task_is_the_modules(fleet: Fleet, tmp_path: Path) -> None:
    fleet.populate(1, age=0)
    parts = psycopg.conninfo.conninfo_to_dict(fleet.conninfo)
    names = {"host": "PGHOST", "port": "PGPORT", "dbname": "PGDATABASE", "user": "PGUSER", "password": "PGPASSWORD"}
    variables = {name: str(parts[part]) for part, name in names.items() if part in parts}
    ask = {
        "evenkeel.fleet.leader_info": {"source": "database"},
        "environment": {**variables, "PGSSLMODE": "prefer"},
        "module_defaults": {"group/evenkeel.fleet.fleet": {"stale_after": 0.000001}},
    }
    play = tmp_path / "play.yml"
    play.write_text(yaml.safe_dump([{"hosts": "localhost", "gather_facts": False, "tasks": [ask]}]))
    program = Path(sys.executable).parent / "ansible-playbook"
    run = subprocess.run([program, play], cwd=CHECKOUT, env=environment(), capture_output=True, text=True, timeout=60)
    assert "i-1 leads and has no fresh heartbeat" in run.stdout, run.stdout


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_times(entry) for key, entry in value.items() if key not in TIMES}
    return [without_times(entry) for entry in value] if isinstance(value, list) else value
