# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: alarm_dashboard
short_description: The body of a CloudWatch dashboard with a graph for each alarm
version_added: 0.2.0
author: Contributors to evenkeel.fleet (@evenkeel)
description:
  - Takes alarms in the form of CloudWatch's PutMetricAlarm, and returns the body of a dashboard.
  - Each graph shows the metrics of one alarm, and its threshold as a line. There are three graphs in a row.
options:
  _input:
    description: The alarms.
    type: list
    elements: dict
    required: true
  region:
    description: The region of the metrics.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Show the body
  ansible.builtin.debug:
    msg: "{{ _alarms_watched | evenkeel.fleet.alarm_dashboard(region='eu-central-1') }}"
"""

RETURN = r"""
_value:
  description: The body, with its C(widgets).
  type: dict
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

WIDTH = 8
HEIGHT = 6
COLUMNS = 3


def _metric(metric: Mapping[str, Any]) -> list[Any]:
    """Namespace, name and dimensions, as a dashboard lists them."""
    pairs = [text for pair in metric["Dimensions"] for text in (pair["Name"], pair["Value"])]
    return [metric["Namespace"], metric["MetricName"], *pairs]


def _metrics(alarm: Mapping[str, Any]) -> list[list[Any]]:
    if "Metrics" not in alarm:
        return [[*_metric(alarm), {"stat": alarm.get("Statistic") or alarm.get("ExtendedStatistic")}]]
    rows = []
    for metric in alarm["Metrics"]:
        if "Expression" in metric:
            rows.append([{"expression": metric["Expression"], "label": metric["Label"], "id": metric["Id"]}])
        else:
            what = metric["MetricStat"]
            rows.append([*_metric(what["Metric"]), {"id": metric["Id"], "stat": what["Stat"], "visible": False}])
    return rows


def alarm_dashboard(alarms: Sequence[Mapping[str, Any]], region: str) -> dict[str, Any]:
    widgets = [
        {
            "type": "metric",
            "width": WIDTH,
            "height": HEIGHT,
            "x": index % COLUMNS * WIDTH,
            "y": index // COLUMNS * HEIGHT,
            "properties": {
                "title": alarm["AlarmName"],
                "region": region,
                "period": 60,
                "view": "timeSeries",
                "metrics": _metrics(alarm),
                "annotations": {"horizontal": [{"label": "alarm", "value": alarm["Threshold"]}]},
            },
        }
        for index, alarm in enumerate(alarms)
    ]
    return {"widgets": widgets}


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"alarm_dashboard": alarm_dashboard}
