# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The verdict on a canary, over generated traffic: load varies, and hosts do not get the same requests."""

from __future__ import annotations

import itertools
import random
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import inf
from typing import Any

import pytest

from ansible_collections.evenkeel.fleet.plugins.module_utils._common.chance import by_chance
from ansible_collections.evenkeel.fleet.plugins.module_utils._rollout.canary import (
    Limits,
    Sample,
    Traffic,
    Verdict,
    judge,
)

BOUNDS = (0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
# A route's median in seconds, and its share of the requests.
ROUTES = {"/users": (0.004, 0.7), "/orders": (0.03, 0.3)}
SEEDS = range(20)


@dataclass(frozen=True)
class Image:
    """How the requests to a host with it fare."""

    slower: float = 0.0
    errors: float = 0.0005
    stuck: float = 0.0


EQUAL, SLOWER, FAILING = Image(), Image(slower=0.05), Image(errors=0.01)


def watched(draw: random.Random, image: Image, load: list[float], rate: float) -> list[Sample]:
    """Samples of one host through windows of five seconds; load is the factor on all durations."""
    totals: dict[str, list[Any]] = {route: [0.0, 0.0, 0.0, [0.0] * (len(BOUNDS) + 1)] for route in ROUTES}
    samples = []
    for window, factor in enumerate([0.0, *load]):
        for route, (median, share) in ROUTES.items() if window else ():
            total = totals[route]
            for _request in range(int(draw.gauss(rate * 5 * share, (rate * 5 * share) ** 0.5))):
                seconds = median * factor * (1 + image.slower) * draw.lognormvariate(0, 0.6)
                seconds += 3.0 if draw.random() < image.stuck else 0.0
                total[0] += 1
                total[1] += draw.random() < image.errors
                total[2] += seconds
                total[3][bisect_left(BOUNDS, seconds)] += 1
        routes = {
            route: Traffic(count, errors, seconds, dict(zip((*BOUNDS, inf), itertools.accumulate(buckets))))
            for route, (count, errors, seconds, buckets) in totals.items()
        }
        samples.append(Sample(window, 1.0, routes))
    return samples


def verdict(seed: int, image: Image, *, windows: int = 60, rate: float = 50, limits: Limits | None = None) -> Verdict:
    draw = random.Random(seed)
    load = [1 + 0.3 * draw.random() + (0.5 if draw.random() < 0.1 else 0.0) for _window in range(windows)]
    canaries = {"host-1": watched(draw, image, load, rate)}
    others = {f"host-{number}": watched(draw, EQUAL, load, rate) for number in (2, 3)}
    return judge(canaries, others, limits)


@pytest.mark.parametrize(("image", "result"), [(EQUAL, "promoted"), (SLOWER, "condemned"), (FAILING, "condemned")])
def test_in_nineteen_of_twenty_runs_the_verdict_is_right(image: Image, result: str) -> None:
    assert [verdict(seed, image).result for seed in SEEDS].count(result) >= 19


def test_the_words_have_the_figures() -> None:
    slower, failing = verdict(1, SLOWER), verdict(1, FAILING)
    assert [words.partition(" (")[0][:18] for words in slower.words] == ["it is slower by 5."]
    assert "of its requests fail" in failing.words[0]
    assert 0.03 < slower.figures["slower"] < 0.07
    assert failing.figures["canary"]["errors"] > 50 > failing.figures["others"]["errors"] > 0


def test_a_few_that_take_for_ever_are_seen_where_all_others_are_as_fast() -> None:
    found = verdict(1, Image(stuck=0.02))
    assert found.result == "condemned"
    assert any("take more than" in words for words in found.words)


def test_faster_is_no_reason() -> None:
    found = verdict(1, Image(slower=-0.2, errors=0.0))
    assert (found.result, found.words[0][-15:-6]) == ("promoted", "faster by")


def test_a_canary_that_was_started_anew_is_not_promoted() -> None:
    draw, load = random.Random(1), [1.0] * 60
    samples = watched(draw, EQUAL, load, 50)
    again = [*samples[:30], *(replace(sample, process=2.0) for sample in samples[30:])]
    found = judge({"host-1": again}, {"host-2": watched(draw, EQUAL, load, 50)})
    assert (found.result, found.words) == ("condemned", ("host-1 was restarted",))


@pytest.mark.parametrize(
    ("look", "words"),
    [
        (lambda: verdict(1, EQUAL, windows=3, rate=20), "are too few to tell whether more of them fail"),
        (lambda: verdict(1, EQUAL, limits=Limits(slower=0.001)), "can't be told from chance"),
        (lambda: verdict(1, EQUAL, rate=0), "are too few"),
        (lambda: judge({"host-1": []}, {"host-2": []}), "host-1 did not report its metrics"),
    ],
)
def test_what_can_not_be_told_is_unclear(look: Callable[[], Verdict], words: str) -> None:
    found = look()
    assert found.result == "unclear"
    assert words in " ".join(found.words)


def test_hosts_that_were_watched_one_after_the_other_are_not_compared() -> None:
    draw = random.Random(1)
    late = [replace(sample, window=sample.window + 60) for sample in watched(draw, EQUAL, [1.0] * 30, 50)]
    found = judge({"host-1": watched(draw, EQUAL, [1.0] * 30, 50)}, {"host-2": late})
    assert found.result == "unclear"
    assert "not watched at the same time" in found.words[0]


def test_a_window_without_its_beginning_is_left_out() -> None:
    draw, load = random.Random(1), [1.0] * 60
    samples = watched(draw, EQUAL, load, 50)
    gaps = [sample for sample in samples if sample.window % 10]
    found = judge({"host-1": gaps}, {"host-2": watched(draw, EQUAL, load, 50)})
    assert found.result == "promoted"
    assert found.figures["windows"] == 60 - 2 * 6


@pytest.mark.parametrize(
    ("ours", "theirs", "chance"),
    [((3, 4), (1, 4), 17 / 70), ((0, 10), (0, 10), 1.0), ((5, 5), (0, 5), 1 / 252), ((2, 100), (20, 1000), 0.604)],
)
def test_fishers_test(ours: tuple[int, int], theirs: tuple[int, int], chance: float) -> None:
    assert by_chance(*ours, *theirs) == pytest.approx(chance, abs=0.05 if chance == 0.604 else 1e-9)
