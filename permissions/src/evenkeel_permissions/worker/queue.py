# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The queue. Batch calls succeed although entries of them fail: their results are read."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from evenkeel_permissions import aws, metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from evenkeel_permissions.settings import WorkerSettings

log = logging.getLogger(__name__)

_DELETE_ATTEMPTS = 3


@dataclass(frozen=True)
class Message:
    id: str
    receipt: str
    body: str
    sent: float
    """Unix time."""
    receives: int


class Queue:
    def __init__(self, settings: WorkerSettings, client: Callable[..., Any] = aws.client) -> None:
        self.url = settings.audit_sqs_url
        self.visibility = settings.audit_sqs_visibility_timeout
        self._count = settings.audit_sqs_max_messages
        self._wait = settings.audit_sqs_wait_time
        region, pollers = settings.queue_region, settings.audit_pollers
        self._polls = client("sqs", region, read_timeout=self._wait + 10, connections=pollers)
        # Calls on messages that are held must not wait as long as a poll may.
        self._calls = client("sqs", region, connections=pollers + 2)

    def receive(self) -> list[Message]:
        """Raise aws.ERRORS."""
        answer = self._polls.receive_message(
            QueueUrl=self.url,
            MaxNumberOfMessages=self._count,
            WaitTimeSeconds=self._wait,
            VisibilityTimeout=self.visibility,
            MessageSystemAttributeNames=["SentTimestamp", "ApproximateReceiveCount"],
        )
        return [_message(found) for found in answer.get("Messages", ())]

    def delete(self, messages: Sequence[Message]) -> int:
        """Return how many could not be deleted. These are received again, and are then duplicates."""
        left, lost = list(messages), 0
        for attempt in range(_DELETE_ATTEMPTS):
            if attempt:
                time.sleep(0.1 * attempt)
            failed = self._batch("delete_message_batch", "delete", left, {})
            left = [message for message, again in failed if again]
            lost += len(failed) - len(left)
            if not left:
                break
        lost += len(left)
        metrics.FAILURES.labels("delete").inc(lost)
        return lost

    def extend(self, messages: Sequence[Message]) -> int:
        """Hide them for the visibility time-out from now on; return how many failed."""
        failed = self._batch(
            "change_message_visibility_batch", "heartbeat", messages, {"VisibilityTimeout": self.visibility}
        )
        metrics.FAILURES.labels("heartbeat").inc(len(failed))
        return len(failed)

    def put_back(self, messages: Sequence[Message]) -> int:
        """Make them visible at once; return how many failed. These become visible after the visibility time-out."""
        failed = self._batch("change_message_visibility_batch", "return", messages, {"VisibilityTimeout": 0})
        metrics.FAILURES.labels("return").inc(len(failed))
        metrics.EVENTS.labels("returned").inc(len(messages) - len(failed))
        return len(failed)

    def attributes(self) -> dict[str, str]:
        """Raise aws.ERRORS."""
        names = ["RedrivePolicy", "VisibilityTimeout"]
        answer = self._calls.get_queue_attributes(QueueUrl=self.url, AttributeNames=names)
        return dict(answer.get("Attributes", {}))

    def _batch(
        self, call: str, operation: str, messages: Sequence[Message], values: dict[str, int]
    ) -> list[tuple[Message, bool]]:
        """Return the messages that failed, each with whether another attempt may succeed."""
        if not messages:
            return []
        entries = [
            {"Id": str(number), "ReceiptHandle": message.receipt, **values} for number, message in enumerate(messages)
        ]
        try:
            answer = getattr(self._calls, call)(QueueUrl=self.url, Entries=entries)
        except aws.ERRORS as error:
            permission = "sqs:DeleteMessage" if operation == "delete" else "sqs:ChangeMessageVisibility"
            _complain(operation, len(messages), aws.describe(error, permission, self.url))
            return [(message, True) for message in messages]
        failed = answer.get("Failed", ())
        if failed:
            reasons = sorted({f"{entry.get('Code')}: {entry.get('Message', '')}" for entry in failed})
            _complain(operation, len(failed), "; ".join(reasons))
        return [(messages[int(entry["Id"])], not entry.get("SenderFault", False)) for entry in failed]


def _complain(operation: str, count: int, cause: str) -> None:
    log.warning("queue operation failed", extra={"fields": {"operation": operation, "messages": count, "cause": cause}})


def _message(found: dict[str, Any]) -> Message:
    attributes = found.get("Attributes", {})
    sent = int(attributes.get("SentTimestamp", 0)) / 1000
    return Message(
        found["MessageId"],
        found["ReceiptHandle"],
        found["Body"],
        sent or time.time(),
        int(attributes.get("ApproximateReceiveCount", 1)),
    )
