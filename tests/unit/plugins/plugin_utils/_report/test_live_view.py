# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.evenkeel.fleet.plugins.plugin_utils._report.live_view import (
    clipped,
    clock,
    columns,
    ending,
    live_view,
    news_line,
)
from ansible_collections.evenkeel.fleet.tests.unit.plugins.plugin_utils._report.told import (
    begun,
    recording,
    told,
    update,
)


def test_the_end_of_a_good_rollout() -> None:
    tracker = told(recording("succeeded"))
    assert live_view(tracker, 100.0, 100, 30) == [
        "rollout 1 → evenkeel/gateway@sha256:16005dcd1410  ci@runner-3",
        "succeeded · batch 3 of 3 · 3 of 3 hosts done · 1:20 elapsed · host-2 leads (term 2)",
        "✔ host-1  done          15.7 s  v2, swap 4.6 bake 3.0",
        "✔ host-2  done          20.9 s  leads, v2, swap 6.8 bake 3.0",
        "✔ host-3  done          15.5 s  v2, swap 5.1 bake 3.0",
    ]
    assert ending(tracker) == "rollout succeeded after 1:20 (3 done)"


def test_the_end_of_a_bad_one_says_who_and_why() -> None:
    tracker = told(recording("failed"))
    lines = live_view(tracker, 100.0, 200, 30)
    assert lines[2].startswith("✖ host-1  rolled back   24.9 s  serves, The container bk-gateway-api isn't healthy.")
    assert lines[4] == "· host-3  not touched"
    assert ending(tracker).startswith(
        "rollout failed after 0:51 (1 rolled back, 2 not touched): host-1 failed: The con"
    )
    assert ending(tracker).endswith("says version v1, not no-such-version.")


def test_every_change_is_a_line() -> None:
    tracker = told(recording("succeeded"))
    lines = [news_line(news) for news in tracker.take_news(1e9)]
    assert lines[0] == "   0:00  host-3: pulling"
    assert "   0:38  host-2: done in 20.9 s" in lines
    assert "   1:00  leader: host-1 → host-2 (handover, 0.04 s without a leader)" in lines


@pytest.mark.parametrize("name", ["succeeded", "failed"])
@pytest.mark.parametrize(("width", "height"), [(200, 60), (79, 24), (40, 5), (10, 3), (1, 1)])
def test_it_fits_at_any_moment(name: str, width: int, height: int) -> None:
    events = recording(name)
    for count in range(0, len(events), 5):
        tracker = told(events[:count], finish=None)
        lines = live_view(tracker, 100.0, width, height)
        assert len(lines) <= height
        assert all(columns(line) <= width for line in lines)


def test_who_is_in_work_or_in_trouble_is_shown_where_not_all_fit() -> None:
    hosts = [f"h{number}" for number in range(40)]
    events = [*begun(*hosts), *update("h33", 10.0, {"msg": "it crashed"}, "failed"), *update("h7", 20.0, {})[:-1]]
    lines = live_view(told(events, finish=None), 30.0, 79, 8)
    assert len(lines) == 8
    shown = [line.split()[1] for line in lines[2:-1]]
    assert {"h7", "h33"} <= set(shown)
    assert lines[-1].strip() == "… 35 waiting"


def test_what_is_left_to_go_is_told_once_it_is_known() -> None:
    events = [*begun("a", "b"), *update("a", 10.0, {}), *update("b", 30.0, {})]
    assert "about 0:20 to go" in live_view(told(events, finish=None), 30.0, 79, 24)[1]


@pytest.mark.parametrize(
    ("text", "width", "shown"),
    [("abc", 3, "abc"), ("abcd", 3, "ab…"), ("漢字漢", 5, "漢字…"), ("漢字", 3, "漢…"), ("a", 0, "")],
)
def test_text_is_clipped_by_the_columns_that_it_takes(text: str, width: int, shown: str) -> None:
    assert clipped(text, width) == shown


def test_an_hour_has_its_own_place() -> None:
    assert (clock(9.9), clock(75), clock(3723)) == ("0:09", "1:15", "1:02:03")
