# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Deployment configurations with which a rolling update can't begin."""

from __future__ import annotations

import re
from typing import Any

import pytest

from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.verify import service
from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.verify.findings import Clients, Declared, Finding


def findings(tasks: int | None, least: int | None = None, most: int | None = None, **more: Any) -> list[Finding]:
    given = {"minimumHealthyPercent": least, "maximumPercent": most, **more.pop("configuration", {})}
    configuration = {name: value for name, value in given.items() if value is not None}
    declared = Declared(
        cluster="production", task={}, service={"deploymentConfiguration": configuration, **more}, desired_count=tasks
    )
    return list(service.counts(declared, Clients(lambda *_: pytest.fail("it asks AWS"))))


@pytest.mark.parametrize(
    ("tasks", "least", "most"), [(1, 100, 150), (1, 50, 100), (3, 100, 133), (4, 100, 100), (3, 67, 100)]
)
def test_none_may_stop_and_none_be_added(tasks: int, least: int, most: int) -> None:
    (found,) = findings(tasks, least, most)
    assert f"of {tasks} tasks" in found.problem
    (raised,) = re.findall(r"maximumPercent to (\d+)", found.remedy)
    assert int(raised) <= 200
    assert findings(tasks, least, int(raised)) == []


@pytest.mark.parametrize(
    ("tasks", "least", "most"),
    [(1, None, None), (1, 0, 100), (2, 50, 100), (3, 66, 100), (3, 100, 134), (0, 100, 100), (None, 100, 100)],
)
def test_a_task_may_stop_or_be_added(tasks: int | None, least: int | None, most: int | None) -> None:
    assert findings(tasks, least, most) == []


def test_other_strategies_have_other_limits() -> None:
    assert findings(1, 100, 100, configuration={"strategy": "BLUE_GREEN"}) == []
    assert findings(1, 100, 100, schedulingStrategy="DAEMON") == []
