# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Audit events on the queue: sent as fast as possible, or at a constant rate."""

from __future__ import annotations

import base64
import http.client
import json
import time
import uuid
from datetime import datetime, timezone
from typing import Any
from urllib.parse import urlsplit

QUEUE = "audit"


class Feeder:
    """Calls the stand-in for SQS. Every second event has the envelope of SNS."""

    def __init__(self, endpoint: str) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(endpoint).netloc, timeout=30)
        self.url = str(self._call("CreateQueue", QueueName=QUEUE)["QueueUrl"])

    def send(self, count: int, *, as_tasks: bool) -> None:
        bodies = [body(number, as_tasks=as_tasks) for number in range(count)]
        for first in range(0, count, 10):
            entries = [{"Id": str(n), "MessageBody": text} for n, text in enumerate(bodies[first : first + 10])]
            self._call("SendMessageBatch", QueueUrl=self.url, Entries=entries)

    def send_at(self, rate: float, seconds: float, *, as_tasks: bool) -> int:
        """Send one after the other, each when it is due; return their number."""
        count, began = int(rate * seconds), time.monotonic()
        for number in range(count):
            time.sleep(max(0.0, began + number / rate - time.monotonic()))
            self._call("SendMessage", QueueUrl=self.url, MessageBody=body(number, as_tasks=as_tasks))
        return count

    @property
    def left(self) -> int:
        """Messages that are not deleted."""
        found = self._call("GetQueueAttributes", QueueUrl=self.url, AttributeNames=["All"])["Attributes"]
        return int(found["ApproximateNumberOfMessages"]) + int(found["ApproximateNumberOfMessagesNotVisible"])

    def purge(self) -> None:
        self._call("PurgeQueue", QueueUrl=self.url)

    def _call(self, operation: str, **data: Any) -> Any:
        self._connection.request("POST", "/", json.dumps(data), {"X-Amz-Target": f"AmazonSQS.{operation}"})
        answer = self._connection.getresponse()
        text = answer.read()
        assert answer.status == 200, text
        return json.loads(text)


def body(number: int, *, as_tasks: bool) -> str:
    """An event that occurs now."""
    event = {
        "event_id": str(uuid.uuid4()),
        "type": "document.opened",
        "occurred_at": datetime.now(timezone.utc).isoformat(),
        "actor": f"user-{number % 100}",
        "resource": f"document/{number}",
        "data": {"number": number, "note": "x" * 200},
    }
    text = json.dumps(event)
    if number % 2:
        text = json.dumps({"Type": "Notification", "MessageId": str(uuid.uuid4()), "Message": text})
    return task(text) if as_tasks else text


def task(argument: str) -> str:
    """A message of celery, protocol 2: the task `store` with this argument."""
    id_ = str(uuid.uuid4())
    embedded = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
    message = {
        "body": _base64([[argument], {}, embedded]),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"lang": "py", "task": "store", "id": id_, "root_id": id_, "parent_id": None, "group": None},
        "properties": {
            "correlation_id": id_,
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": QUEUE},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": str(uuid.uuid4()),
        },
    }
    return base64.b64encode(json.dumps(message).encode()).decode()


def _base64(value: Any) -> str:
    return base64.b64encode(json.dumps(value).encode()).decode()
