# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.evenkeel.fleet.plugins.plugin_utils._report.reporter import Reporter
from ansible_collections.evenkeel.fleet.tests.unit.plugins.plugin_utils._report.told import begun, facts, step, update

LOOKS = step(0, "a", "container_swap", "pulled", {"outcome": "unchanged", "seconds": {"total": 0.1}})
HELD = {"msg": "The fleet is locked by ci@runner.", "refusal": "locked"}
UNSET = {"msg": "Nothing was changed. rollout_database is not set."}
REFUSED = {"msg": "Unhealthy before the start: b."}
ENDS = facts(3, rollout_step={"kind": "end", "result": "succeeded", "hosts": []})
SWAPPED = {"outcome": "swapped", "seconds": {"total": 3.6}}


def shown(folder: Path, events: list[Any], result: str) -> Reporter:
    show = Reporter(say=lambda *_: None, warn=pytest.fail, lock=threading.RLock(), folder=folder)
    show.begin()
    for kind, _at, *arguments in events:
        if kind == "starts":
            show.starts(*arguments)
        else:
            show.ends(*arguments[:-1], whole=arguments[-1])
    show.finish(result)
    return show


@pytest.mark.parametrize(
    ("events", "result"),
    [
        ([*LOOKS, *step(1, "a", "rollout_lock", "acquired", HELD, "failed")], "failed"),
        ([*LOOKS, ("ends", 1, "a", "fail", "", "failed", UNSET, True)], "failed"),
        ([*begun("a", "b"), ("ends", 3, "a", "fail", "", "failed", REFUSED, True)], "failed"),
        ([*begun("a"), *ENDS], ""),
    ],
    ids=["the lock is held", "a variable is missing", "the plan refuses", "there is nothing to do"],
)
def test_what_began_nothing_leaves_no_page(tmp_path: Path, events: list[Any], result: str) -> None:
    show = shown(tmp_path, events, result)
    assert list(tmp_path.iterdir()) == []
    assert show.report is None
    assert "not touched" not in show.ending()
    if result:
        assert show.ending().startswith("rollout refused after 0:00, nothing was changed: ")


def test_what_began_leaves_a_page_also_where_it_failed(tmp_path: Path) -> None:
    failed = {"msg": "It is not healthy.", "outcome": "rolled_back", "seconds": {"total": 9.0}}
    show = shown(tmp_path, [*begun("a", "b"), *update("a", 3, SWAPPED), *update("b", 9, failed, "failed")], "failed")
    assert show.report is not None
    assert show.report.exists()
    assert show.report.with_suffix(".json").exists()
    assert show.ending().startswith("rollout failed after")
