# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""No role uses results of another role of the same run, because a run with tags does not have them.

Nor does a part of a role that has tags of its own use results of another part.
"""

from __future__ import annotations

import re
import shutil
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
    return {name for path in role.glob("tasks/**/*.yml") for name in registered(path)}


def registered(path: Path) -> set[str]:
    """Those of a file."""
    found: set[str] = set()
    for task in nodes(yaml.safe_load(path.read_text())):
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


IMPORTS = ("ansible.builtin.import_tasks", "ansible.builtin.include_tasks")
ALWAYS = {"always", "never"}


def parts(role: Path) -> Iterator[tuple[str, Path]]:
    """Files that a task with tags of its own imports, with the place of that task."""
    for path in sorted(role.glob("tasks/**/*.yml")):
        for task in nodes(yaml.safe_load(path.read_text())):
            tags = task.get("tags") or []
            if set([tags] if isinstance(tags, str) else tags) - ALWAYS:
                for verb in IMPORTS:
                    if verb in task:
                        yield str(task["name"]), file_of(role, path, verb, str(task[verb]))


def file_of(role: Path, path: Path, verb: str, name: str) -> Path:
    """What is imported is relative to the file, what is included to the tasks of the role."""
    return (path.parent / name if verb == IMPORTS[0] else role / "tasks" / name).resolve()


def reached(role: Path, path: Path) -> set[Path]:
    """The file and all that it imports or includes by a name that is known beforehand."""
    found = {path}
    for task in nodes(yaml.safe_load(path.read_text())):
        for verb in IMPORTS:
            if verb in task and "{{" not in str(task[verb]):
                found |= reached(role, file_of(role, path, verb, str(task[verb])))
    return found


def texts(role: Path, files: set[Path]) -> Iterator[str]:
    """The files' text, and the values of the role's variables that they use, in whatever depth."""
    variables: dict[str, str] = {}
    for folder in ("defaults", "vars"):
        path = role / folder / "main.yml"
        variables |= (
            {name: str(value) for name, value in yaml.safe_load(path.read_text()).items()} if path.exists() else {}
        )
    left = [path.read_text() for path in files]
    seen: set[str] = set()
    while left:
        text = left.pop()
        yield text
        named = {name for name in re.findall(r"\w+", text) if name in variables} - seen
        seen |= named
        left += [variables[name] for name in named]


def unguarded(text: str, names: set[str]) -> set[str]:
    """Names that are used where nothing asks whether they are defined."""
    return {
        name
        for name in names
        if re.search(rf"(?<![\w.'\"]){name}\b", text) and not re.search(rf"{name} is defined", text)
    }


def known_to_all(role: Path) -> set[str]:
    """Results of files that run whatever the tags are."""
    found: set[str] = set()
    for path in role.glob("tasks/**/*.yml"):
        for task in nodes(yaml.safe_load(path.read_text())):
            for verb in IMPORTS:
                if verb in task and "always" in (task.get("tags") or []) and "{{" not in str(task[verb]):
                    files = reached(role, file_of(role, path, verb, str(task[verb])))
                    found |= set().union(*(registered(one) for one in files))
    return found


def of_parts(role: Path) -> list[str]:
    found = [(name, reached(role, path)) for name, path in parts(role)]
    always = known_to_all(role)
    made = {name: set().union(*(registered(path) for path in files)) - always for name, files in found}
    return [
        f"{name} uses {result} of {other}"
        for name, files in found
        for other in made
        for text in texts(role, files)
        for result in sorted(unguarded(text, made[other] - made[name]))
    ]


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_no_part_with_a_tag_hangs_on_the_result_of_another(role: Path) -> None:
    assert of_parts(role) == []


def test_a_part_that_hangs_on_another_is_found(tmp_path: Path) -> None:
    ecs = next(role for role in ROLES if role.name == "ecs")
    assert len(list(parts(ecs))) >= 6
    copied = Path(shutil.copytree(ecs, tmp_path / "ecs"))
    variables = copied / "vars/main.yml"
    variables.write_text(variables.read_text().replace("__ecs_cluster is defined and", ""))
    assert "Create or change the services uses __ecs_cluster of Create or change the cluster" in of_parts(copied)
