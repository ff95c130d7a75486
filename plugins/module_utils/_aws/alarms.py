# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The declared CloudWatch alarms and dashboard."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .._common.progress import OperationError
from .api import Api, RefusedError

Alarm = Mapping[str, Any]
AT_ONCE = 100
NO_DASHBOARD = ("ResourceNotFound", "ResourceNotFoundException", "DashboardNotFoundError")
# The fields of DescribeAlarms that PutMetricAlarm takes, except ActionsEnabled, which operators set.
SETTINGS = (
    "AlarmName",
    "AlarmDescription",
    "OKActions",
    "AlarmActions",
    "InsufficientDataActions",
    "MetricName",
    "Namespace",
    "Statistic",
    "ExtendedStatistic",
    "Dimensions",
    "Period",
    "Unit",
    "EvaluationPeriods",
    "DatapointsToAlarm",
    "Threshold",
    "ComparisonOperator",
    "TreatMissingData",
    "EvaluateLowSampleCountPercentile",
    "Metrics",
    "ThresholdMetricId",
)
BY = {"Dimensions": "Name", "Metrics": "Id"}


@dataclass
class Outcome:
    """before and after have the alarms by name and the dashboard, as far as they are declared."""

    changed: bool = False
    before: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def ensure_alarms(watch: Api, wanted: Sequence[Alarm], unwanted: Sequence[str], check_mode: bool) -> Outcome:
    """Put the alarms that differ, with PutMetricAlarm's own parameters, and delete the unwanted ones."""
    for alarm in wanted:
        unknown = sorted(set(alarm) - set(SETTINGS))
        if unknown or "AlarmName" not in alarm:
            problem = f"PutMetricAlarm has no {', '.join(unknown)}" if unknown else "an alarm needs its AlarmName"
            raise OperationError(f"{alarm.get('AlarmName', 'An alarm')}: {problem}.")
    after = {str(alarm["AlarmName"]): settings(alarm) for alarm in wanted}
    found = _described(watch, [*after, *unwanted])
    outcome = Outcome(before={name: settings(alarm) for name, alarm in found.items()}, after=after)
    outcome.changed = outcome.before != outcome.after
    if check_mode:
        return outcome
    for name, alarm in after.items():
        if outcome.before.get(name) != alarm:
            enabled = found.get(name, {}).get("ActionsEnabled", True)
            watch.call("PutMetricAlarm", f"the alarm {name}", **alarm, ActionsEnabled=enabled)
    gone = [name for name in outcome.before if name not in after]
    if gone:
        for some in _portions(gone):
            watch.call("DeleteAlarms", "the alarms " + ", ".join(some), AlarmNames=some)
    return outcome


def ensure_dashboard(watch: Api, name: str, body: Mapping[str, Any] | None, check_mode: bool) -> Outcome:
    """Put the dashboard where it differs; without a body, delete it."""
    about = f"the dashboard {name}"
    outcome = Outcome()
    try:
        outcome.before = {name: json.loads(watch.call("GetDashboard", about, DashboardName=name)["DashboardBody"])}
    except RefusedError as error:
        if error.code not in NO_DASHBOARD:
            raise
    if body is not None:
        outcome.after = {name: body}
    outcome.changed = outcome.before != outcome.after
    if check_mode or not outcome.changed:
        return outcome
    if body is None:
        watch.call("DeleteDashboards", about, DashboardNames=[name])
        return outcome
    put = watch.call("PutDashboard", about, DashboardName=name, DashboardBody=json.dumps(body))
    outcome.warnings = [item.get("Message", "") for item in put.get("DashboardValidationMessages", [])]
    return outcome


def settings(alarm: Alarm) -> dict[str, Any]:
    """For comparison: without empty values and defaults, and with sorted lists."""
    kept = {key: alarm[key] for key in SETTINGS if alarm.get(key) not in (None, "", [], {})}
    for key, by in BY.items():
        if key in kept:
            kept[key] = _sorted(map(_tidy, kept[key]), by)
    return {"TreatMissingData": "missing", **kept}


def _tidy(entry: Mapping[str, Any]) -> dict[str, Any]:
    """An entry of Dimensions or Metrics, with sorted inner dimensions and without empty ones."""
    tidy = {key: value for key, value in entry.items() if value not in (None, "", [], {})}
    if "MetricStat" in tidy:
        stat = dict(tidy["MetricStat"])
        stat["Metric"] = dict(stat["Metric"])
        stat["Metric"]["Dimensions"] = _sorted(stat["Metric"].get("Dimensions", []), "Name")
        tidy["MetricStat"] = {key: value for key, value in stat.items() if value not in (None, "")}
    return tidy


def _sorted(entries: Iterable[Mapping[str, Any]], by: str) -> list[Mapping[str, Any]]:
    return sorted(entries, key=lambda entry: str(entry.get(by)))


def _described(watch: Api, names: Sequence[str]) -> dict[str, Alarm]:
    kinds = {"AlarmTypes": ["MetricAlarm"], "MaxRecords": AT_ONCE}
    found: dict[str, Alarm] = {}
    for some in _portions(names):
        said = watch.call("DescribeAlarms", "the alarms", AlarmNames=some, **kinds)
        found.update({alarm["AlarmName"]: alarm for alarm in said["MetricAlarms"]})
    return found


def _portions(names: Sequence[str]) -> list[list[str]]:
    """The names in chunks that AWS accepts in one call."""
    return [list(names[start : start + AT_ONCE]) for start in range(0, len(names), AT_ONCE)]
