# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Imports and includes below an include by a computed name are relative to their file: ansible-core 2.17 needs it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROLES = Path(__file__).parents[3] / "roles"
FILES = sorted(path for path in ROLES.rglob("*.yml") if "tasks" in path.parts)


def named(tasks: Any, verb: str) -> Iterator[str]:
    for task in tasks or []:
        if verb in task:
            value = task[verb]
            yield value["file"] if isinstance(value, dict) else value
        for part in ("block", "rescue", "always"):
            yield from named(task.get(part), verb)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROLES)))
def test_imports_are_relative_to_their_file_and_includes_to_the_tasks_of_the_role(path: Path) -> None:
    tasks = yaml.safe_load(path.read_text())
    top = ROLES / path.relative_to(ROLES).parts[0] / "tasks"
    for name in named(tasks, "ansible.builtin.import_tasks"):
        assert (path.parent / name).is_file(), f"imports {name}"
    for name in named(tasks, "ansible.builtin.include_tasks"):
        assert "{{" in name or (top / name).is_file(), f"includes {name}"
