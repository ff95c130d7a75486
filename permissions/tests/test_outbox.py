"""The events of changes: committed with them, published at least once, each with an id of its own."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from support.wait import until

from helpers.process import Client, Process
from helpers.tokens import WRITER

if TYPE_CHECKING:
    from collections.abc import Callable

    from testbed.services.messages.server import Server

    Start = Callable[..., Process]

AUDIT = "arn:aws:sns:eu-central-1:123456789012:audit"
VAULT = "arn:aws:sns:eu-central-1:123456789012:vault"


@pytest.fixture
def topics(server: Server) -> Server:
    """Two topics, each with a queue of its name that gets raw bodies."""
    for name in ("audit", "vault"):
        server.do("CreateQueue", QueueName=name)
        server.do("CreateTopic", Name=name)
        server.do(
            "Subscribe",
            TopicArn=f"arn:aws:sns:eu-central-1:123456789012:{name}",
            Endpoint=f"arn:aws:sqs:eu-central-1:123456789012:{name}",
            Attributes={"RawMessageDelivery": "true"},
        )
    return server


def take(server: Server, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while answer := server.do("ReceiveMessage", QueueUrl=f"/{name}", MaxNumberOfMessages=10, VisibilityTimeout=600):
        found += [json.loads(message["Body"]) for message in answer["Messages"]]
    return found


def pending(conninfo: str) -> int:
    with psycopg.connect(conninfo) as connection:
        return int((connection.execute("SELECT count(*) FROM outbox_event").fetchone() or (0,))[0])


def test_every_change_has_its_events(topics: Server, api: Start, conninfo: str) -> None:
    process = api(EPR_AUDIT_TOPIC_ARN=AUDIT, EPR_DOCUMENT_VAULT_TOPIC_ARN=VAULT)
    client = Client(process, WRITER)
    client.entity("a")
    client.grant("ada", "read", "a")
    client.grant("ada", "read", "a")  # nothing changes
    client("PATCH", "/v1/entities/a", {"name": "a"})  # neither
    client("PATCH", "/v1/entities/a", {"name": "b"})
    client("POST", "/v1/entities", {"id": "a", "type": "folder", "name": "x"})  # refused
    client.revoke("ada", "read", "a")
    client("DELETE", "/v1/entities/a")
    until(lambda: pending(conninfo) == 0, 20, "the outbox is empty")
    kinds = ["entity.created", "grant.created", "entity.updated", "grant.deleted", "entity.deleted"]
    audit, vault = take(topics, "audit"), take(topics, "vault")
    assert [event["type"] for event in audit] == kinds
    assert [event["type"] for event in vault] == kinds
    assert {event["actor"] for event in audit} == {"deployer"}
    assert all("actor" not in event for event in vault)
    assert len({event["event_id"] for event in audit + vault}) == 10
    assert audit[2]["data"] == {
        "before": {"id": "a", "type": "folder", "name": "a", "parent": None},
        "entity": {"id": "a", "type": "folder", "name": "b", "parent": None},
    }


def test_what_the_api_publishes_the_worker_stores(topics: Server, api: Start, start: Start, conninfo: str) -> None:
    client = Client(api(EPR_AUDIT_TOPIC_ARN=AUDIT), WRITER)
    client.entity("a")
    client.grant("ada", "read", "a")
    start("worker", EPR_DATABASE_URL=conninfo, EPR_AUDIT_SQS_URL=topics.queue_url("audit"))

    def stored() -> list[Any]:
        with psycopg.connect(conninfo) as connection:
            return connection.execute("SELECT type, actor, resource FROM audit_event ORDER BY occurred_at").fetchall()

    until(lambda: len(stored()) == 2, 20, "both events are stored")
    assert stored() == [("entity.created", "deployer", "entity/a"), ("grant.created", "deployer", "entity/a")]


def test_events_that_sns_refuses_stay_and_hold_up_no_other(topics: Server, api: Start, conninfo: str) -> None:
    refused: list[str] = []

    def refuse(operation: str, entry: dict[str, Any]) -> str:
        if operation == "PublishBatch" and '"entity/bad"' in entry.get("Message", "") and len(refused) < 2:
            refused.append(entry["Id"])
            return "InternalError"
        return ""

    topics.broker.fault = refuse
    process = api(EPR_AUDIT_TOPIC_ARN=AUDIT)
    client = Client(process, WRITER)
    for id_ in ("bad", "a", "b"):
        client.entity(id_)
    until(lambda: pending(conninfo) == 0, 30, "the outbox is empty")
    assert len(refused) == 2
    resources = [event["resource"] for event in take(topics, "audit")]
    assert sorted(resources) == ["entity/a", "entity/b", "entity/bad"], "each once"
    assert resources[-1] == "entity/bad"
    process.logged("events were refused")
    assert process.metric("permissions_outbox_events_total", topic="audit", outcome="failed") == 2


def test_sns_is_away(topics: Server, api: Start, conninfo: str) -> None:
    topics.broker.fault = lambda operation, _entry: "AuthorizationError" if operation == "PublishBatch" else ""
    process = api(EPR_AUDIT_TOPIC_ARN=AUDIT)
    client = Client(process, WRITER)
    client.entity("a")
    line = process.logged("events can't be published now")
    assert "sns:Publish" in line["cause"]
    assert AUDIT in line["cause"]
    assert pending(conninfo) == 1
    topics.broker.fault = lambda _operation, _entry: ""
    until(lambda: pending(conninfo) == 0, 30, "the outbox is empty")


def test_killed_publishers_lose_nothing(topics: Server, api: Start, conninfo: str) -> None:
    """Two processes publish, and are killed while they do. Every event arrives, and repeated ones have the same id."""
    processes = [api(EPR_AUDIT_TOPIC_ARN=AUDIT) for _ in range(2)]
    created: list[str] = []
    for turn in range(3):
        victim = processes[turn % 2]
        client = Client(victim, WRITER)

        def create(turn: int = turn, client: Client = client) -> None:
            try:
                for number in range(200):
                    client.entity(f"e{turn}-{number}")
                    created.append(f"entity/e{turn}-{number}")
            except OSError:
                return  # killed

        thread = threading.Thread(target=create)
        thread.start()
        until(lambda turn=turn: len(created) > 20 * (turn + 1), 20, "some are created")  # type: ignore[misc]
        victim.kill()
        thread.join()
        victim.start()
        victim.answers("/readyz")
    until(lambda: pending(conninfo) == 0, 20, "the outbox is empty")
    events = take(topics, "audit")
    with psycopg.connect(conninfo) as connection:
        rows = {f"entity/{row[0]}" for row in connection.execute("SELECT id FROM entity")}
    assert set(created) <= rows
    assert {event["resource"] for event in events} == rows, "an event for each change that was committed, for no other"
    assert len({event["event_id"] for event in events}) == len(rows)


def test_a_change_whose_event_fails_is_not_made(api: Start, conninfo: str) -> None:
    client_process = api()
    with psycopg.connect(conninfo) as connection:
        connection.execute("ALTER TABLE outbox_event ADD CHECK (body NOT LIKE '%entity/refused%')")
    client = Client(client_process, WRITER)
    answer = client_process.request(
        "POST",
        "/v1/entities",
        {"id": "refused", "type": "folder", "name": "a"},
        Authorization=f"Bearer {WRITER}",
    )
    assert answer.status == 500
    assert client("GET", "/v1/entities/refused").status == 404
