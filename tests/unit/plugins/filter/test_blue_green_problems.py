# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.evenkeel.fleet.plugins.filter.blue_green_problems import blue_green_problems

SIDES = {"blue": ["a", "b"], "green": ["c"]}


def problems(sides: dict[str, list[str]] | None = None, **changed: Any) -> list[str]:
    settings = {
        "hosts": ["a", "b", "c"],
        "selected": ["a", "b", "c"],
        "balancer": "haproxy",
        "groups": {},
        "scaling_groups": {},
        "scales_in": False,
        "into": "",
    }
    return blue_green_problems(SIDES if sides is None else sides, **{**settings, **changed})


def test_two_sides_behind_a_load_balancer_can_be_switched() -> None:
    both = {"blue": "one", "green": "two"}
    assert problems() == []
    assert problems(into="green", balancer="target_group", groups=both, scales_in=True, scaling_groups=both) == []


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"sides": {"blue": ["a", "b", "c"]}}, "rollout_sides has 1 sides; it must have two."),
        ({"selected": ["a", "b"]}, "All requests are switched at once: run it without --limit."),
        ({"balancer": "none"}, "Set rollout_lb: without a load balancer, requests can't be switched."),
        (
            {"balancer": "target_group", "groups": {"blue": "one"}},
            "rollout_side_groups must name the target group of each side.",
        ),
        (
            {"scales_in": True, "scaling_groups": {"blue": "one"}},
            "rollout_side_scaling_groups must name the Auto Scaling group of each side.",
        ),
        ({"into": "red"}, "rollout_into is red; the sides are blue and green."),
    ],
)
def test_a_setting_that_is_wrong_is_named(changed: dict[str, Any], problem: str) -> None:
    assert problems(**changed) == [problem]


def test_each_host_is_in_one_side() -> None:
    for sides in ({"blue": ["a"], "green": ["c"]}, {"blue": ["a", "b"], "green": ["b", "c"]}):
        [problem] = problems(sides)
        assert problem == f"Each host of rollout_hosts must be in exactly one side: {sides}."


def test_a_side_without_hosts_is_named() -> None:
    [problem] = problems({"blue": ["a", "b", "c"], "green": []})
    assert "put the hosts into the groups blue and green, or set rollout_sides" in problem
