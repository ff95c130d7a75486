# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a rollback goes."""

from __future__ import annotations

import pytest

from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.service_state import way_back


def arn(name: str) -> str:
    return f"arn:aws:ecs:eu-central-1:123456789012:task-definition/{name}" if name else ""


# Deployments from the newest: what each brought, and what it left in place.
@pytest.mark.parametrize(
    ("deployed", "expected"),
    [
        ([], ""),
        ([("api:1", "api:1")], ""),
        ([("api:2", "api:2"), ("api:1", "api:1")], "api:1"),
        # After the rollback it is the same, and so is a third run.
        ([("api:1", "api:1"), ("api:2", "api:2"), ("api:1", "api:1")], "api:1"),
        # A revision that never ran is skipped, whoever went back.
        ([("api:3", "api:3"), ("api:2", "api:1"), ("api:1", "api:1")], "api:1"),
        ([("api:3", ""), ("api:2", ""), ("api:1", "api:1")], "api:1"),
        # One that AWS rolled back is the newest one: its rollback is done.
        ([("api:3", "api:2"), ("api:2", "api:2"), ("api:1", "api:1")], "api:2"),
        # A newer one after a rollback.
        ([("api:4", "api:4"), ("api:2", "api:2"), ("api:3", "api:3"), ("api:2", "api:2")], "api:2"),
        # Another family is older, whatever its number.
        ([("new:1", "new:1"), ("old:7", "old:7")], "old:7"),
        ([("api:10", "api:10"), ("api:9", "api:9")], "api:9"),
    ],
)
def test_the_way_back(deployed: list[tuple[str, str]], expected: str) -> None:
    assert way_back((arn(brought), arn(left)) for brought, left in deployed) == arn(expected)
