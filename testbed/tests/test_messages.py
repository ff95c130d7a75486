# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""SQS and SNS of the testbed, by a clock of the test's, and as boto3 speaks to them."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from testbed.services.messages.calls import Broker
from testbed.services.messages.queues import Queue, RefusedError
from testbed.services.messages.server import Server

KEYS = {"region_name": "eu-central-1", "aws_access_key_id": "test", "aws_secret_access_key": "test"}


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def queue(clock: Clock) -> Queue:
    return Queue("events", clock, visibility=30)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        yield running


def test_a_message_is_hidden_for_the_visibility_time_out(queue: Queue, clock: Clock) -> None:
    queue.send("a")
    [first] = queue.receive(10)
    clock.now += 29.9
    assert queue.receive(10) == []
    clock.now += 0.2
    [again] = queue.receive(10)
    assert again is first
    assert again.received == 2


def test_a_changed_visibility_counts_from_the_change(queue: Queue, clock: Clock) -> None:
    queue.send("a")
    [message] = queue.receive()
    clock.now += 20
    queue.change_visibility(message.receipt, 30)
    clock.now += 20
    assert queue.receive() == []
    queue.change_visibility(message.receipt, 0)
    assert [found.body for found in queue.receive()] == ["a"]


def test_a_deleted_message_never_comes_back(queue: Queue, clock: Clock) -> None:
    queue.send("a")
    [message] = queue.receive()
    receipt = message.receipt
    queue.delete(receipt)
    queue.delete(receipt)
    clock.now += 1000
    assert queue.receive() == []
    assert (queue.visible, queue.in_flight) == (0, 0)


def test_an_older_receipt_deletes_nothing(queue: Queue, clock: Clock) -> None:
    queue.send("a")
    old = queue.receive()[0].receipt
    clock.now += 31
    [message] = queue.receive()
    queue.delete(old)
    with pytest.raises(RefusedError, match="not in flight"):
        queue.change_visibility(old, 30)
    assert queue.in_flight == 1
    queue.delete(message.receipt)
    assert queue.in_flight == 0


def test_messages_received_too_often_go_to_the_dead_letter_queue(queue: Queue, clock: Clock) -> None:
    dead = Queue("dead", clock)
    queue.redrive(dead, 3)
    queue.send("poison")
    for _ in range(3):
        assert queue.receive()
        clock.now += 31
    assert queue.receive() == []
    assert [(message.body, message.received) for message in dead.receive()] == [("poison", 1)]


def test_a_delayed_message(queue: Queue, clock: Clock) -> None:
    queue.send("a", delay=5)
    assert queue.receive() == []
    assert queue.delayed == 1
    clock.now += 5
    assert len(queue.receive()) == 1
    assert queue.delayed == 0


def lines_of_calls(length: int, clock: Clock) -> int:
    """Return how many lines of Python the calls run on a queue of this length."""
    broker = Broker(clock)
    queue = broker.queue("events")
    for number in range(length):
        queue.send(str(number))
    queue.receive(10, visibility=5)
    lines = 0

    def count(_frame: FrameType, event: str, _argument: object) -> Any:
        nonlocal lines
        lines += event == "line"
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        broker.call("SendMessage", {"QueueUrl": "/events", "MessageBody": "a"})
        for message in broker.call("ReceiveMessage", {"QueueUrl": "/events", "MaxNumberOfMessages": 10})["Messages"]:
            broker.call("DeleteMessage", {"QueueUrl": "/events", "ReceiptHandle": message["ReceiptHandle"]})
        broker.call("GetQueueAttributes", {"QueueUrl": "/events"})
    finally:
        sys.settrace(before)
    return lines


def test_a_long_queue_costs_no_more_than_a_short_one(clock: Clock) -> None:
    assert lines_of_calls(10_000, clock) == lines_of_calls(100, clock)


def test_boto3_sends_receives_and_deletes(server: Server) -> None:
    sqs = boto3.client("sqs", endpoint_url=server.url, **KEYS)
    dead = sqs.create_queue(QueueName="dead")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    policy = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 2})
    url = sqs.create_queue(QueueName="events", Attributes={"RedrivePolicy": policy})["QueueUrl"]
    entries = [{"Id": str(number), "MessageBody": f"é{number}"} for number in range(10)]
    assert len(sqs.send_message_batch(QueueUrl=url, Entries=entries)["Successful"]) == 10
    messages = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, MessageSystemAttributeNames=["All"])[
        "Messages"
    ]
    assert [message["Body"] for message in messages] == [f"é{number}" for number in range(10)]
    assert abs(int(messages[0]["Attributes"]["SentTimestamp"]) / 1000 - time.time()) < 60
    server.broker.fault = lambda _operation, entry: "InternalError" if entry.get("Id") == "3" else ""
    deletes = [{"Id": str(n), "ReceiptHandle": message["ReceiptHandle"]} for n, message in enumerate(messages)]
    answer = sqs.delete_message_batch(QueueUrl=url, Entries=deletes)
    assert [failed["Id"] for failed in answer["Failed"]] == ["3"]
    assert not answer["Failed"][0]["SenderFault"]
    left = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    assert left["ApproximateNumberOfMessagesNotVisible"] == "1"
    with pytest.raises(ClientError) as error:
        sqs.receive_message(QueueUrl=url + "-none")
    assert error.value.response["Error"]["Code"].endswith("QueueDoesNotExist")


def test_a_long_poll_ends_when_a_message_arrives(server: Server) -> None:
    sqs = boto3.client("sqs", endpoint_url=server.url, **KEYS)
    url = sqs.create_queue(QueueName="events")["QueueUrl"]
    found: list[Any] = []
    poll = threading.Thread(
        target=lambda: found.extend(sqs.receive_message(QueueUrl=url, WaitTimeSeconds=20).get("Messages", []))
    )
    poll.start()
    while not server.broker.counts.get("ReceiveMessage"):
        time.sleep(0.01)
    server.do("SendMessage", QueueUrl=url, MessageBody="a")
    poll.join(15)
    assert [message["Body"] for message in found] == ["a"]


def test_a_topic_delivers_wrapped_and_raw_bodies(server: Server) -> None:
    sqs = boto3.client("sqs", endpoint_url=server.url, **KEYS)
    sns = boto3.client("sns", endpoint_url=server.url, **KEYS)
    topic = sns.create_topic(Name="audit")["TopicArn"]
    for name, raw in (("raw", "true"), ("wrapped", "false")):
        sqs.create_queue(QueueName=name)
        sns.subscribe(
            TopicArn=topic,
            Protocol="sqs",
            Endpoint=f"arn:aws:sqs:eu-central-1:123456789012:{name}",
            Attributes={"RawMessageDelivery": raw},
        )
    server.broker.fault = lambda _operation, entry: "InternalError" if entry.get("Id") == "bad" else ""
    answer = sns.publish_batch(
        TopicArn=topic,
        PublishBatchRequestEntries=[{"Id": "a", "Message": '{"x": "<é>"}'}, {"Id": "bad", "Message": "b"}],
    )
    assert [entry["Id"] for entry in answer["Successful"]] == ["a"]
    assert [entry["Id"] for entry in answer["Failed"]] == ["bad"]
    [raw_message] = sqs.receive_message(QueueUrl=server.queue_url("raw"))["Messages"]
    assert raw_message["Body"] == '{"x": "<é>"}'
    [wrapped] = sqs.receive_message(QueueUrl=server.queue_url("wrapped"))["Messages"]
    assert json.loads(wrapped["Body"])["Message"] == '{"x": "<é>"}'
