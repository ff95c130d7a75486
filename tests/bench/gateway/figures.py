# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Processor time for each request and latency of several gateways, in rounds of equal load."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import NamedTuple, TypeVar

from tests.bench.gateway.load import Outcome, flood, offer
from tests.bench.gateway.machine import processor_seconds
from tests.bench.gateway.targets import Bench, Target

HEADLINE_RATE = 964  # requests a second, the figure that the gateways before this one were known by
BUSY_RATE = 3000  # what a single processor still has time for, with all features on
WARM_UP_SECONDS = 2  # what compiles while it runs has done so by then

_Measured = TypeVar("_Measured")


@dataclass
class Sample:
    """One stretch of load on one gateway."""

    outcome: Outcome
    microseconds: dict[str, float]  # processor time for each request, by program
    others: dict[str, float]  # the same of Redis and the upstream

    @property
    def total(self) -> float:
        return sum(self.microseconds.values())


@dataclass
class Series:
    """All stretches of one gateway."""

    target: Target
    samples: list[Sample] = field(default_factory=list)

    def middle(self, value: Callable[[Sample], float]) -> float:
        return median(value(sample) for sample in self.samples)

    @property
    def total(self) -> float:
        return self.middle(lambda sample: sample.total)

    @property
    def by_program(self) -> dict[str, float]:
        names = {name for sample in self.samples for name in sample.microseconds}
        found = {name: median(sample.microseconds.get(name, 0.0) for sample in self.samples) for name in names}
        return dict(sorted(found.items(), key=lambda item: -item[1]))

    @property
    def errors(self) -> int:
        return sum(sample.outcome.errors for sample in self.samples)


def sample(bench: Bench, target: Target, rate: float, seconds: float) -> Sample:
    around = (bench.redis_pid, bench.upstream_pid)
    before, others_before = processor_seconds(target.processes), processor_seconds(around)
    outcome = offer([target.url], rate, seconds, target.tokens)
    after, others_after = processor_seconds(target.processes), processor_seconds(around)
    return Sample(outcome, _each(before, after, outcome), _each(others_before, others_after, outcome))


def _each(before: dict[str, float], after: dict[str, float], outcome: Outcome) -> dict[str, float]:
    """What a program used, shared out among the requests; one that ended meanwhile does not count backwards."""
    return {name: max(0.0, after[name] - before.get(name, 0.0)) * 1e6 / outcome.wanted for name in after}


def in_turn(measured: list[_Measured], number: int) -> list[_Measured]:
    """All of them, for a round that begins with another one than the round before."""
    at = number % len(measured)
    return measured[at:] + measured[:at]


def rounds(
    bench: Bench, targets: list[Target], count: int, seconds: float, say: Callable[[str], None], rate: float
) -> list[Series]:
    """Each round takes every gateway once, and begins with another one."""
    series = [Series(target) for target in targets]
    for each in series:
        offer([each.target.url], rate, WARM_UP_SECONDS, each.target.tokens)
    for number in range(count):
        for each in in_turn(series, number):
            each.samples.append(sample(bench, each.target, rate, seconds))
        totals = ", ".join(f"{each.target.name} {each.samples[-1].total:.0f}" for each in series)
        say(f"round {number + 1} of {count}, µs of processor time a request: {totals}")
    return series


def ratio(one: Series, other: Series, value: Callable[[Sample], float]) -> float:
    """The median of the rounds' ratios: what disturbs a round disturbs both of them."""
    return median(value(a) / value(b) for a, b in zip(one.samples, other.samples))


class Flood(NamedTuple):
    """As many requests as go through: how many a second, and how many for each second of processor time."""

    rate: float
    per_core: float


@dataclass
class Saturation:
    """All floods of one gateway."""

    target: Target
    floods: list[Flood] = field(default_factory=list)

    @property
    def rate(self) -> float:
        return median(each.rate for each in self.floods)

    @property
    def per_core(self) -> float:
        return median(each.per_core for each in self.floods)

    def to(self, other: Saturation) -> float:
        """Requests per core, as the median of the rounds' ratios."""
        return median(a.per_core / b.per_core for a, b in zip(self.floods, other.floods))


def saturate(targets: list[Target], count: int, seconds: float, say: Callable[[str], None]) -> list[Saturation]:
    """Rounds as above, of requests as fast as responses come."""
    found = [Saturation(target) for target in targets]
    for number in range(count):
        for each in in_turn(found, number):
            before = sum(processor_seconds(each.target.processes).values())
            rate = flood(each.target.url, seconds, each.target.tokens[0], warm_up_seconds=0)
            used = sum(processor_seconds(each.target.processes).values()) - before
            each.floods.append(Flood(rate, rate * seconds / used))
        totals = ", ".join(f"{each.target.name} {each.floods[-1].per_core:.0f}" for each in found)
        say(f"round {number + 1} of {count}, requests/s per core: {totals}")
    return found


def dearest(one: Series, others: Sequence[Series], value: Callable[[Sample], float]) -> tuple[float, Series]:
    """The highest ratio of one to any of the others, and to which."""
    return max(((ratio(one, other, value), other) for other in others), key=lambda found: found[0])
