"""The audit worker as a process, against a real PostgreSQL and the testbed's SQS."""

from __future__ import annotations

import json
import random
import signal
import time
from typing import TYPE_CHECKING, Any

import psycopg
from support.wait import until

from helpers.events import event, stored, stored_ids, wrapped

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.postgres import Cluster
    from testbed.services.messages.server import Server

    from helpers.events import EventQueue
    from helpers.process import Process

    Start = Callable[..., Process]


def test_raw_and_wrapped_events_are_stored_once(queue: EventQueue, worker: Start, conninfo: str) -> None:
    queue.send(event(1), wrapped(json.dumps(event(2))), event(1), wrapped(json.dumps(event(1))), event(3, extra="é"))
    process = worker().answers("/readyz")
    until(lambda: queue.counts() == (0, 0, 0), 10, "the queue is empty")
    rows = {row[3]: row for row in stored(conninfo)}
    assert rows.keys() == {"document/1", "document/2", "document/3"}
    assert rows["document/3"][4] == event(3, extra="é"), "the whole event is kept"
    assert process.metric("audit_worker_events_total", outcome="stored") == 3
    assert process.metric("audit_worker_events_total", outcome="duplicate") == 2
    assert "first batch stored" in [line["message"] for line in process.lines]


def test_poison_goes_to_the_dead_letter_queue_with_its_reason_logged(
    queue: EventQueue, worker: Start, conninfo: str
) -> None:
    chance = random.Random(1)
    poison = {
        "JSON": "no json",
        "occurred_at": json.dumps(event(1, occurred_at="2026-11-29 10:00")),
        "event_id": json.dumps(event(2) | {"event_id": "7"}),
        # Valid JSON that jsonb refuses: the batch fails, and the row is isolated.
        "Unicode": json.dumps(event(3, data="\0")),
        "Message": json.dumps({"Type": "Notification", "Message": 1}),
        # Longer than PostgreSQL can index: an error of the row, although its class is that of a server that is away.
        "index row": json.dumps(
            event(4, resource="".join(chr(0x20000 + chance.randrange(40_000)) for _ in range(1000)))
        ),
    }
    queue.send(event(10), *poison.values(), event(11))
    process = worker(EPR_AUDIT_POLLERS="1").answers("/readyz")
    until(lambda: queue.counts() == (0, 0, len(poison)), 30, "only poison is left, in the dead-letter queue")
    assert sorted(queue.dead()) == sorted(poison.values())
    assert {row[3] for row in stored(conninfo)} == {"document/10", "document/11"}
    causes = {line["cause"] for line in process.lines if line["message"] == "message can't be stored"}
    for word in poison:
        assert any(word in cause for cause in causes), (word, causes)
    assert not any("no json" in cause or "10:00" in cause for cause in causes), "a reason quotes no value"


def test_a_slow_insert_keeps_its_messages_hidden(queue: EventQueue, worker: Start, conninfo: str) -> None:
    """The visibility time-out is 2 s, the insert takes 5."""
    seen: list[tuple[str, str]] = []

    def record(operation: str, entry: dict[str, Any]) -> str:
        if "ReceiptHandle" in entry:
            seen.append((operation, entry["ReceiptHandle"]))
        return ""

    queue.server.broker.fault = record
    process = worker().answers("/readyz")
    with psycopg.connect(conninfo) as connection:
        connection.execute("LOCK TABLE audit_event")
        queue.send(*(event(number) for number in range(5)))
        until(lambda: len(seen) >= 20, 20, "four heartbeats for five messages")
        assert queue.counts() == (0, 5, 0)
    until(lambda: queue.counts() == (0, 0, 0), 10, "the queue is empty")
    assert process.metric("audit_worker_events_total", outcome="duplicate") == 0
    receipts = {receipt for _, receipt in seen}
    assert all(receipt.endswith("#1") for receipt in receipts), "no message was received twice"
    deletes = [index for index, (operation, _) in enumerate(seen) if operation == "DeleteMessageBatch"]
    heartbeats = [index for index, (operation, _) in enumerate(seen) if operation == "ChangeMessageVisibilityBatch"]
    assert max(heartbeats) < min(deletes), "the heartbeats end before the delete"


def test_a_delete_that_fails_for_some_is_repeated_for_these(queue: EventQueue, worker: Start, conninfo: str) -> None:
    refused: dict[str, int] = {}

    def refuse_twice(operation: str, entry: dict[str, Any]) -> str:
        receipt = entry.get("ReceiptHandle", "")
        if operation != "DeleteMessageBatch" or entry.get("Id") not in ("0", "3"):
            return ""
        refused[receipt] = refused.get(receipt, 0) + 1
        return "InternalError" if refused[receipt] <= 2 else ""

    queue.server.broker.fault = refuse_twice
    queue.send(*(event(number) for number in range(30)))
    process = worker(EPR_AUDIT_SQS_VISIBILITY_TIMEOUT="60").answers("/readyz")
    until(lambda: queue.counts() == (0, 0, 0), 20, "the queue is empty")
    assert refused
    assert len(stored_ids(conninfo)) == 30
    assert process.metric("audit_worker_failures_total", operation="delete") == 0
    assert process.metric("audit_worker_events_total", outcome="duplicate") == 0


def test_without_a_database_nothing_is_received(
    queue: EventQueue, start: Start, own_cluster: Cluster, server: Server
) -> None:
    process = start(
        "worker",
        EPR_DATABASE_URL=own_cluster.conninfo(),
        EPR_AUDIT_SQS_URL=queue.url,
        EPR_AUDIT_SQS_VISIBILITY_TIMEOUT="600",
        EPR_AUDIT_SQS_WAIT_TIME="1",
    ).answers("/readyz")
    own_cluster.stop()
    queue.send(*(event(number) for number in range(50)))
    process.answers("/readyz", 503)
    process.logged("database is away, receiving stops")
    until(lambda: queue.counts()[1] == 0, 10, "what was received is visible again")
    receives = queue.calls("ReceiveMessage")
    time.sleep(2)
    assert queue.calls("ReceiveMessage") == receives
    assert queue.counts() == (50, 0, 0)
    assert process.status("/healthz") == 200, "a restart would not help"
    assert "database" in process.request("GET", "/readyz").body["reasons"][0]
    own_cluster.start()
    until(lambda: queue.counts() == (0, 0, 0), 30, "the queue is empty")
    assert len(stored_ids(own_cluster.conninfo())) == 50


def test_a_database_that_refuses_writes_is_away_too(
    queue: EventQueue, worker: Start, conninfo: str, cluster: Cluster
) -> None:
    """It answers SELECT 1. Receiving would push every event into the dead-letter queue."""
    process = worker().answers("/readyz")
    name = conninfo.rpartition("/")[2].partition("?")[0]
    with psycopg.connect(cluster.conninfo(), autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on".encode())
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
    queue.send(event(1))
    line = process.logged("database is away, receiving stops")
    assert "read-only" in line["cause"]
    time.sleep(3)
    assert queue.counts() == (1, 0, 0)
    with psycopg.connect(cluster.conninfo(), autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only".encode())
    until(lambda: queue.counts() == (0, 0, 0), 30, "the queue is empty")


def waits_for_a_lock(conninfo: str) -> bool:
    """What was received when the stop comes is returned, and not stored: in flight is not enough."""
    with psycopg.connect(conninfo) as connection:
        found = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        ).fetchone()
    return found is not None and found[0] > 0


def test_a_stop_returns_what_it_can_not_finish(queue: EventQueue, worker: Start, conninfo: str) -> None:
    process = worker(EPR_AUDIT_SQS_VISIBILITY_TIMEOUT="600").answers("/readyz")
    with psycopg.connect(conninfo) as connection:
        connection.execute("LOCK TABLE audit_event")
        queue.send(*(event(number) for number in range(5)))
        until(lambda: queue.counts()[1] == 5, 10, "all are in flight")
        until(lambda: waits_for_a_lock(conninfo), 10, "their insert waits")
        started = time.monotonic()
        assert process.terminate() == 0
        assert time.monotonic() - started <= 5
        assert queue.counts() == (5, 0, 0), "visible at once, not after ten minutes"


def test_a_stop_finishes_what_it_can(queue: EventQueue, worker: Start, conninfo: str) -> None:
    process = worker(EPR_AUDIT_SQS_VISIBILITY_TIMEOUT="600").answers("/readyz")
    with psycopg.connect(conninfo) as connection:
        connection.execute("LOCK TABLE audit_event")
        queue.send(*(event(number) for number in range(5)))
        until(lambda: queue.counts()[1] == 5, 10, "all are in flight")
        until(lambda: waits_for_a_lock(conninfo), 10, "their insert waits")
        process.signal(signal.SIGTERM)
        process.logged("stop requested")
    assert process.terminate() == 0
    assert queue.counts() == (0, 0, 0)
    assert len(stored_ids(conninfo)) == 5


def test_a_stop_does_not_wait_for_a_long_poll(worker: Start, queue: EventQueue) -> None:
    process = worker(EPR_AUDIT_SQS_WAIT_TIME="20").answers("/readyz")
    until(lambda: queue.calls("ReceiveMessage") >= 2, 10, "the pollers wait")
    started = time.monotonic()
    assert process.terminate() == 0
    assert time.monotonic() - started <= 5


def test_without_a_queue_it_says_that_it_is_off_and_stays_healthy(start: Start, conninfo: str) -> None:
    process = start("worker", EPR_DATABASE_URL=conninfo, EPR_AUDIT_SQS_URL="").answers("/healthz")
    assert "EPR_AUDIT_SQS_URL is empty" in process.logged("audit worker is off")["message"]
    assert process.status("/readyz") == 200
    healthy = process.run("health", "worker")
    assert (healthy.returncode, healthy.stderr) == (0, "")
    assert process.terminate() == 0
    gone = process.run("health", "worker")
    assert gone.returncode == 1
    assert "does not answer" in gone.stderr


def test_a_queue_that_refuses_names_the_permission(queue: EventQueue, worker: Start) -> None:
    queue.server.broker.fault = lambda operation, _entry: "AccessDenied" if operation == "ReceiveMessage" else ""
    process = worker()
    line = process.logged("receive failed")
    assert "sqs:ReceiveMessage" in line["cause"]
    assert queue.url in line["cause"]
    process.answers("/healthz").answers("/readyz", 503)


def test_a_queue_without_a_dead_letter_queue_is_reported(server: Server, start: Start, conninfo: str) -> None:
    server.do("CreateQueue", QueueName="alone")
    process = start("worker", EPR_DATABASE_URL=conninfo, EPR_AUDIT_SQS_URL=server.queue_url("alone"))
    process.logged("queue has no dead-letter queue")
