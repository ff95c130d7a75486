# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: alarm_problems
short_description: Why CloudWatch alarms stop a rollout
version_added: 0.2.0
author: Contributors to evenkeel.fleet (@evenkeel)
description:
  - Takes the names of the alarms, and returns a sentence for each one that does not exist or is in the state C(ALARM).
options:
  _input:
    description: The names of the alarms.
    type: list
    elements: str
    required: true
  found:
    description: The alarms that exist, as C(metric_alarms) of C(amazon.aws.cloudwatch_metric_alarm_info).
    type: list
    elements: dict
    required: true
  region:
    description: The region that was searched.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Stop if an alarm is in alarm
  ansible.builtin.fail:
    msg: "{{ ['gateways-target-5xx'] | evenkeel.fleet.alarm_problems(alarms.metric_alarms, region='eu-central-1') }}"
"""

RETURN = r"""
_value:
  description: The sentences; empty if the rollout can continue.
  type: list
  elements: str
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any


def alarm_problems(names: Sequence[str], found: Sequence[Mapping[str, Any]], region: str) -> list[str]:
    if not names:
        return ["The hook alarms.yml has no alarm to check: set rollout_alarms to the names of the alarms."]
    existing = {alarm["alarm_name"] for alarm in found}
    missing = [f"The alarm {name} does not exist in {region}." for name in names if name not in existing]
    in_alarm = [alarm for alarm in found if alarm["state_value"] == "ALARM"]
    return missing + [f"The alarm {alarm['alarm_name']} is in alarm: {alarm['state_reason']}" for alarm in in_alarm]


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"alarm_problems": alarm_problems}
