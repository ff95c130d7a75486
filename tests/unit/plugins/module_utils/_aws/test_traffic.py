# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said of the requests before and after a change."""

from __future__ import annotations

from typing import Any, cast

import pytest

from ansible_collections.evenkeel.fleet.plugins.module_utils._aws.traffic import (
    LoadBalancerTraffic,
    Period,
    TrafficLimits,
    TrafficReport,
    TrafficWish,
    compare,
    problems,
    unclear,
)
from ansible_collections.evenkeel.fleet.plugins.module_utils._common.progress import OperationError


def periods(count: int, requests: float = 1000, errors: float = 0, p99: float | None = 0.2) -> list[Period]:
    return [Period(60.0 * number, requests, errors, p99) for number in range(count)]


@pytest.mark.parametrize(
    ("after", "words"),
    [
        (periods(3), ""),
        (periods(3, errors=20), "2.00% of the requests fail with 5xx, and 0.00% did before"),
        (periods(3, errors=2), ""),
        (periods(3, p99=0.5), "the 99th percentile of the response time is 0.5 s, and was 0.2 s"),
        (periods(3, p99=0.24), ""),
    ],
    ids=["the same", "errors", "few errors", "slow", "hardly slower"],
)
def test_what_got_worse(after: list[Period], words: str) -> None:
    found = problems(periods(5), after, TrafficLimits())
    assert [one[: len(words)] for one in found] == ([words] if words else [])


def test_without_requests_nothing_is_known() -> None:
    assert unclear(periods(5), []) == ["CloudWatch has no requests since the change (0 periods)"]
    assert unclear([], periods(1)) == ["CloudWatch has no requests before the change (0 periods)"]


class Figures:
    """Of the time before as many periods as are given, and since then one each minute."""

    def __init__(self, before: int, p99: float | None = 0.2) -> None:
        self.before, self.p99 = before, p99

    def periods(self, start: float, end: float) -> list[Period]:
        if end <= 0:
            return periods(self.before, p99=self.p99)
        return [Period(60.0 * number, 1000, 0, self.p99) for number in range(int(start) // 60, int(end) // 60)]


def watched(figures: Figures, seconds: float) -> TrafficReport:
    now = [0.0]
    report = TrafficReport(now=lambda: now[0], sleep=lambda pause: now.__setitem__(0, now[0] + pause))
    wish = TrafficWish(0.0, seconds, 900, 60, [], TrafficLimits())
    compare(wish, cast(LoadBalancerTraffic, figures), cast(Any, None), report, lambda: now[0])
    return report


def test_what_was_not_compared_is_said() -> None:
    assert watched(Figures(before=5), 240).warnings == []
    [after] = watched(Figures(before=5), 60).warnings
    assert "CloudWatch has it for 1 periods since the change, and 3 are needed. Watch for 240 s or more." in after
    [before] = watched(Figures(before=2), 240).warnings
    assert "for 2 periods before the change" in before


def test_figures_that_never_come_are_no_success() -> None:
    class Silent(Figures):
        def periods(self, start: float, end: float) -> list[Period]:
            return super().periods(start, end) if end <= 0 else []

    with pytest.raises(OperationError, match="It is not known how the requests fare: CloudWatch has no requests since"):
        watched(Silent(before=5), 60)
