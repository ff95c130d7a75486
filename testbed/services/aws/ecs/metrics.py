# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Load balancers' metrics in CloudWatch: GetMetricData of the requests that there were; moto answers all else.

AWS's: names, dimensions and statistics; no data point for a period without a value. Simplified: a period may be as
short as a second, and a request counts at once. AWS has 60 seconds, and a delay.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from .requests import APPLICATION, NETWORK, RequestLog, Series

Query = Mapping[str, Any]
OF_NAMESPACE = {
    APPLICATION: re.compile(
        r"RequestCount|TargetResponseTime|HTTPCode_(Target|ELB)_[1-5]XX_Count|HealthyHostCount|UnHealthyHostCount"
    ),
    NETWORK: re.compile(r"HealthyHostCount|UnHealthyHostCount"),
}


def serve(backend: Any, requests: RequestLog) -> None:
    """Let moto's backend of CloudWatch answer with them."""
    of_moto = backend.get_metric_data

    def get_metric_data(
        queries: Sequence[Query], start_time: datetime, end_time: datetime, scan_by: str = "TimestampAscending"
    ) -> list[dict[str, Any]]:
        ours = {query["Id"]: query for query in queries if _is_ours(query)}
        others = [query for query in queries if query["Id"] not in ours]
        found = {one["id"]: one for one in of_moto(others, start_time, end_time, scan_by)}
        for name, query in ours.items():
            if query.get("ReturnData", True):
                found[name] = _result(query, requests, start_time, end_time, descending=scan_by.endswith("Descending"))
        return [found[query["Id"]] for query in queries if query["Id"] in found]

    backend.get_metric_data = get_metric_data


def statistic(name: str, values: Sequence[float]) -> float:
    """Sum, Average, Minimum, Maximum, SampleCount, or a percentile such as p99, of values that are not empty."""
    if name.startswith("p"):
        ordered = sorted(values)
        return ordered[max(0, math.ceil(len(ordered) * float(name[1:]) / 100) - 1)]
    return {
        "Sum": sum(values),
        "Average": sum(values) / len(values),
        "Minimum": min(values),
        "Maximum": max(values),
        "SampleCount": float(len(values)),
    }[name]


def _is_ours(query: Query) -> bool:
    metric = query.get("MetricStat", {}).get("Metric", {})
    names = OF_NAMESPACE.get(metric.get("Namespace", ""))
    return bool(names and names.fullmatch(metric["MetricName"]))


def _result(query: Query, requests: RequestLog, start: datetime, end: datetime, *, descending: bool) -> dict[str, Any]:
    wanted = query["MetricStat"]
    metric, period = wanted["Metric"], int(wanted["Period"])
    dimensions = {one["Name"]: one["Value"].split("/") for one in metric.get("Dimensions", [])}
    # app/front/50dc6c495c0c9188 and targetgroup/users/73e2d6bc24d8a067
    balancer, group = (dimensions.get(name, ["", "", ""])[1] for name in ("LoadBalancer", "TargetGroup"))

    def fits(series: Series) -> bool:
        same = series[:3] == (metric["Namespace"], metric["MetricName"], balancer)
        return same and group in ("", series.group)

    first = _epoch(start) // period * period
    periods: dict[int, list[float]] = {}
    for second, values in requests.samples(fits, first, _epoch(end)).items():
        periods.setdefault(second // period * period, []).extend(values)
    points = sorted(
        ((moment, statistic(wanted["Stat"], values)) for moment, values in periods.items()), reverse=descending
    )
    return {
        "id": query["Id"],
        "label": query.get("Label") or metric["MetricName"],
        "values": [value for _moment, value in points],
        "timestamps": [datetime.fromtimestamp(moment, timezone.utc) for moment, _value in points],
        "status_code": "Complete",
    }


def _epoch(moment: datetime) -> int:
    return int((moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp())
