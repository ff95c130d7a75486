# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Conditions that fail only when it matters, in the rescue of a block.

The condition of a block is that of its rescue and always, too: nothing in the block may change what it says. And
ansible-core takes no condition whose value is not a boolean.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
FILES = sorted([*ROOT.glob("roles/*/tasks/**/*.yml"), *ROOT.glob("playbooks/*.yml")])
PARTS = ("block", "rescue", "always")


def blocks(tasks: Any) -> Iterator[dict[str, Any]]:
    for task in tasks or []:
        if "block" in task:
            yield task
        for part in (*PARTS, "tasks", "pre_tasks", "post_tasks"):
            yield from blocks(task.get(part))


def changed_in(tasks: Any) -> Iterator[str]:
    """The variables that these tasks set; without those to which they only add something."""
    for task in tasks or []:
        facts = task.get("ansible.builtin.set_fact", {})
        yield from (name for name, value in facts.items() if f"{{{{ {name} | combine(" not in str(value))
        yield from [task["register"]] if "register" in task else []
        for part in PARTS:
            yield from changed_in(task.get(part))


def unsafe(block: dict[str, Any]) -> set[str]:
    """The variables in the condition of a block with a rescue or always that the block changes."""
    read = set(re.findall(r"\w+", str(block.get("when", ""))))
    changed = {name for part in PARTS for name in changed_in(block.get(part))}
    return read & changed if "rescue" in block or "always" in block else set()


def test_no_block_changes_its_own_condition() -> None:
    found = {
        f"{path.relative_to(ROOT)}: {block.get('name', '')}": names
        for path in FILES
        for block in blocks(yaml.safe_load(path.read_text()))
        if (names := unsafe(block))
    }
    assert len(FILES) > 100
    assert found == {}


@pytest.mark.parametrize("part", ["rescue", "always"])
def test_a_block_that_would_skip_its_rescue_is_found(part: str) -> None:
    block = {
        "when": "reason is not defined",
        "block": [{"ansible.builtin.fail": {}}],
        part: [{"ansible.builtin.set_fact": {"reason": "x"}}],
    }
    assert unsafe(block) == {"reason"}


def clauses(tasks: Any) -> Iterator[str]:
    """The parts of all conditions that `and` and `or` connect."""
    for task in tasks or []:
        given = task.get("when", [])
        for condition in given if isinstance(given, list) else [given]:
            yield from re.split(r" (?:and|or) ", " ".join(str(condition).split()))
        for part in (*PARTS, "tasks", "pre_tasks", "post_tasks"):
            yield from clauses(task.get(part))


def no_boolean(clause: str) -> bool:
    """Whether it is a value with a default, and is neither compared nor converted."""
    default = re.search(r"\| *default\(([^()]*)\)\)*$", clause)
    compared = re.search(r"(^|\()not | in | is |[=<>]", clause)
    return bool(default) and not compared and not re.match(r"(true|false)\b", default[1] if default else "")


def test_conditions_are_booleans() -> None:
    found = {
        f"{path.relative_to(ROOT)}: {clause}"
        for path in FILES
        for clause in clauses(yaml.safe_load(path.read_text()))
        if no_boolean(clause)
    }
    assert found == set()


@pytest.mark.parametrize(
    ("clause", "wrong"),
    [
        ("__lock.rollout_id | default(none, true)", True),
        ("(__lock | default({})).rollout_id | default(none, true)", True),
        ("__lock.rollout_id | default(none, true) is not none", False),
        ("not __lock.words | default('')", False),
        ("__lock.free | default(false)", False),
    ],
)
def test_a_condition_that_is_no_boolean_is_found(clause: str, wrong: bool) -> None:
    assert no_boolean(clause) is wrong
