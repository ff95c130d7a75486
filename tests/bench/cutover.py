# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measures what the playbooks for a private network of services cost themselves, beside what AWS takes for tasks.

Six services move behind an internal load balancer, and back, against the local AWS endpoint. Its tasks start at once,
so that nearly all of the time is the playbooks' own. Fails only where a playbook does: the figures are for people to
look at.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(CHECKOUT), str(CHECKOUT / "gateway" / "tests")]

from tests.bench.audit.main import machine  # noqa: E402
from tests.bench.gateway import report  # noqa: E402
from tests.bench.gateway.report import Line  # noqa: E402
from tests.integration.aws.ecs_cutover_scene import ProbingAgent, Scene  # noqa: E402
from tests.integration.aws.ecs_declaration import policy_simulator  # noqa: E402
from tests.integration.aws.ecs_stage import stage  # noqa: E402

PAGE = CHECKOUT / "docs" / "reference" / "benchmarks.md"
PORTS = {"auth": 5001, "users": 3002, "orders": 5003, "payments": 3004, "messages": 3003, "reviews": 5006}
# Of requests that are watched, which are a choice of the operator.
WATCH = 1
FULL, UNCHANGED = 60.0, 8.0


class Took(NamedTuple):
    """A run: its seconds, those of processors in its processes, and how many of its tasks changed something."""

    seconds: float
    processor: float
    changed: int


class Measured(NamedTuple):
    """The runs of one round."""

    create: Took
    move: Took
    create_again: Took
    move_again: Took
    back: Took


def run(scene: Scene, playbook: str, **more: Any) -> Took:
    began, used = time.monotonic(), children()
    played = scene.run(playbook, **more)
    seconds = time.monotonic() - began
    if played.code:
        raise SystemExit(f"bench: {playbook}.yml failed:\n{played.text}")
    print(f"{playbook}.yml: {seconds:.1f} s, {len(played.changed)} tasks changed something", flush=True)
    return Took(seconds, children() - used, len(played.changed))


def children() -> float:
    """Processor seconds of all processes that were started here and have ended."""
    found = resource.getrusage(resource.RUSAGE_CHILDREN)
    return found.ru_utime + found.ru_stime


def measure() -> Measured:
    agent = ProbingAgent()
    with stage(policy_simulator, agent=agent) as ecs:
        scene = Scene(ecs, agent, PORTS)
        scene.variables["ecs_cutover_seconds"] = WATCH
        scene.start_legacy()
        return Measured(
            create=run(scene, "ecs"),
            move=run(scene, "ecs_cutover"),
            create_again=run(scene, "ecs"),
            move_again=run(scene, "ecs_cutover"),
            back=run(scene, "ecs_cutover", ecs_cutover_back=True),
        )


def lines(rounds: Sequence[Measured]) -> list[Line]:
    """The limits are for seconds of the clock on a machine that does nothing else."""
    changed = max(one.create_again.changed + one.move_again.changed for one in rounds)
    return [
        limited("six services: ecs.yml and ecs_cutover.yml", FULL, rounds, "create", "move"),
        limited("ecs_cutover.yml again, without a change", UNCHANGED, rounds, "move_again"),
        limited("ecs.yml again, without a change", UNCHANGED, rounds, "create_again"),
        Line("tasks that changed something in these two", "0", str(changed), changed == 0),
        limited("ecs_cutover.yml, the way back", FULL, rounds, "back"),
    ]


def limited(what: str, limit: float, rounds: Sequence[Measured], *names: str) -> Line:
    seconds = median(sum(getattr(one, name).seconds for name in names) for one in rounds)
    seconds -= WATCH if "move" in names else 0
    processor = median(sum(getattr(one, name).processor for name in names) for one in rounds)
    return Line(what, f"≤ {limit:.0f} s", f"{seconds:.1f} s, CPU {processor:.1f} s", seconds <= limit)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="(default: %(default)s)")
    parser.add_argument("--no-write", action="store_true", help="only print; do not write docs/")
    options = parser.parse_args()
    rounds = [measure() for _round in range(options.rounds)]
    load = os.getloadavg()[2]
    written = "\n\n".join(
        [
            f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} processors ({machine()}), load average {load:.1f}; medians "
            f"of {options.rounds} rounds.",
            report.lines_table(lines(rounds)),
        ]
    )
    print(f"\n{written}")
    if not options.no_write:
        report.write(PAGE, "cutover", written, "make bench-cutover")


if __name__ == "__main__":
    main()
