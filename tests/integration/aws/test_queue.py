# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role queue: two queues, a topic and a subscription are created, kept, changed and deleted, or refused."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.aws.stage import Played, play
from tests.integration.endpoint import ACCOUNT, REGION, Endpoint

WRITES = re.compile(r"(sqs|sns):(?!Get|List)")
WANTED: dict[str, Any] = {
    "fleet_account": ACCOUNT,
    "fleet_region": REGION,
    "queue_name": "audit",
    "queue_topic": "audit-events",
    "queue_raw_delivery": True,
    "queue_tags": {"team": "identity"},
}
PLAYBOOK = """\
- hosts: localhost
  connection: local
  gather_facts: false
  vars: {ansible_python_interpreter: "{{ ansible_playbook_python }}"}
  roles: [evenkeel.fleet.queue]
"""


@pytest.fixture(scope="module")
def aws() -> Iterator[Endpoint]:
    with Endpoint() as endpoint:
        yield endpoint


def attributes(aws: Endpoint, name: str) -> dict[str, Any]:
    sqs = aws.client("sqs")
    url = sqs.get_queue_url(QueueName=name)["QueueUrl"]
    found: dict[str, Any] = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    return found


def test_created_kept_changed_and_deleted(aws: Endpoint, tmp_path: Path) -> None:
    playbook = tmp_path / "queue.yml"
    playbook.write_text(PLAYBOOK)
    sqs, sns = aws.client("sqs"), aws.client("sns")

    def run(*options: str, **changes: Any) -> Played:
        aws.faults.calls.clear()
        return play(aws, {**WANTED, **changes}, *options, playbook=str(playbook))

    refused = run(queue_name="a" * 76, queue_tags={})
    assert "Nothing was changed: queue_name is aaa" in refused.failures
    assert not [call for call in aws.faults.calls if call.startswith(("sqs:", "sns:"))]

    would = run("--check")
    assert (would.code, would.failures) == (0, "")
    assert sqs.list_queues().get("QueueUrls", []) == sns.list_topics()["Topics"] == []
    made = run()
    assert (made.failures, made.changed) == ("", would.changed)
    assert made.changed == [
        "Create or change the dead-letter queue",
        "Create or change the queue with its policy",
        "Create the topic, and subscribe the queue",
    ]
    queue, dead = attributes(aws, "audit"), attributes(aws, "audit-dlq")
    redrive = json.loads(queue["RedrivePolicy"])
    assert (redrive["deadLetterTargetArn"], redrive["maxReceiveCount"]) == (dead["QueueArn"], 5)
    assert (queue["VisibilityTimeout"], dead["MessageRetentionPeriod"]) == ("60", "1209600")
    (statement,) = json.loads(queue["Policy"])["Statement"]
    (topic,) = sns.list_topics()["Topics"]
    assert statement["Condition"] == {"ArnEquals": {"aws:SourceArn": topic["TopicArn"]}}
    (subscribed,) = sns.list_subscriptions()["Subscriptions"]
    settings = sns.get_subscription_attributes(SubscriptionArn=subscribed["SubscriptionArn"])["Attributes"]
    assert (subscribed["Endpoint"], settings["RawMessageDelivery"]) == (queue["QueueArn"], "true")

    again = run("-e", "queue_visibility_timeout=60", "-e", "queue_raw_delivery=yes")
    assert (again.failures, again.changed) == ("", [])
    assert [call for call in aws.faults.calls if WRITES.match(call)] == []

    changes = {"queue_visibility_timeout": 90, "queue_max_receives": "3", "queue_tags": {"stage": "production"}}
    would, changed = run("--check", **changes), run(**changes)
    assert changed.changed == would.changed
    assert json.loads(attributes(aws, "audit")["RedrivePolicy"])["maxReceiveCount"] in (3, "3")
    url = sqs.get_queue_url(QueueName="audit")["QueueUrl"]
    assert set(sqs.list_queue_tags(QueueUrl=url)["Tags"]) == {"stage", "evenkeel:tags"}

    sqs.send_message(QueueUrl=url, MessageBody="{}")
    refused = run(queue_state="absent")
    arn = subscribed["SubscriptionArn"]
    assert (
        "Nothing was changed: the queue audit has 1 messages, "
        f"the subscription {arn} delivers to the queue audit. Process or purge the messages" in refused.failures
    )
    sqs.purge_queue(QueueUrl=url)
    sns.unsubscribe(SubscriptionArn=arn)
    gone = run(queue_state="absent")
    assert (gone.failures, gone.changed) == ("", ["Delete the queues"])
    assert sqs.list_queues().get("QueueUrls", []) == []
    assert len(sns.list_topics()["Topics"]) == 1, "others may publish to it"
