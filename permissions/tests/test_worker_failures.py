"""Every event exactly once, only poison in the dead-letter queue, whatever dies in between.

AUDIT_EVENTS=100000 AUDIT_KILLS=20 is the full run; AUDIT_SEED repeats one.
"""

from __future__ import annotations

import json
import os
import random
import time
from typing import TYPE_CHECKING

import psycopg
from support.wait import until

from helpers.events import EventQueue, event, stored_ids, wrapped

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.postgres import Cluster
    from testbed.services.messages.server import Server

    from helpers.process import Process

EVENTS = int(os.environ.get("AUDIT_EVENTS", "5000"))
KILLS = int(os.environ.get("AUDIT_KILLS", "5"))
SEED = int(os.environ.get("AUDIT_SEED", "1"))
OUTAGES = 2
DUPLICATES, POISON = 0.05, 0.01
PATIENCE = 60 + EVENTS / 50


def poison(number: int) -> str:
    kinds = (
        f"no json {number}",
        json.dumps(event(number) | {"event_id": f"x{number}"}),
        json.dumps(event(number, occurred_at="yesterday")),
        json.dumps(event(-number - 1, data="\0")),
    )
    return kinds[number % len(kinds)]


def messages(chance: random.Random) -> tuple[list[str], list[str], list[str]]:
    """Return the ids of the events, the poison, and all messages in the order in which they are sent."""
    events = [event(number) for number in range(EVENTS)]
    bad = [poison(number) for number in range(int(EVENTS * POISON))]
    bodies = [json.dumps(one) for one in events]
    bodies += [json.dumps(one) for one in chance.sample(events, int(EVENTS * DUPLICATES))]
    bodies = [wrapped(body) if chance.random() < 0.5 else body for body in bodies]
    bodies += bad
    chance.shuffle(bodies)
    return sorted(one["event_id"] for one in events), sorted(bad), bodies


def rows(conninfo: str) -> int:
    try:
        with psycopg.connect(conninfo, connect_timeout=2) as connection:
            return int((connection.execute("SELECT count(*) FROM audit_event").fetchone() or (0,))[0])
    except psycopg.Error:
        return 0  # the worker has not made the table yet


def stored_until(conninfo: str, share: float) -> None:
    until(lambda: rows(conninfo) >= share * EVENTS, PATIENCE, f"{share:.0%} of the events are stored")


def test_every_event_is_stored_exactly_once(
    server: Server, own_cluster: Cluster, start: Callable[..., Process]
) -> None:
    chance = random.Random(SEED)
    ids, bad, bodies = messages(chance)
    # A good event may be held by a few of the workers that are killed.
    queue = EventQueue(server, "audit", max_receives=6)
    queue.send(*bodies)
    conninfo = own_cluster.conninfo()
    faults = ["kill"] * KILLS + ["outage"] * OUTAGES
    chance.shuffle(faults)
    moments = sorted(chance.uniform(0.02, 0.9) for _ in faults)
    worker = start(
        "worker",
        EPR_DATABASE_URL=conninfo,
        EPR_AUDIT_SQS_URL=queue.url,
        EPR_AUDIT_SQS_VISIBILITY_TIMEOUT="2",
        EPR_AUDIT_SQS_WAIT_TIME="1",
        EPR_AUDIT_SQS_MAX_MESSAGES="10",
        EPR_AUDIT_POLLERS="4",
    )
    started = time.monotonic()
    for fault, moment in zip(faults, moments, strict=True):
        stored_until(conninfo, moment)
        time.sleep(chance.uniform(0, 0.02))
        if fault == "kill":
            worker.kill()
            worker.start()
        else:
            own_cluster.stop(chance.choice(["immediate", "fast"]))
            worker.answers("/readyz", 503)
            time.sleep(chance.uniform(0, 1))
            own_cluster.start()
    until(lambda: queue.counts() == (0, 0, len(bad)), PATIENCE, "only poison is left, in the dead-letter queue")
    seconds = time.monotonic() - started
    assert stored_ids(conninfo) == ids
    assert sorted(queue.dead()) == bad
    stopping = time.monotonic()
    assert worker.terminate() == 0
    stopped = time.monotonic() - stopping
    assert stopped <= 5
    print(f"\n{len(bodies)} messages, {KILLS} kills, {OUTAGES} outages: {seconds:.1f} s; stopped in {stopped:.1f} s")
