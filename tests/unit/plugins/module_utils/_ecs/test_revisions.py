# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which revision a service runs, and which old ones go."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.revisions import primary_task_definition, surplus
from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.usage import revisions_of

ROLLING = {
    "taskDefinition": "p:3",
    "deployments": [
        {"status": "PRIMARY", "taskDefinition": "p:3"},
        {"status": "ACTIVE", "taskDefinition": "p:2"},
    ],
}
TASK_SETS = [{"status": "ACTIVE", "taskDefinition": "p:5"}, {"status": "PRIMARY", "taskDefinition": "p:4"}]


@pytest.mark.parametrize(
    ("service", "primary", "used"),
    [
        (ROLLING, "p:3", {"p:2", "p:3"}),
        ({"taskSets": TASK_SETS}, "p:4", {"p:4", "p:5"}),
        ({"taskDefinition": "p:1"}, "p:1", {"p:1"}),
        ({"deployments": []}, "", set()),
    ],
)
def test_what_a_service_refers_to(service: dict[str, Any], primary: str, used: set[str]) -> None:
    assert primary_task_definition(service) == primary
    assert revisions_of(service) == used


@pytest.mark.parametrize(
    ("keep", "anyway", "one_more", "expected"),
    [
        (2, set(), False, ["p:3", "p:2", "p:1"]),
        (2, {"p:2"}, False, ["p:3", "p:1"]),
        (2, set(), True, ["p:4", "p:3", "p:2", "p:1"]),
        (1, {"p:5"}, True, ["p:4", "p:3", "p:2", "p:1"]),
        (9, set(), True, []),
    ],
)
def test_what_is_beyond_the_number_to_keep(keep: int, anyway: set[str], one_more: bool, expected: list[str]) -> None:
    assert surplus(["p:5", "p:4", "p:3", "p:2", "p:1"], keep, anyway, one_more=one_more) == expected
