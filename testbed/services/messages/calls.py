# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The calls of SQS and SNS on queues and topics, as Python values. server.py has the protocols."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from .queues import MAX_BATCH, Queue, RefusedError

ACCOUNT, REGION = "123456789012", "eu-central-1"
MAX_BATCH_BYTES = 1024 * 1024
Data = dict[str, Any]


@dataclass
class Topic:
    name: str
    subscriptions: list[tuple[Queue, bool]] = field(default_factory=list)
    """A queue, and whether it gets raw bodies."""
    published: int = 0

    @property
    def arn(self) -> str:
        return f"arn:aws:sns:{REGION}:{ACCOUNT}:{self.name}"


class Broker:
    """All queues and topics. fault(operation, entry) may return a code that refuses a call or one entry of it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.queues: dict[str, Queue] = {}
        self.topics: dict[str, Topic] = {}
        self.fault: Callable[[str, Data], str] = lambda _operation, _entry: ""
        self.counts: dict[str, int] = {}
        # Messages are stamped by the clock above, which need not be the time of day.
        self._epoch = time.time() - clock()

    def queue(self, name: str, **attributes: Any) -> Queue:
        """Return the queue of this name, which is created if there is none."""
        queue = self.queues.get(name)
        if queue is None:
            queue = self.queues[name] = Queue(name, self.clock)
        self.set_attributes(queue, attributes)
        return queue

    def topic(self, name: str) -> Topic:
        return self.topics.setdefault(name, Topic(name))

    def set_attributes(self, queue: Queue, attributes: Data) -> None:
        if "VisibilityTimeout" in attributes:
            queue.visibility = float(attributes["VisibilityTimeout"])
        if "ReceiveMessageWaitTimeSeconds" in attributes:
            queue.wait = float(attributes["ReceiveMessageWaitTimeSeconds"])
        if attributes.get("RedrivePolicy"):
            policy = json.loads(attributes["RedrivePolicy"])
            name = policy["deadLetterTargetArn"].rpartition(":")[2]
            queue.redrive(self.named(name), int(policy["maxReceiveCount"]))

    def named(self, name: str) -> Queue:
        if name not in self.queues:
            raise RefusedError("QueueDoesNotExist", "The specified queue does not exist.")
        return self.queues[name]

    def call(self, operation: str, data: Data) -> Data:
        """Answer a call; raises RefusedError. A receive does not wait: the server does."""
        self.counts[operation] = self.counts.get(operation, 0) + 1
        answer: Callable[[Data], Data] | None = getattr(self, f"_do_{operation}", None)
        if answer is None:
            raise RefusedError("UnsupportedOperation", f"{operation} is not one of the calls that are answered here.")
        if code := self.fault(operation, {}):
            raise RefusedError(code, f"{operation} was refused by the test.")
        return answer(data)

    def _of(self, data: Data) -> Queue:
        return self.named(str(data.get("QueueUrl", "")).rpartition("/")[2])

    # SQS

    def _do_CreateQueue(self, data: Data) -> Data:  # noqa: N802
        self.queue(data["QueueName"], **data.get("Attributes", {}))
        return {"QueueUrl": data["_base"] + f"/{ACCOUNT}/{data['QueueName']}"}

    def _do_GetQueueUrl(self, data: Data) -> Data:  # noqa: N802
        return {"QueueUrl": data["_base"] + f"/{ACCOUNT}/{self.named(data['QueueName']).name}"}

    def _do_SetQueueAttributes(self, data: Data) -> Data:  # noqa: N802
        self.set_attributes(self._of(data), data["Attributes"])
        return {}

    def _do_GetQueueAttributes(self, data: Data) -> Data:  # noqa: N802
        queue = self._of(data)
        found = {
            "QueueArn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:{queue.name}",
            "VisibilityTimeout": f"{queue.visibility:g}",
            "ReceiveMessageWaitTimeSeconds": f"{queue.wait:g}",
            "ApproximateNumberOfMessages": str(queue.visible),
            "ApproximateNumberOfMessagesNotVisible": str(queue.in_flight),
            "ApproximateNumberOfMessagesDelayed": str(queue.delayed),
        }
        if queue.dead_letters:
            arn = f"arn:aws:sqs:{REGION}:{ACCOUNT}:{queue.dead_letters.name}"
            policy = {"deadLetterTargetArn": arn, "maxReceiveCount": queue.max_receives}
            found["RedrivePolicy"] = json.dumps(policy)
        wanted = data.get("AttributeNames", ["All"])
        return {"Attributes": {name: value for name, value in found.items() if name in wanted or "All" in wanted}}

    def _do_PurgeQueue(self, data: Data) -> Data:  # noqa: N802
        self._of(data).purge()
        return {}

    def _do_SendMessage(self, data: Data) -> Data:  # noqa: N802
        return self._send(self._of(data), data)

    def _send(self, queue: Queue, entry: Data) -> Data:
        delay = float(entry.get("DelaySeconds", 0))
        message = queue.send(entry["MessageBody"], entry.get("MessageAttributes"), delay)
        return {"MessageId": message.id, "MD5OfMessageBody": message.md5}

    def _do_SendMessageBatch(self, data: Data) -> Data:  # noqa: N802
        queue = self._of(data)
        return self._batch("SendMessageBatch", data["Entries"], lambda entry: self._send(queue, entry))

    def _do_ReceiveMessage(self, data: Data) -> Data:  # noqa: N802
        queue = self._of(data)
        count = int(data.get("MaxNumberOfMessages", 1))
        if not 1 <= count <= MAX_BATCH:
            raise RefusedError("InvalidParameterValue", f"MaxNumberOfMessages {count} is not from 1 to {MAX_BATCH}.")
        visibility = data.get("VisibilityTimeout")
        found = queue.receive(count, None if visibility is None else float(visibility))
        wanted = {*data.get("AttributeNames", ()), *data.get("MessageSystemAttributeNames", ())}
        messages = []
        for message in found:
            shown: Data = {
                "MessageId": message.id,
                "ReceiptHandle": message.receipt,
                "MD5OfBody": message.md5,
                "Body": message.body,
            }
            if wanted:
                first = message.first_received or 0.0
                system = {
                    "SentTimestamp": str(int((self._epoch + message.sent) * 1000)),
                    "ApproximateReceiveCount": str(message.received),
                    "ApproximateFirstReceiveTimestamp": str(int((self._epoch + first) * 1000)),
                }
                shown["Attributes"] = {key: text for key, text in system.items() if key in wanted or "All" in wanted}
            messages.append(shown)
        return {"Messages": messages} if messages else {}

    def _do_DeleteMessage(self, data: Data) -> Data:  # noqa: N802
        self._of(data).delete(data["ReceiptHandle"])
        return {}

    def _do_DeleteMessageBatch(self, data: Data) -> Data:  # noqa: N802
        queue = self._of(data)
        return self._batch("DeleteMessageBatch", data["Entries"], lambda entry: queue.delete(entry["ReceiptHandle"]))

    def _do_ChangeMessageVisibility(self, data: Data) -> Data:  # noqa: N802
        self._of(data).change_visibility(data["ReceiptHandle"], float(data["VisibilityTimeout"]))
        return {}

    def _do_ChangeMessageVisibilityBatch(self, data: Data) -> Data:  # noqa: N802
        queue = self._of(data)
        return self._batch(
            "ChangeMessageVisibilityBatch",
            data["Entries"],
            lambda entry: queue.change_visibility(entry["ReceiptHandle"], float(entry.get("VisibilityTimeout", 0))),
        )

    def _batch(self, operation: str, entries: list[Data], do: Callable[[Data], Data | None]) -> Data:
        """Do each entry by itself. A call succeeds although entries of it fail."""
        if not entries:
            raise RefusedError("EmptyBatchRequest", "There should be at least one entry in the request.")
        if len(entries) > MAX_BATCH:
            raise RefusedError("TooManyEntriesInBatchRequest", f"The request has more than {MAX_BATCH} entries.")
        if len({entry["Id"] for entry in entries}) < len(entries):
            raise RefusedError("BatchEntryIdsNotDistinct", "Two entries have the same Id.")
        if sum(len(entry.get("MessageBody") or entry.get("Message") or "") for entry in entries) > MAX_BATCH_BYTES:
            raise RefusedError("BatchRequestTooLong", f"The bodies are longer than {MAX_BATCH_BYTES} bytes.")
        done: list[Data] = []
        failed: list[Data] = []
        for entry in entries:
            try:
                if code := self.fault(operation, entry):
                    raise RefusedError(code, "This entry was refused by the test.")
                done.append({"Id": entry["Id"], **(do(entry) or {})})
            except RefusedError as error:
                internal = error.code in ("InternalError", "InternalFailure")
                failed.append(
                    {"Id": entry["Id"], "Code": error.code, "Message": str(error), "SenderFault": not internal}
                )
        return {"Successful": done, "Failed": failed}

    # SNS

    def _do_CreateTopic(self, data: Data) -> Data:  # noqa: N802
        return {"TopicArn": self.topic(data["Name"]).arn}

    def _do_Subscribe(self, data: Data) -> Data:  # noqa: N802
        topic = self._topic(data)
        raw = str(data.get("Attributes", {}).get("RawMessageDelivery", "")).lower() == "true"
        topic.subscriptions.append((self.named(data["Endpoint"].rpartition(":")[2]), raw))
        return {"SubscriptionArn": f"{topic.arn}:{uuid4()}"}

    def _do_Publish(self, data: Data) -> Data:  # noqa: N802
        return self._publish(self._topic(data), data)

    def _do_PublishBatch(self, data: Data) -> Data:  # noqa: N802
        topic = self._topic(data)
        entries = data["PublishBatchRequestEntries"]
        return self._batch("PublishBatch", entries, lambda entry: self._publish(topic, entry))

    def _topic(self, data: Data) -> Topic:
        name = str(data.get("TopicArn", "")).rpartition(":")[2]
        if name not in self.topics:
            raise RefusedError("NotFound", "Topic does not exist")
        return self.topics[name]

    def _publish(self, topic: Topic, entry: Data) -> Data:
        id_ = str(uuid4())
        topic.published += 1
        for queue, raw in topic.subscriptions:
            queue.send(entry["Message"] if raw else _wrapped(topic, id_, entry))
        return {"MessageId": id_}


def _wrapped(topic: Topic, id_: str, entry: Data) -> str:
    """The envelope around a message whose delivery is not raw."""
    return json.dumps(
        {
            "Type": "Notification",
            "MessageId": id_,
            "TopicArn": topic.arn,
            "Message": entry["Message"],
            "Timestamp": time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime()),
            "SignatureVersion": "1",
            "MessageAttributes": entry.get("MessageAttributes", {}),
        }
    )
