# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

from ansible_collections.evenkeel.fleet.plugins.filter.alarm_dashboard import alarm_dashboard

METRIC = {
    "Namespace": "AWS/ApplicationELB",
    "MetricName": "RequestCount",
    "Dimensions": [{"Name": "LoadBalancer", "Value": "app/a/1"}, {"Name": "TargetGroup", "Value": "targetgroup/b/2"}],
}
ROW = ["AWS/ApplicationELB", "RequestCount", "LoadBalancer", "app/a/1", "TargetGroup", "targetgroup/b/2"]


def properties(alarm: dict[str, Any]) -> dict[str, Any]:
    [widget] = alarm_dashboard([{"AlarmName": "errors", "Threshold": 2.5, **alarm}], region="eu-central-1")["widgets"]
    shown: dict[str, Any] = widget["properties"]
    return shown


def test_a_graph_has_metric_and_threshold() -> None:
    assert properties({**METRIC, "Statistic": "Maximum"}) == {
        "title": "errors",
        "region": "eu-central-1",
        "period": 60,
        "view": "timeSeries",
        "metrics": [[*ROW, {"stat": "Maximum"}]],
        "annotations": {"horizontal": [{"label": "alarm", "value": 2.5}]},
    }
    assert properties({**METRIC, "ExtendedStatistic": "p99"})["metrics"] == [[*ROW, {"stat": "p99"}]]


def test_of_a_calculation_only_the_result_is_drawn() -> None:
    parts = [
        {"Id": "rate", "Expression": "100 * errors / requests", "Label": "errors in %", "ReturnData": True},
        {"Id": "requests", "ReturnData": False, "MetricStat": {"Stat": "Sum", "Period": 60, "Metric": METRIC}},
    ]
    assert properties({"Metrics": parts})["metrics"] == [
        [{"expression": "100 * errors / requests", "label": "errors in %", "id": "rate"}],
        [*ROW, {"id": "requests", "stat": "Sum", "visible": False}],
    ]


def test_three_graphs_stand_in_a_row() -> None:
    alarms = [{**METRIC, "AlarmName": str(number), "Threshold": 1, "Statistic": "Sum"} for number in range(5)]
    widgets = alarm_dashboard(alarms, region="eu-central-1")["widgets"]
    places = [(widget["x"], widget["y"], widget["width"], widget["height"]) for widget in widgets]
    assert places == [(0, 0, 8, 6), (8, 0, 8, 6), (16, 0, 8, 6), (0, 6, 8, 6), (8, 6, 8, 6)]
