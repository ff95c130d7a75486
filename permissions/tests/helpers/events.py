"""Audit events as other services publish them, and the queue that has them."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any

import psycopg

if TYPE_CHECKING:
    from collections.abc import Sequence

    from testbed.services.messages.server import Server


def event(number: int = 0, **values: Any) -> dict[str, Any]:
    """Return an event whose id follows from its number."""
    return {
        "event_id": str(uuid.uuid5(uuid.NAMESPACE_OID, str(number))),
        "type": "document.opened",
        "occurred_at": "2026-11-29T10:00:00Z",
        "actor": "user-1",
        "resource": f"document/{number}",
        "data": {"number": number},
    } | values


def wrapped(body: str) -> str:
    return json.dumps({"Type": "Notification", "MessageId": str(uuid.uuid4()), "Message": body})


class EventQueue:
    """A queue with its dead-letter queue."""

    def __init__(self, server: Server, name: str, max_receives: int = 3) -> None:
        self.server = server
        self.url = server.queue_url(name)
        self.dead_url = server.queue_url(f"{name}-dead")
        server.do("CreateQueue", QueueName=f"{name}-dead")
        arn = f"arn:aws:sqs:eu-central-1:123456789012:{name}-dead"
        policy = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": max_receives})
        server.do("CreateQueue", QueueName=name, Attributes={"RedrivePolicy": policy})

    def send(self, *bodies: object) -> None:
        """Send them in batches of ten, each of which arrives at one moment."""
        texts = [body if isinstance(body, str) else json.dumps(body) for body in bodies]
        for first in range(0, len(texts), 10):
            entries = [{"Id": str(n), "MessageBody": text} for n, text in enumerate(texts[first : first + 10])]
            self.server.do("SendMessageBatch", QueueUrl=self.url, Entries=entries)

    def counts(self) -> tuple[int, int, int]:
        """Return how many are visible, in flight and dead."""
        found = self.server.do("GetQueueAttributes", QueueUrl=self.url)["Attributes"]
        dead = self.server.do("GetQueueAttributes", QueueUrl=self.dead_url)["Attributes"]
        return (
            int(found["ApproximateNumberOfMessages"]),
            int(found["ApproximateNumberOfMessagesNotVisible"]),
            int(dead["ApproximateNumberOfMessages"]),
        )

    def dead(self) -> list[str]:
        """Take all messages of the dead-letter queue."""
        found: list[str] = []
        while messages := self.server.do("ReceiveMessage", QueueUrl=self.dead_url, MaxNumberOfMessages=10):
            found += [message["Body"] for message in messages["Messages"]]
        return found

    def calls(self, operation: str) -> int:
        return self.server.broker.counts.get(operation, 0)


def stored(conninfo: str) -> Sequence[tuple[Any, ...]]:
    with psycopg.connect(conninfo) as connection:
        return connection.execute(
            "SELECT event_id::text, type, actor, resource, body FROM audit_event ORDER BY event_id"
        ).fetchall()


def stored_ids(conninfo: str) -> list[str]:
    with psycopg.connect(conninfo) as connection:
        return [row[0] for row in connection.execute("SELECT event_id::text FROM audit_event ORDER BY event_id")]
