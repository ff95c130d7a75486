# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare hosts with a new image to those with the old one, at the same time, by the requests of their clients.

Hosts are watched in the same time windows. In a window, canaries and others have the same load balancer, the same
backends and the same kind of requests, so that only their own differences remain. Each rule condemns an equal canary in
at most one of a hundred cases (SIGNIFICANCE):

- errors: the share of 5xx responses is larger by more than `errors`, and significant by Fisher's exact test.
- latency: in every route and window of at least FEWEST requests on either side, the logarithm of the ratio of the mean
  durations; their weighted mean is the slowdown. It is larger than `slower`, and by Student's t over these ratios it is
  above zero. Common changes, such as of the load, cancel out; permanent differences between hosts do not.
- tail: requests slower than the others' 99th percentile (the bound of the histogram next above it) are more than
  TAIL_TIMES as frequent, by Fisher's test again.
- restarts: a canary's process restarted.

If there are too few requests to see a slowdown or errors of that size, the verdict is unclear, and an unclear verdict
does not promote the canary.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any

from .._common.chance import by_chance

SIGNIFICANCE = 0.01
FEWEST = 30
TAIL = 0.01
TAIL_TIMES = 2.0
# The number of expected errors of a canary at the limit from which their absence is significant.
ERRORS_SEEN = 5


@dataclass(frozen=True)
class Traffic:
    """Requests of one route: how many, how many of them failed, seconds in all, and by the histogram's upper bounds
    how many took no longer. Two of them can be added, and an earlier one of a host subtracted from a later one."""

    requests: float = 0.0
    errors: float = 0.0
    seconds: float = 0.0
    within: Mapping[float, float] = field(default_factory=dict)

    def __add__(self, other: Traffic) -> Traffic:
        return self._with(other, 1.0)

    def __sub__(self, other: Traffic) -> Traffic:
        return self._with(other, -1.0)

    @property
    def mean(self) -> float:
        return self.seconds / self.requests if self.requests else 0.0

    def slower_than(self, bound: float) -> float:
        return self.requests - self.within.get(bound, self.requests)

    def percentile(self, share: float) -> float:
        """The bound below which this share of the requests lies; infinite above all bounds."""
        return next((bound for bound, count in sorted(self.within.items()) if count >= share * self.requests), math.inf)

    def _with(self, other: Traffic, sign: float) -> Traffic:
        bounds = {**other.within, **self.within}
        return Traffic(
            self.requests + sign * other.requests,
            self.errors + sign * other.errors,
            self.seconds + sign * other.seconds,
            {bound: self.within.get(bound, 0.0) + sign * other.within.get(bound, 0.0) for bound in bounds},
        )


@dataclass(frozen=True)
class Sample:
    """The counters of a host at a moment: `window` counts intervals since 1970, `process` changes with a restart."""

    window: int
    process: float
    routes: Mapping[str, Traffic]


@dataclass(frozen=True)
class Limits:
    """As shares: 0.025 slower are 2.5 percent, 0.005 more errors are half a percent of the requests."""

    slower: float = 0.025
    errors: float = 0.005


@dataclass(frozen=True)
class Verdict:
    """result is promoted, condemned or unclear; words say why, for people; figures do so for programs."""

    result: str
    words: tuple[str, ...]
    figures: Mapping[str, Any]


def judge(
    canaries: Mapping[str, Sequence[Sample]], others: Mapping[str, Sequence[Sample]], limits: Limits | None = None
) -> Verdict:
    """Compare hosts by their samples, which are in order of time."""
    limits = limits or Limits()
    windows, rest = _windows(canaries.values()), _windows(others.values())
    shared = sorted(windows.keys() & rest.keys())
    pairs = [(windows[window], rest[window]) for window in shared]
    canary = _sum(traffic for window in shared for traffic in windows[window].values())
    other = _sum(traffic for window in shared for traffic in rest[window].values())
    slowdown, error = _slowdown(pairs)
    bound = other.percentile(1 - TAIL)
    restarted = sorted(host for host, samples in canaries.items() if len({sample.process for sample in samples}) > 1)
    silent = sorted(host for host, samples in {**canaries, **others}.items() if len(samples) < 2)
    figures = {
        "windows": len(shared),
        "canary": _figures(canary, bound),
        "others": _figures(other, bound),
        "slower": None if slowdown is None else round(slowdown, 5),
        "slower_error": None if error is None else round(error, 5),
        "restarted": restarted,
    }
    bad = [
        *(f"{host} was restarted" for host in restarted),
        *_too_many_errors(canary, other, limits),
        *_too_slow(slowdown, error, limits),
        *_too_long_a_tail(canary, other, bound),
    ]
    if bad:
        return Verdict("condemned", tuple(bad), figures)
    unclear = [
        *(f"{host} did not report its metrics" for host in silent),
        *_not_enough(canary, other, len(shared), slowdown, error, limits),
    ]
    if unclear:
        return Verdict("unclear", tuple(unclear), figures)
    return Verdict("promoted", (_good(canary, other, slowdown or 0.0),), figures)


def _windows(hosts: Iterable[Sequence[Sample]]) -> dict[int, dict[str, Traffic]]:
    """The sum of these hosts' traffic, by window."""
    found: dict[int, dict[str, Traffic]] = {}
    for samples in hosts:
        for before, after in zip(samples, samples[1:]):
            if after.window != before.window + 1 or after.process != before.process:
                continue
            routes = found.setdefault(after.window, {})
            for route, traffic in after.routes.items():
                routes[route] = routes.get(route, Traffic()) + (traffic - before.routes.get(route, Traffic()))
    return found


def _slowdown(
    pairs: Sequence[tuple[Mapping[str, Traffic], Mapping[str, Traffic]]],
) -> tuple[float | None, float | None]:
    """By how much the canaries are slower, as a share, and its standard error; None if it can't be computed."""
    logs, weights = [], []
    for route in {route for pair in pairs for route in pair[0]}:
        canary, other = Traffic(), Traffic()
        for ours, theirs in pairs:
            # Windows with few requests are combined.
            canary, other = canary + ours.get(route, Traffic()), other + theirs.get(route, Traffic())
            if min(canary.requests, other.requests) >= FEWEST:
                if canary.seconds > 0 and other.seconds > 0:
                    logs.append(math.log(canary.mean / other.mean))
                    weights.append(1 / (1 / canary.requests + 1 / other.requests))
                canary, other = Traffic(), Traffic()
    total = sum(weights)
    if not logs:
        return None, None
    mean = sum(weight * log for weight, log in zip(weights, logs)) / total
    if len(logs) < 3:
        return math.expm1(mean), None
    spread = sum((weight * (log - mean)) ** 2 for weight, log in zip(weights, logs)) / total**2
    # Student's t as a wider normal distribution, which is close for as few as five degrees of freedom.
    error = math.sqrt(spread * len(logs) / (len(logs) - 1)) * _student(len(logs) - 1) / _normal()
    return math.expm1(mean), error


def _too_many_errors(canary: Traffic, other: Traffic, limits: Limits) -> list[str]:
    more = _share(canary.errors, canary.requests) - _share(other.errors, other.requests)
    if more <= limits.errors:
        return []
    chance = by_chance(canary.errors, canary.requests, other.errors, other.requests)
    if chance >= SIGNIFICANCE:
        return []
    return [f"{_errors(canary)} of its requests fail, and {_errors(other)} of the others' ({_odds(chance)})"]


def _too_slow(slowdown: float | None, error: float | None, limits: Limits) -> list[str]:
    if slowdown is None or error is None or slowdown <= limits.slower or slowdown <= _normal() * error:
        return []
    return [f"it is slower by {slowdown:.1%} (± {error:.1%}, allowed are {limits.slower:.1%})"]


def _too_long_a_tail(canary: Traffic, other: Traffic, bound: float) -> list[str]:
    slow, slow_others = canary.slower_than(bound), other.slower_than(bound)
    share, usual = _share(slow, canary.requests), _share(slow_others, other.requests)
    if not math.isfinite(bound) or share <= max(TAIL_TIMES * usual, TAIL):
        return []
    chance = by_chance(slow, canary.requests, slow_others, other.requests)
    if chance >= SIGNIFICANCE:
        return []
    return [f"{share:.2%} of its requests take more than {bound:g} s, and {usual:.2%} of the others' ({_odds(chance)})"]


def _not_enough(
    canary: Traffic, other: Traffic, windows: int, slowdown: float | None, error: float | None, limits: Limits
) -> list[str]:
    if not windows:
        return [
            "the hosts were not watched at the same time: raise Ansible's forks to the number of compared hosts, "
            "and synchronize their clocks"
        ]
    expected = min(canary.requests, other.requests) * limits.errors
    if expected < ERRORS_SEEN:
        needed = math.ceil(ERRORS_SEEN / limits.errors)
        return [
            f"{canary.requests:.0f} requests to it and {other.requests:.0f} to the others are too few to tell whether "
            f"more of them fail ({needed} are needed of each): watch for longer"
        ]
    if slowdown is None or error is None:
        return ["no route had enough requests to compare how long they take: watch for longer"]
    finest = _normal() * error
    if finest > limits.slower:
        longer = (finest / limits.slower) ** 2
        return [
            f"a slowdown of {limits.slower:.1%} can't be told from chance (± {error:.1%}): watch {longer:.1f} times as "
            f"long, or allow {finest:.1%}"
        ]
    return []


def _good(canary: Traffic, other: Traffic, slowdown: float) -> str:
    pace = f"slower by {slowdown:.1%}" if slowdown >= 0 else f"faster by {-slowdown:.1%}"
    return (
        f"{canary.requests:.0f} requests to it and {other.requests:.0f} to the others: {_errors(canary)} and "
        f"{_errors(other)} of them fail, and it is {pace}"
    )


def _normal() -> float:
    return NormalDist().inv_cdf(1 - SIGNIFICANCE)


def _student(freedom: int) -> float:
    """The quantile of Student's t, by the expansion of Fisher and Cornish."""
    z, n = _normal(), float(freedom)
    return (
        z
        + (z**3 + z) / (4 * n)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * n**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * n**3)
    )


def _sum(traffic: Iterable[Traffic]) -> Traffic:
    total = Traffic()
    for part in traffic:
        total = total + part
    return total


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def _errors(traffic: Traffic) -> str:
    return f"{_share(traffic.errors, traffic.requests):.2%}"


def _odds(chance: float) -> str:
    return (
        "by chance in less than one of a million cases" if chance < 1e-6 else f"by chance in {chance:.1g} of all cases"
    )


def _figures(traffic: Traffic, bound: float) -> dict[str, Any]:
    return {
        "requests": round(traffic.requests),
        "errors": round(traffic.errors),
        "mean_seconds": round(traffic.mean, 6),
        "p99_seconds": _finite(traffic.percentile(1 - TAIL)),
        "slower_than_p99": round(_share(traffic.slower_than(bound), traffic.requests), 6),
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
