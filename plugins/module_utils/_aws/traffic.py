# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare the requests of an Application Load Balancer with the time before a change. Nothing here changes anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from statistics import median
from typing import Any

from .._common.chance import by_chance
from .._common.progress import NoAnswerError, OperationError, Progress
from .api import Api

SIGNIFICANCE = 0.01
# Fewer periods say too little of a percentile.
FEWEST = 3
# A smaller difference in seconds is no slowdown that a client notices.
NOTICED = 0.05
# CloudWatch has the figures of a minute some minutes later.
LATE = 180.0
LONGEST_PAUSE = 15.0
METRICS = {
    "requests": ("RequestCount", "Sum"),
    "of_targets": ("HTTPCode_Target_5XX_Count", "Sum"),
    "of_balancer": ("HTTPCode_ELB_5XX_Count", "Sum"),
    "p99": ("TargetResponseTime", "p99"),
}


@dataclass(frozen=True)
class Period:
    """The requests of some time from `start`, in seconds since 1970. p99: seconds, None where CloudWatch has none."""

    start: float
    requests: float
    errors: float
    p99: float | None


@dataclass(frozen=True)
class TrafficLimits:
    """As shares: 0.5 slower is half as long again, 0.005 more errors are half a percent of the requests."""

    slower: float = 0.5
    errors: float = 0.005


@dataclass(frozen=True)
class TrafficWish:
    """Times are in seconds since 1970, or lengths in seconds. before: how long the time to compare with is."""

    changed_at: float
    seconds: float
    before: float
    period: int
    alarms: Sequence[str]
    limits: TrafficLimits


@dataclass
class TrafficReport(Progress):
    """The result of a call so far."""

    result_word: str = "unclear"
    words: list[str] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)

    def result(self) -> dict[str, Any]:
        return {
            "changed": False,
            "result": self.result_word,
            "words": self.words,
            "figures": self.figures,
            "progress": self.progress,
            "seconds": round(self.seconds, 3),
        }


def problems(before: Sequence[Period], after: Sequence[Period], limits: TrafficLimits) -> list[str]:
    """What got worse, by more than chance and the limits."""
    found = []
    was, is_now = _totals(before), _totals(after)
    more = _share(is_now) - _share(was)
    if is_now[0] and more > limits.errors and by_chance(is_now[1], is_now[0], was[1], was[0]) < SIGNIFICANCE:
        found.append(f"{_share(is_now):.2%} of the requests fail with 5xx, and {_share(was):.2%} did before")
    old, new = _typical(before), _typical(after)
    if old is not None and new is not None and new > old * (1 + limits.slower) and new - old > NOTICED:
        found.append(
            f"the 99th percentile of the response time is {new:.3g} s, and was {old:.3g} s (allowed are "
            f"{old * (1 + limits.slower):.3g} s)"
        )
    return found


def unclear(before: Sequence[Period], after: Sequence[Period]) -> list[str]:
    """Why nothing can be said."""
    sides = (("before the change", before), ("since the change", after))
    return [
        f"CloudWatch has no requests {when} ({len(periods)} periods)"
        for when, periods in sides
        if not _totals(periods)[0]
    ]


def not_compared(before: Sequence[Period], after: Sequence[Period], wish: TrafficWish) -> list[str]:
    """What the comparison left out, with the remedy."""
    return [
        f"The 99th percentile of the response time was not compared: CloudWatch has it for {known} periods {when}, and "
        f"{FEWEST} are needed. {remedy}"
        for periods, when, remedy in (
            (before, "before the change", "Compare with a longer time before it."),
            (after, "since the change", f"Watch for {(FEWEST + 1) * wish.period} s or more."),
        )
        if (known := sum(one.p99 is not None for one in periods)) < FEWEST
    ]


def figures(periods: Sequence[Period]) -> dict[str, Any]:
    requests, errors = _totals(periods)
    return {"periods": len(periods), "requests": round(requests), "errors": round(errors), "p99": _typical(periods)}


class LoadBalancerTraffic:
    """Of one load balancer, whose ARN is given. `clock` gives seconds since 1970."""

    def __init__(self, watch: Api, arn: str, period: int) -> None:
        self._watch = watch
        self._dimension = arn.partition(":loadbalancer/")[2]
        self._period = period
        self._about = f"the metrics of the load balancer {self._dimension.split('/')[1]}"

    def periods(self, start: float, end: float) -> list[Period]:
        """The periods that begin and end within this time, in order."""
        first = -(-start // self._period) * self._period
        if end - first < self._period:
            return []
        queries = [
            {
                "Id": name,
                "MetricStat": {
                    "Metric": {
                        "Namespace": "AWS/ApplicationELB",
                        "MetricName": metric,
                        "Dimensions": [{"Name": "LoadBalancer", "Value": self._dimension}],
                    },
                    "Period": self._period,
                    "Stat": statistic,
                },
            }
            for name, (metric, statistic) in METRICS.items()
        ]
        found: dict[str, dict[float, float]] = {name: {} for name in METRICS}
        for one in self._watch.pages(
            "GetMetricData",
            self._about,
            "MetricDataResults",
            MetricDataQueries=queries,
            StartTime=datetime.fromtimestamp(first, timezone.utc),
            EndTime=datetime.fromtimestamp(end, timezone.utc),
        ):
            for moment, value in zip(one["Timestamps"], one["Values"]):
                found[one["Id"]][moment.timestamp()] = value
        return [
            Period(
                start=moment,
                requests=requests,
                errors=found["of_targets"].get(moment, 0.0) + found["of_balancer"].get(moment, 0.0),
                p99=found["p99"].get(moment),
            )
            for moment, requests in sorted(found["requests"].items())
            if moment + self._period <= end
        ]


def alarmed(watch: Api, names: Sequence[str]) -> list[str]:
    """What of these alarms says that something is wrong. An alarm that does not exist is unknown, and so is wrong."""
    if not names:
        return []
    listed = watch.call("DescribeAlarms", f"the alarms {', '.join(names)}", AlarmNames=list(names))
    found = {one["AlarmName"]: one for kind in ("MetricAlarms", "CompositeAlarms") for one in listed.get(kind, [])}
    missing = [f"the alarm {name} does not exist" for name in names if name not in found]
    return missing + [
        f"the alarm {name} is in alarm: {one.get('StateReason', '')}"
        for name, one in found.items()
        if one["StateValue"] == "ALARM"
    ]


def compare(
    wish: TrafficWish, traffic: LoadBalancerTraffic | None, watch: Api, report: TrafficReport, clock: Any
) -> None:
    """Watch for `wish.seconds`; OperationError as soon as something is wrong, or where nothing can be said at the end.

    Without `traffic`, only alarms are watched.
    """
    started = clock()
    before: list[Period] = []
    after: list[Period] = []

    def arrived() -> bool:
        nonlocal before, after
        wrong = alarmed(watch, wish.alarms)
        if traffic:
            before = before or traffic.periods(wish.changed_at - wish.before, wish.changed_at)
            after = traffic.periods(started, clock())
            report.figures = {"before": figures(before), "after": figures(after)}
            if after:
                report.note(_words(after))
            wrong += problems(before, after, wish.limits)
        if wrong:
            report.result_word, report.words = "condemned", wrong
            raise OperationError(f"{'; '.join(wrong)}.")
        if clock() - started < wish.seconds:
            return False
        return not traffic or (bool(after) and after[-1].start + wish.period >= started + wish.seconds - wish.period)

    report.timeout = wish.seconds + (LATE if traffic else 0.0)
    # Late figures are no reason to wait for more of them.
    try:
        report.wait(arrived, min(LONGEST_PAUSE, max(1.0, wish.period / 2)))
    except NoAnswerError as error:
        raise OperationError(f"It is not known how the requests fare: {error}") from error
    missing = unclear(before, after) if traffic else []
    if missing:
        report.words = missing
        raise OperationError(
            f"It is not known how the requests fare: {'; '.join(missing)}. Check the load balancer's name, and wait "
            "for longer; without requests, compare nothing."
        )
    if traffic:
        report.warnings += not_compared(before, after, wish)
    report.result_word, report.words = "promoted", [_words(after)] if traffic else []


def _words(periods: Sequence[Period]) -> str:
    requests, errors = _totals(periods)
    slowest = _typical(periods)
    tail = f", the 99th percentile is {slowest:.3g} s" if slowest is not None else ""
    return f"{requests:.0f} requests, {errors:.0f} of them failed{tail}"


def _totals(periods: Sequence[Period]) -> tuple[float, float]:
    return sum(one.requests for one in periods), sum(one.errors for one in periods)


def _share(totals: tuple[float, float]) -> float:
    requests, errors = totals
    return errors / requests if requests else 0.0


def _typical(periods: Sequence[Period]) -> float | None:
    known = [one.p99 for one in periods if one.p99 is not None]
    return median(known) if len(known) >= FEWEST else None
