# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long a rollout takes on fleets that no test can boot: the real decisions, with a clock that is made up.

`python tests/simulation/scale.py` writes the tables of docs/scale.md. All is seeded: the same code, the same page.
"""

from __future__ import annotations

import math
import random
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ansible_collections.evenkeel.fleet.plugins.module_utils._rollout.plan import Event, Host, Knobs, Step, begin

PAGE = Path(__file__).resolve().parents[2] / "docs" / "scale.md"
SEED = 1
RUNS = 25_000  # of one host each; fewer of a fleet


@dataclass(frozen=True)
class Costs:
    """What Ansible takes, as measured with this collection, in seconds; cores and forks are the controller's."""

    play: float = 0.6
    batch: float = 0.023
    # One call on one host, nobody else in the way.
    call: float = 0.28
    # Processor time of a call: what the controller does for it, and what the module itself does where it runs.
    controller: float = 0.08
    module: float = 0.34
    full_facts: float = 1.0
    cores: int = 2
    forks: int = 50
    gather_facts: bool = False

    def on_hosts(self, count: int) -> float:
        """A task whose module runs on so many hosts."""
        return max(math.ceil(count / self.forks) * self.call, count * self.controller / self.cores)

    def on_controller(self, count: int) -> float:
        """A task that is delegated to the controller for so many hosts."""
        rounds = math.ceil(count / min(self.forks, count)) if count else 0
        return max(rounds * self.call, count * (self.controller + self.module) / self.cores)

    def facts(self, count: int) -> float:
        return math.ceil(count / self.forks) * self.full_facts if self.gather_facts else 0.0


@dataclass(frozen=True)
class Waits:
    """What a host takes by itself, in seconds, before it is drawn for each host."""

    drain: float = 30.0
    swap: float = 6.0
    gate: float = 3.0
    admit: float = 20.0
    bake: float = 30.0
    pull: float = 12.0
    handover: float = 1.0
    # The slowest and the fastest host take so many times that.
    spread: tuple[float, float] = (0.8, 1.5)


# Each step of a host's update, and where its module runs.
STEPS = (
    ("permit", "controller"),
    ("drain", "controller"),
    ("swap", "host"),
    ("gate", "host"),
    ("admit", "controller"),
    ("bake", "controller"),
)


@dataclass
class Run:
    """A simulated rollout. Times in seconds."""

    waiting: float = 0.0
    ansible: float = 0.0
    batches: list[int] = field(default_factory=list)
    updated: int = 0
    result: str = ""

    @property
    def wall(self) -> float:
        return self.waiting + self.ansible


def simulate(
    count: int,
    knobs: Knobs,
    costs: Costs = Costs(),
    waits: Waits = Waits(),
    *,
    failing: float = 0.0,
    seed: int = SEED,
) -> Run:
    """Roll a fleet of so many hosts, each of which fails with the given probability."""
    chance = random.Random(seed)
    run = Run()
    rollout = begin([Host(f"host-{n}", "old", leads=n == 0) for n in range(count)], "new", knobs)
    run.ansible += 2 * costs.play + 2 * costs.on_hosts(count) + costs.facts(count)  # plan, pre-pull
    run.waiting += slowest(chance, waits.pull, waits, count)
    while True:
        step, rollout = rollout.advance()
        if step.kind == "update":
            update(run, step, costs, waits, chance)
            for host in step.hosts:
                good = chance.random() >= failing
                rollout = rollout.after(Event("done" if good else "failed", host, serves=True))
                run.updated += good
        elif step.kind == "hand_over":
            run.ansible += costs.play + costs.on_controller(1)
            run.waiting += waits.handover
            rollout = rollout.after(Event("handed_over", step.candidates[0]))
        else:
            run.ansible += costs.play + costs.on_hosts(count)  # verify
            run.result = step.result
            return run


def update(run: Run, step: Step, costs: Costs, waits: Waits, chance: random.Random) -> None:
    """A batch: every task waits for the slowest of its hosts."""
    count = len(step.hosts)
    run.batches.append(count)
    run.ansible += costs.batch + (costs.play if len(run.batches) == 1 else 0.0) + costs.facts(count)
    for name, where in STEPS:
        run.ansible += costs.on_hosts(count) if where == "host" else costs.on_controller(count)
        run.waiting += slowest(chance, getattr(waits, name, 0.0), waits, count)


def slowest(chance: random.Random, typical: float, waits: Waits, count: int) -> float:
    low, high = waits.spread
    return typical * max(low + (high - low) * chance.random() for _unused in range(count)) if typical else 0.0


@dataclass(frozen=True)
class InstanceRefresh:
    """An Auto Scaling group that replaces its hosts: waves of equal size, whoever runs the controller. Seconds."""

    min_healthy_percent: int = 90
    launch_and_boot: float = 120.0
    warmup: float = 60.0
    deregistration: float = 30.0

    def wall(self, count: int) -> float:
        wave = max(1, count * (100 - self.min_healthy_percent) // 100)
        return math.ceil(count / wave) * (self.launch_and_boot + self.warmup + self.deregistration)


# The page.

ONE, TENTH, QUARTER = Knobs(batches=(1,)), Knobs(batches=(1, "10%")), Knobs(batches=(1, "10%", "25%"))
SETTINGS = (("[1]", ONE), ('[1, "10%"]', TENTH), ('[1, "10%", "25%"]', QUARTER))


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [f"| {' | '.join(map(str, row))} |" for row in rows]
    aligned = ["---"] + ["--:"] * (len(head) - 1)
    return "\n".join([f"| {' | '.join(head)} |", f"|{'|'.join(aligned)}|", *lines])


def minutes(seconds: float) -> str:
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def inputs() -> str:
    costs, waits, refresh = Costs(), Waits(), InstanceRefresh()
    low, high = waits.spread
    rows = [
        ("start of a play; of a batch", f"{costs.play:g} s; {costs.batch * 1000:g} ms", "measured"),
        ("a call on one host, alone", f"{costs.call:g} s", "measured"),
        ("processor time of a call: controller; module", f"{costs.controller:g} s; {costs.module:g} s", "measured"),
        ("full facts of a host", f"{costs.full_facts:g} s", "measured"),
        ("controller", f"{costs.cores} cores, {costs.forks} forks", "assumed"),
        ("drain; swap; gate", f"{waits.drain:g} s; {waits.swap:g} s; {waits.gate:g} s", "assumed"),
        ("healthy in the load balancer; bake", f"{waits.admit:g} s; {waits.bake:g} s", "assumed"),
        ("pulling the image, before the first drain", f"{waits.pull:g} s", "assumed"),
        ("a host takes so many times that", f"{low:g} to {high:g}", "assumed"),
        (
            "instance refresh: healthy at least; boot; warmup; deregistration",
            f"{refresh.min_healthy_percent} %; {refresh.launch_and_boot:g} s; {refresh.warmup:g} s; "
            f"{refresh.deregistration:g} s",
            "assumed",
        ),
    ]
    return table(("", "", ""), rows)


def batches() -> str:
    rows = []
    for count in (6, 100, 1000):
        for name, knobs in SETTINGS:
            run = simulate(count, knobs)
            share = percent(run.ansible / run.wall)
            at_once = max(run.batches)
            rows.append((count, f"`{name}`", len(run.batches), at_once, minutes(run.wall), share))
        rows.append((count, "instance refresh", "", "", minutes(InstanceRefresh().wall(count)), ""))
    head = ("hosts", "`rollout_batches`", "batches", "hosts at once", "wall time", "of it Ansible's")
    return table(head, rows)


def controller() -> str:
    rows = []
    for cores in (2, 8):
        for forks in (5, 25, 50, 100):
            runs = [simulate(count, QUARTER, Costs(cores=cores, forks=forks)) for count in (100, 1000)]
            rows.append((f"{cores} cores, {forks} forks", *(minutes(run.ansible) for run in runs)))
    return table(("", "100 hosts", "1,000 hosts"), rows)


def habits() -> str:
    costs = Costs()
    plain = [simulate(count, QUARTER, costs).ansible for count in (100, 1000)]

    def more(name: str, change: Callable[[int], float]) -> tuple[str, ...]:
        return (name, *(f"+ {minutes(change(count) - was)}" for count, was in zip((100, 1000), plain)))

    facts = replace(costs, gather_facts=True)

    def ten_more(count: int) -> float:
        run = simulate(count, QUARTER, costs)
        return run.ansible + sum(10 * costs.on_hosts(batch) for batch in run.batches)

    def all_delegated(count: int) -> float:
        run = simulate(count, QUARTER, costs)
        here = sum(place == "host" for _name, place in STEPS)
        return run.ansible + sum(here * (costs.on_controller(batch) - costs.on_hosts(batch)) for batch in run.batches)

    rows = [
        more("facts are gathered in each batch", lambda count: simulate(count, QUARTER, facts).ansible),
        more("ten tasks more for each host", ten_more),
        more("the tasks on hosts are delegated to the controller, too", all_delegated),
    ]
    return table(("", "100 hosts", "1,000 hosts"), rows)


def failures() -> str:
    rows = []
    for count in (6, 100, 1000):
        for failing in (0.001, 0.01):
            seeds = range(min(200, RUNS // count))
            runs = [simulate(count, QUARTER, failing=failing, seed=seed) for seed in seeds]
            finished = sum(run.result == "succeeded" for run in runs) / len(runs)
            updated = sum(run.updated for run in runs) / len(runs) / count
            rows.append((count, f"{100 * failing:g} %", percent(finished), percent(updated)))
    head = ("hosts", "a host fails with", "rollouts that reach the end", "hosts updated by one, on average")
    return table(head, rows)


TABLES = {
    "inputs": inputs,
    "batches": batches,
    "controller": controller,
    "habits": habits,
    "failures": failures,
}


def written(page: str) -> str:
    """The page with its tables computed anew."""
    for name, render in TABLES.items():
        mark = re.compile(rf"(<!-- begin {name}: [^>]*-->\n).*?(<!-- end -->)", re.S)
        page, count = mark.subn(rf"\1\n{render()}\n\n\2", page)
        if count != 1:
            raise ValueError(f"{PAGE.name} has {count} places for the table {name}")
    return page


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text()))
    sys.stdout.write(f"{PAGE}\n")
