# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rolls an image out under mixed load: rolling_update.yml, and a plain rolling-update playbook.

Prints what the clients saw, who led, and where the time went. Fails where rolling_update.yml loses a request; the
times are for people to look at. Those of a rollout without load come third, because here clients, gateways and
controller share a machine, and the load alone can keep two cores busy.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(CHECKOUT))

from tests.system.fleet import PREFIX, Fleet, Run  # noqa: E402
from tests.system.load import MixedLoad, Watch  # noqa: E402

NAIVE = CHECKOUT / "tests" / "bench" / "naive" / "rolling.yml"
# What a host waits for, by its steps in the journal.
WAITS = ("drain", "swap", "admit", "bake")
ALLOWED = 3.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, default=6, help="hosts of the fleet (6)")
    parser.add_argument("--rate", type=float, default=300, help="short requests a second, besides the others (300)")
    parser.add_argument("--keep", action="store_true", help="leave the fleet there")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        fleet = Fleet(Path(folder) / "inventory", f"{PREFIX}-rollout", arguments.hosts)
        try:
            say(f"bringing up {arguments.hosts} hosts and running site.yml on them")
            fleet.up()
            site = fleet.site()
            if site.code:
                print(site.output)
                return 1
            fleet.assert_serving()
            return compare(fleet, arguments.rate)
        finally:
            if not arguments.keep:
                say("removing the fleet")
                fleet.down()


def compare(fleet: Fleet, rate: float) -> int:
    now, after = versions(fleet)
    say("rolling_update.yml")
    ours = measured(fleet, rate, "rolling_update.yml", gateway_image=after)
    fleet.assert_serving()
    steps = journal(fleet)
    say("the naive playbook")
    naive = measured(fleet, rate, str(NAIVE), gateway_image=now)
    fleet.assert_serving()
    say("rolling_update.yml without load")
    started = time.monotonic()
    quiet: Run = fleet.start_play("rolling_update.yml", gateway_image=after).wait(1800)
    alone = time.monotonic() - started
    if quiet.code:
        print(quiet.output)
    print(f"\n{len(fleet.hosts)} hosts, {rate:g} short requests/s, and slow ones, streams of 20 MB and websockets")
    print_clients({"rolling_update.yml": ours, "the naive playbook": naive})
    print("\nwhere the time went, under load")
    print_steps(steps, ours["seconds"])
    print("\nwhere the time went, without load")
    print_steps(journal(fleet), alone)
    lost = ours["failed"] or ours["code"] or ours["at_once"] > 1 or quiet.code
    return 1 if lost else 0


def print_clients(results: Mapping[str, Mapping[str, Any]]) -> None:
    columns = ("failed", "of", "requests/s", "seconds", "leader changes", "leaders at once")
    print(f"{'':20s} " + " ".join(f"{name:>{max(len(name), 8)}s}" for name in columns))
    for name, result in results.items():
        print(
            f"{name:20s} {result['failed']:8d} {result['asked']:8d} {result['asked'] / result['seconds']:10.0f}"
            f" {result['seconds']:8.1f} {result['changes']:14d} {result['at_once']:15d}"
        )
        for failure in result["examples"]:
            print(f"{'':20s} {failure}")


def measured(fleet: Fleet, rate: float, playbook: str, **variables: Any) -> dict[str, Any]:
    started = time.monotonic()
    url = fleet.facts["load_balancer"]["url"]
    with MixedLoad(url, rate) as clients, Watch(fleet.leaders) as watch:
        run: Run = fleet.start_play(playbook, **variables).wait(1800)
        seconds = time.monotonic() - started
    if run.code:
        print(run.output)
    return {
        "code": run.code,
        "seconds": seconds,
        "failed": len(clients.failures),
        "asked": clients.answered + len(clients.failures),
        "examples": clients.failures[:3],
        "changes": watch.changes,
        "at_once": watch.most_at_once,
    }


def journal(fleet: Fleet) -> list[Mapping[str, Any]]:
    """The steps of the last rollout, in order: host, step, seconds, detail, and `at` in seconds."""
    query = (
        "SELECT coalesce(json_agg(row_to_json(steps)), '[]') FROM (SELECT host, step, result, seconds, detail,"
        " extract(epoch FROM at) AS at FROM fleet_rollout_step"
        " WHERE rollout_id = (SELECT max(id) FROM fleet_rollout) ORDER BY id) steps"
    )
    found: list[Mapping[str, Any]] = json.loads(fleet.sql(query))
    return found


def print_steps(steps: list[Mapping[str, Any]], total: float) -> None:
    """A host's time is from its permit to the next one's, to the handover, which is no host's, or to the end."""
    begins = [
        (step["host"], step["at"]) for step in steps if step["step"] == "permit" and step["result"] == "succeeded"
    ]
    handovers = [step for step in steps if step["step"] == "handover"]
    asked = [step["at"] - step["seconds"] for step in handovers]
    ends = [
        min([at for at in asked if began < at < following], default=following)
        for (_host, began), following in zip(begins, [*(at for _host, at in begins[1:]), steps[-1]["at"]])
    ]
    print(f"{'host':10s} " + " ".join(f"{name:>7s}" for name in WAITS) + f" {'waits':>7s} {'wall':>7s} {'besides':>8s}")
    besides = []
    for (host, began), end in zip(begins, ends):
        took = {name: seconds_of(steps, host, name) for name in WAITS}
        waits, wall = sum(took.values()), end - began
        besides.append(wall - waits)
        cells = " ".join(f"{took[name]:7.1f}" for name in WAITS)
        print(f"{host:10s} {cells} {waits:7.1f} {wall:7.1f} {wall - waits:8.1f}")
    for step in handovers:
        print(f"handover   {step['detail']} ({step['seconds']:.1f} s)")
    verdict = "met" if max(besides) <= ALLOWED else "MISSED"
    print(
        f"besides its own waits, a host took {median(besides):.1f} s (median), {max(besides):.1f} s (at most): "
        f"limit {ALLOWED:g} s {verdict}; the whole rollout took {total:.1f} s"
    )


def seconds_of(steps: list[Mapping[str, Any]], host: str, name: str) -> float:
    return float(sum(step["seconds"] or 0 for step in steps if step["host"] == host and step["step"] == name))


def versions(fleet: Fleet) -> tuple[str, str]:
    """The image that the fleet runs, and another one."""
    now = fleet.gateway("host-1")["Config"]["Image"]
    return now, next(image for image in fleet.facts["gateway_images"].values() if image != now)


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
