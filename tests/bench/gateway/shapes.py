# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Load over minutes: ordinary traffic, a sudden peak, a continuous rise."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tests.bench.gateway.load import Outcome, flood, offer
from tests.bench.gateway.targets import Target

VIRTUAL_USERS = 20
PATHS = ("/api/health", "/api/bench/item", "/api/bench/item?page=2", "/nowhere")
EXPECTED = (200, 404)
FLOOD_SECONDS = 5


@dataclass(frozen=True)
class Step:
    seconds: int
    rate: int  # requests a second


SHAPES = {
    "basic": (Step(40, 10), Step(40, 15), Step(40, 20)),
    "spike": (Step(60, 10), Step(60, 100), Step(60, 10)),
    "stress": tuple(Step(30, rate) for rate in range(20, 201, 20)),
}


@dataclass
class Shape:
    """What one gateway made of it: each step, and the whole."""

    target: Target
    steps: list[Outcome]
    most: float = 0.0  # requests a second, where it was driven to its end

    @property
    def whole(self) -> Outcome:
        statuses: Counter[int] = sum((step.statuses for step in self.steps), Counter())
        times = sorted(time for step in self.steps for time in step.milliseconds)
        wanted, seconds = sum(step.wanted for step in self.steps), sum(step.seconds for step in self.steps)
        return Outcome(wanted, seconds, statuses, times, EXPECTED)


def drive(name: str, targets: list[Target], say: Callable[[str], None]) -> list[Shape]:
    """All gateways at the same time, so that what disturbs one disturbs all."""
    shapes = [Shape(target, []) for target in targets]
    for step in SHAPES[name]:
        with ThreadPoolExecutor(len(targets)) as pool:
            jobs = [pool.submit(_step, target, step) for target in targets]
            for shape, job in zip(shapes, jobs):
                shape.steps.append(job.result())
        means = ", ".join(f"{shape.target.name} {shape.steps[-1].mean:.2f}" for shape in shapes)
        say(f"{step.seconds} s at {step.rate} requests/s, mean ms: {means}")
    if name == "stress":
        for shape in shapes:
            shape.most = flood(shape.target.url, FLOOD_SECONDS, shape.target.tokens[0])
            say(f"maximum of {shape.target.name}: {shape.most:.0f} requests/s")
    return shapes


def _step(target: Target, step: Step) -> Outcome:
    urls = [f"http://127.0.0.1:{target.port}{path}" for path in PATHS]
    users = len(target.tokens)
    return offer(urls, step.rate, step.seconds, target.tokens, VIRTUAL_USERS // users, EXPECTED)
