# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The duration of a rollout on fleets too large for tests: the real decisions, with a simulated clock.

`python tests/simulation/scale.py` writes the tables of docs/explanation/scale.md. All is seeded: the same code, the
same page.
"""

from __future__ import annotations

import math
import random
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ansible_collections.evenkeel.fleet.plugins.module_utils._rollout.plan import Event, FleetHost, Step
from ansible_collections.evenkeel.fleet.plugins.module_utils._rollout.policy import Policy
from ansible_collections.evenkeel.fleet.plugins.module_utils._rollout.preconditions import begin

PAGE = Path(__file__).resolve().parents[2] / "docs" / "explanation" / "scale.md"
SEED = 1
RUNS = 25_000  # of one host each; fewer of a fleet


@dataclass(frozen=True)
class Costs:
    """What Ansible takes, as measured with this collection, in seconds; cores and forks are the controller's."""

    play: float = 0.6
    # A task that is run once, of which a step has three.
    once: float = 0.06
    # One call, no other work in the way: on one host, and on the controller for one host.
    call: float = 0.45
    here: float = 0.12
    # Processor time: of the controller for a call, for a host that a task passes over, of which a step has two, and of
    # a module on the controller, in Ansible's own process or in another one.
    controller: float = 0.08
    passed: float = 0.066
    inside: float = 0.02
    module: float = 0.54
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
        return max(rounds * self.here, count * (self.controller + self.inside) / self.cores)

    def step(self, fleet: int) -> float:
        """What a batch or a handover costs besides its calls."""
        return 3 * self.once + 2 * fleet * self.passed / self.cores

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


# Each call of a host's update, where its module runs, and what it waits for.
CALLS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("permit", "controller", ()),
    ("drain", "controller", ("drain",)),
    ("swap", "host", ("swap", "gate")),
    ("admit", "controller", ("admit",)),
    ("active", "controller", ()),
    ("bake", "host", ("bake",)),
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
    policy: Policy,
    costs: Costs = Costs(),
    waits: Waits = Waits(),
    *,
    failing: float = 0.0,
    seed: int = SEED,
) -> Run:
    """Roll a fleet of so many hosts, each of which fails with the given probability."""
    chance = random.Random(seed)
    run = Run()
    rollout = begin([FleetHost(f"host-{n}", "old", leads=n == 0) for n in range(count)], "new", policy)
    run.ansible += 2 * costs.play + 2 * costs.on_hosts(count) + costs.facts(count)  # plan, pre-pull
    run.waiting += slowest(chance, waits.pull, waits, count)
    while True:
        step, rollout = rollout.advance()
        if step.kind == "update":
            run.ansible += costs.step(count)
            update(run, step, costs, waits, chance)
            for host in step.hosts:
                good = chance.random() >= failing
                rollout = rollout.after(Event("done" if good else "failed", host, serves=True))
                run.updated += good
        elif step.kind == "hand_over":
            run.ansible += costs.step(count) + costs.on_controller(1)
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
    run.ansible += costs.facts(count)
    for _name, where, awaited in CALLS:
        run.ansible += costs.on_hosts(count) if where == "host" else costs.on_controller(count)
        run.waiting += slowest(chance, sum(getattr(waits, name) for name in awaited), waits, count)


def slowest(chance: random.Random, typical: float, waits: Waits, count: int) -> float:
    low, high = waits.spread
    return typical * max(low + (high - low) * chance.random() for _unused in range(count)) if typical else 0.0


@dataclass(frozen=True)
class InstanceRefresh:
    """An Auto Scaling group that replaces its hosts: waves of equal size, on any controller. Seconds."""

    min_healthy_percent: int = 90
    launch_and_boot: float = 120.0
    warmup: float = 60.0
    deregistration: float = 30.0

    def wall(self, count: int) -> float:
        wave = max(1, count * (100 - self.min_healthy_percent) // 100)
        return math.ceil(count / wave) * (self.launch_and_boot + self.warmup + self.deregistration)


# The page.

ONE, TENTH, QUARTER = Policy(batches=(1,)), Policy(batches=(1, "10%")), Policy(batches=(1, "10%", "25%"))
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
        ("start of a play; a task that is run once", f"{costs.play:g} s; {costs.once:g} s", "measured"),
        ("a call on one host, alone; on the controller", f"{costs.call:g} s; {costs.here:g} s", "measured"),
        (
            "processor time of the controller: a call; a host that a task passes over",
            f"{costs.controller:g} s; {costs.passed:g} s",
            "measured",
        ),
        (
            "processor time of a module on the controller; in a process of its own",
            f"{costs.inside:g} s; {costs.module:g} s",
            "measured",
        ),
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
    rows: list[tuple[int | str, ...]] = []
    for count in (6, 100, 1000):
        for name, policy in SETTINGS:
            run = simulate(count, policy)
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
    processes = replace(costs, here=costs.here + costs.module, inside=costs.module)

    def ten_more(count: int) -> float:
        run = simulate(count, QUARTER, costs)
        return run.ansible + sum(10 * costs.on_hosts(batch) for batch in run.batches)

    rows = [
        more("facts are gathered in each batch", lambda count: simulate(count, QUARTER, facts).ansible),
        more("ten tasks more for each host", ten_more),
        more(
            "modules on the controller are processes of their own",
            lambda count: simulate(count, QUARTER, processes).ansible,
        ),
    ]
    return table(("", "100 hosts", "1,000 hosts"), rows)


def failures() -> str:
    rows: list[tuple[int | str, ...]] = []
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
