# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hook alarms.yml of a rollout, on hosts and on Kubernetes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.aws.stage import Played, play
from tests.integration.endpoint import REGION, Endpoint

HOOKED = """
- hosts: localhost
  gather_facts: false
  tasks:
    - ansible.builtin.include_role:
        name: evenkeel.fleet.{role}
        tasks_from: alarms
        rolespec_validate: false
"""
REGIONS = {"rollout": "rollout_region", "kubernetes": "kubernetes_alarms_region"}
ALARM: dict[str, Any] = {
    "Namespace": "AWS/ApplicationELB",
    "MetricName": "TargetResponseTime",
    "ExtendedStatistic": "p99",
    "Period": 60,
    "EvaluationPeriods": 3,
    "Threshold": 1.0,
    "ComparisonOperator": "GreaterThanThreshold",
}


@pytest.fixture(scope="module")
def served() -> Iterator[Endpoint]:
    with Endpoint() as endpoint:
        yield endpoint
        # All tests of a process share one account.
        endpoint.client("cloudwatch").delete_alarms(AlarmNames=["errors", "p99"])


def look(endpoint: Endpoint, folder: Path, *alarms: str, key: str = "AKIATEST", role: str = "rollout") -> Played:
    playbook = folder / "hooked.yml"
    playbook.write_text(HOOKED.format(role=role))
    chosen = {f"{role}_alarms": alarms, REGIONS[role]: REGION}
    return play(endpoint, chosen, playbook=str(playbook), key=key)


def test_an_alarm_that_goes_off_stops_a_rollout(served: Endpoint, tmp_path: Path) -> None:
    endpoint = served.at_its_best()
    cloudwatch = endpoint.client("cloudwatch")
    for name in ("errors", "p99"):
        cloudwatch.put_metric_alarm(AlarmName=name, **ALARM)
    assert look(endpoint, tmp_path, "errors", "p99").code == 0, "no data is no alarm"
    cloudwatch.set_alarm_state(AlarmName="errors", StateValue="OK", StateReason="quiet")
    cloudwatch.set_alarm_state(AlarmName="p99", StateValue="ALARM", StateReason="3 datapoints were above 1.0")
    assert look(endpoint, tmp_path, "errors").code == 0, "others' alarms are not asked for"
    stopped = look(endpoint, tmp_path, "errors", "p99", "typo")
    assert stopped.code != 0
    assert stopped.failures == (
        f"The alarm typo does not exist in {REGION}. The alarm p99 is in alarm: 3 datapoints were above 1.0"
    )


def test_a_question_without_an_answer_stops_it_too(served: Endpoint, tmp_path: Path) -> None:
    endpoint = served.at_its_best()
    denied = look(endpoint, tmp_path, "errors", key="AKIADENIED")
    assert denied.code != 0 and "cloudwatch:DescribeAlarms" in denied.failures
    nothing = look(endpoint, tmp_path)
    assert nothing.code != 0 and "set rollout_alarms" in nothing.failures


def test_the_hook_of_kubernetes_checks_its_own_alarms(served: Endpoint, tmp_path: Path) -> None:
    endpoint = served.at_its_best()
    cloudwatch = endpoint.client("cloudwatch")
    for name, state in (("errors", "OK"), ("p99", "ALARM")):
        cloudwatch.put_metric_alarm(AlarmName=name, **ALARM)
        cloudwatch.set_alarm_state(AlarmName=name, StateValue=state, StateReason="3 datapoints were above 1.0")
    assert look(endpoint, tmp_path, "errors", role="kubernetes").code == 0
    stopped = look(endpoint, tmp_path, "errors", "p99", role="kubernetes")
    assert stopped.code != 0
    assert stopped.failures == "The alarm p99 is in alarm: 3 datapoints were above 1.0"
