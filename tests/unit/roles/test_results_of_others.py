# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""No role uses results of another role of the same run, because a run with tags does not have them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROLES = sorted(path for path in (Path(__file__).parents[3] / "roles").iterdir() if path.is_dir())


def nodes(value: Any) -> Iterator[dict[str, Any]]:
    """All mappings in a document."""
    if isinstance(value, dict):
        yield value
    for entry in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from nodes(entry)


def mappings(role: Path) -> Iterator[dict[str, Any]]:
    for path in role.glob("tasks/**/*.yml"):
        yield from nodes(yaml.safe_load(path.read_text()))


def results(role: Path) -> set[str]:
    """Names of facts and registered results."""
    found: set[str] = set()
    for task in mappings(role):
        found |= set(task.get("ansible.builtin.set_fact") or {})
        found |= {task["register"]} if isinstance(task.get("register"), str) else set()
    return found - {"cacheable"}


def imported(role: Path) -> set[str]:
    """Roles that this one runs itself, so that their results are there."""
    verbs = ("ansible.builtin.import_role", "ansible.builtin.include_role")
    return {str(task[verb]["name"]).rpartition(".")[2] for task in mappings(role) for verb in verbs if verb in task}


def used(role: Path, names: set[str]) -> set[str]:
    """Of the names, those whose value is used; a question whether one is defined is none."""
    files = [path for folder in ("defaults", "vars", "tasks", "templates") for path in role.glob(f"{folder}/**/*")]
    text = "\n".join(path.read_text() for path in files if path.is_file())
    return {name for name in names if re.search(rf"(?<![\w.'\"]){name}\b(?! is (not )?defined)", text)}


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_no_role_hangs_on_the_result_of_another(role: Path) -> None:
    own, there = results(role), imported(role)
    for other in ROLES:
        if other != role and other.name not in there:
            assert used(role, results(other) - own) == set(), f"{role.name} hangs on what {other.name} found out"


def test_the_walk_sees_facts_and_their_use() -> None:
    balancer = next(role for role in ROLES if role.name == "load_balancer")
    assert "load_balancer_dns_name" in results(balancer)
    assert used(balancer, {"__load_balancer"}) == {"__load_balancer"}
