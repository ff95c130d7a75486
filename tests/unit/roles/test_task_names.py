# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of plays, tasks and blocks read as a log: each begins with a verb of the field."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
TASKS = [path for path in (ROOT / "roles").rglob("*.yml") if {"tasks", "handlers"} & set(path.parts)]
FILES = sorted([*TASKS, *(ROOT / "playbooks").rglob("*.yml"), *(ROOT / "molecule").rglob("*.yml")])
# Add a verb that says what is done. Have, Know, Let, Remember, Say, See, Take and Tell do not, nor does a bare Look.
VERBS = """
    Acquire Add Admit Allow Apply Assign Attach Authenticate Back Bootstrap Break Build Cancel Change Check Collect
    Compare Complete Configure Copy Create Delete Deploy Deregister
    Detach Disable Download Drain Enable End Enter Exclude
    Exit Fail Fetch Find Flush Generate Hand Import Include Inspect Install Join Judge Keep Leave Link Load Log Make
    Mark Measure Merge Move Pause Plan Post Prepare Print Protect Publish Pull Push Put Read Reboot Record Refresh
    Register Release Remove Renew Replace Report Request Reset Resolve Restart Restore Restrict Resume Return Roll
    Run Scale Select Send Set Show Start Stop Store Swap Switch Tag Terminate Update Upload Use Validate Verify Wait
    Warn Watch Write
"""


def names(tasks: Any) -> Iterator[str]:
    for task in tasks or []:
        if isinstance(task, dict):
            if "name" in task:
                yield str(task["name"])
            for part in ("tasks", "pre_tasks", "post_tasks", "handlers", "block", "rescue", "always"):
                yield from names(task.get(part))


def unnamed(tasks: Any) -> list[str]:
    return [name for name in names(tasks) if name.split()[0] not in VERBS.split() and not name.startswith("Look up ")]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_name_begins_with_a_verb(path: Path) -> None:
    assert unnamed(yaml.safe_load(path.read_text())) == [], "name what is done: see VERBS"


def test_names_are_found_wherever_tasks_are() -> None:
    block = {
        "name": "Have it",
        "block": [{"name": "Know it"}],
        "rescue": [{"name": "Check it"}],
        "always": [{"name": "See it"}],
    }
    assert unnamed([{"hosts": "all", "name": "Set up", "tasks": [block]}]) == ["Have it", "Know it", "See it"]
