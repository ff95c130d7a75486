# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.evenkeel.fleet.plugins.module_utils._fleetdb import journal
from ansible_collections.evenkeel.fleet.plugins.module_utils._fleetdb.errors import FleetError


def step(host: str, name: str, result: str = "succeeded", **more: object) -> dict[str, object]:
    return {"host": host, "step": name, "result": result, **more}


def test_what_the_steps_come_to() -> None:
    found = journal.hosts(
        [
            step("a", "plan", digest="old"),
            step("b", "plan", digest="old"),
            step("a", "permit", instance_id="i-1", seconds=0.5),
            step("*", "handover", seconds=3),
            step("a", "swap", "failed", digest="new", seconds=4),
            step("a", "swap", digest="new", seconds=5),
            step("a", "active"),
            step("b", "permit", "skipped"),
            step("b", "permit"),
            step("b", "swap", "failed", digest="new"),
        ]
    )
    assert found["a"] == {
        "instance_id": "i-1",
        "before": "old",
        "after": "new",
        "step": "active",
        "result": "succeeded",
        "state": "in",
        "seconds": 9.5,
    }
    assert (found["b"]["after"], found["b"]["state"], found["b"]["result"]) == (None, "out", "failed")
    assert "*" not in found


@pytest.mark.parametrize("name", ["permit", "active"])
def test_who_is_in_service_is_not_for_everybody_to_write(name: str) -> None:
    with pytest.raises(FleetError, match=name):
        journal.refuse_reserved([step("a", "swap"), step("a", name)])
