# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.evenkeel.fleet.plugins.filter.rollout_plan import rollout_plan

FLEET: list[dict[str, Any]] = [
    {"name": "a", "digest": "old", "healthy": True, "draining": False, "leads": True},
    {"name": "b", "digest": "old"},
    {"name": "c", "digest": "new"},
    {"name": "d", "digest": None},
]


def test_a_plan() -> None:
    assert rollout_plan(FLEET, "new", batches=[1], min_in_service=2) == {
        "refusals": [],
        "batches": [["b"], ["d"], ["a"]],
        "skipped": ["c"],
        "hand_over": {"from": "a", "candidates": ["b", "c", "d"]},
        "next": {"kind": "update", "hosts": ["b"], "candidates": [], "result": "", "words": []},
    }


def test_what_comes_next() -> None:
    events = [{"kind": "done", "host": "b"}, {"kind": "failed", "host": "d", "serves": True}]
    after = rollout_plan(FLEET, "new", events=events)["next"]
    assert (after["kind"], after["result"]) == ("end", "failed")


def test_a_refusal() -> None:
    plan = rollout_plan(FLEET, "new", selected=["a", "x"], min_in_service="100%")
    assert plan["refusals"] == ["Not in the fleet: x."]
    assert plan["batches"] == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"batch": [1]},
        {"events": [{"kind": "x"}]},
        {"events": [{"who": "b"}]},
        {"events": [{"kind": "done", "host": "c"}]},
    ],
)
def test_what_is_no_plan_at_all(wrong: dict[str, Any]) -> None:
    with pytest.raises(AnsibleFilterError, match="rollout_plan"):
        rollout_plan(FLEET, "new", **wrong)
