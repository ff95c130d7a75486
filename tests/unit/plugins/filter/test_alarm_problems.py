# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.evenkeel.fleet.plugins.filter.alarm_problems import alarm_problems


def alarm(name: str, state: str) -> dict[str, str]:
    return {"alarm_name": name, "state_value": state, "state_reason": "5 > 1"}


def test_alarms_that_are_quiet_or_have_no_data_stop_nothing() -> None:
    found = [alarm("5xx", "OK"), alarm("p99", "INSUFFICIENT_DATA")]
    assert alarm_problems(["5xx", "p99"], found, region="eu-central-1") == []


def test_alarms_that_are_missing_or_in_alarm_are_named() -> None:
    assert alarm_problems(["5xx", "p99"], [alarm("5xx", "ALARM")], region="eu-central-1") == [
        "The alarm p99 does not exist in eu-central-1.",
        "The alarm 5xx is in alarm: 5 > 1",
    ]


def test_no_name_is_a_mistake() -> None:
    [problem] = alarm_problems([], [], region="eu-central-1")
    assert "set rollout_alarms" in problem
