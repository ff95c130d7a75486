# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All roles that call AWS take region, profile and endpoint from one place, and check it before any change."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
ROLES = sorted(path for path in (ROOT / "roles").iterdir() if path.is_dir())
PLAYBOOKS = sorted((ROOT / "playbooks").glob("*.yml"))
OURS = set(yaml.safe_load((ROOT / "meta" / "runtime.yml").read_text())["action_groups"]["aws"])
COLLECTIONS = ("evenkeel.fleet", "amazon.aws", "community.aws")
CHECK = "evenkeel.fleet.aws_identity_info"


def nodes(value: Any) -> Iterator[dict[str, Any]]:
    """All mappings in a document."""
    if isinstance(value, dict):
        yield value
    for entry in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from nodes(entry)


def calls(tasks: Any) -> set[str]:
    """The modules for AWS among the tasks, by their full names."""
    names = {name for task in nodes(tasks) for name in task if isinstance(name, str)}
    ours = {f"evenkeel.fleet.{name}" for name in OURS}
    return {name for name in names if name in ours or name.startswith(("amazon.aws.", "community.aws."))}


def documents(role: Path) -> list[Any]:
    return [yaml.safe_load(path.read_text()) for path in sorted(role.glob("tasks/**/*.yml"))]


CALLING = [role for role in ROLES if calls(documents(role))]


def test_every_module_for_aws_is_in_the_group_that_gets_the_defaults() -> None:
    modules = (ROOT / "plugins" / "modules").glob("*.py")
    assert {path.stem for path in modules if "- evenkeel.fleet.aws\n" in path.read_text()} == OURS


def test_the_walk_finds_the_roles() -> None:
    assert {role.name for role in CALLING} >= {"load_balancer", "iam", "alarms", "launch_template", "rollout"}


@pytest.mark.parametrize("role", CALLING, ids=lambda role: role.name)
def test_each_role_has_one_source_and_checks_it_first(role: Path) -> None:
    defaults = yaml.safe_load((role / "defaults" / "main.yml").read_text())
    source = f"{role.name}_aws"
    text = defaults[source].replace(f"{role.name}_region", str(defaults.get(f"{role.name}_region")))
    assert all(name in text for name in ("fleet_region", "fleet_profile", "fleet_endpoint_url"))

    blocks = [task for task in nodes(documents(role)) if "group/evenkeel.fleet.aws" in task.get("module_defaults", {})]
    (block,) = blocks
    given = block["module_defaults"]
    for task in nodes(documents(role)):
        for collection in COLLECTIONS:
            if any(name.startswith(f"{collection}.") for name in task):
                defaults_of_it = {**given, **task.get("module_defaults", {})}
                assert defaults_of_it.get(f"group/{collection}.aws") == "{{ " + source + " }}", collection
    first = block["block"][0]
    assert "fleet_account" in first[CHECK]["account"]


ENTRIES = [
    role / "tasks" / f"{entry}.yml"
    for role in CALLING
    for entry in yaml.safe_load((role / "meta" / "argument_specs.yml").read_text())["argument_specs"]
]


def imported(file: Path) -> Iterator[Path]:
    """The file and all that it imports, in whatever block."""
    yield file
    for task in nodes(yaml.safe_load(file.read_text())):
        if "ansible.builtin.import_tasks" in task:
            yield from imported((file.parent / task["ansible.builtin.import_tasks"]).resolve())


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda path: f"{path.parent.parent.name}-{path.stem}")
def test_each_entry_point_goes_by_that_check(entry: Path) -> None:
    files = list(imported(entry))
    checking = [file for file in files if CHECK in file.read_text()]
    assert checking, "it calls AWS wherever the environment says"
    # What comes before the check calls nothing.
    before = files[: files.index(checking[0])]
    assert not any(calls(yaml.safe_load(file.read_text())) for file in before)


@pytest.mark.parametrize("role", CALLING, ids=lambda role: role.name)
def test_no_task_names_a_region_of_its_own(role: Path) -> None:
    for task in nodes(documents(role)):
        for name in calls([task]):
            arguments = task.get(name) or {}
            if isinstance(arguments, dict) and "region" in arguments:
                assert arguments["region"] == "{{ " + f"{role.name}_region" + " }}"


@pytest.mark.parametrize("playbook", PLAYBOOKS, ids=lambda path: path.stem)
def test_playbooks_leave_aws_to_the_roles(playbook: Path) -> None:
    assert calls(yaml.safe_load(playbook.read_text())) == set()


def test_a_rollout_needs_no_other_collection_but_for_its_hook() -> None:
    """Ansible resolves a group of module_defaults when it reads the file: without the collection, nothing would run."""
    for path in sorted((ROOT / "roles" / "rollout" / "tasks").rglob("*.yml")):
        if path.name != "check_alarms.yml":
            assert "amazon.aws" not in path.read_text(), path.name
