# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Receive, insert, delete: no heartbeat, no isolation of bad rows, no metrics, no clean stop."""

from __future__ import annotations

import json
import os
import threading

import botocore.session
import psycopg
from botocore.config import Config

INSERT = """
    INSERT INTO audit_event (event_id, type, occurred_at, actor, resource, body)
    SELECT event_id, type, occurred_at, actor, resource, body::jsonb
      FROM unnest(%s::uuid[], %s::text[], %s::timestamptz[], %s::text[], %s::text[], %s::text[])
        AS event (event_id, type, occurred_at, actor, resource, body)
     ORDER BY event_id
    ON CONFLICT (event_id) DO NOTHING
"""


def main() -> None:
    threads = [threading.Thread(target=run) for _ in range(int(os.environ["POLLERS"]))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def run() -> None:
    config = Config(read_timeout=30)
    sqs = botocore.session.get_session().create_client(
        "sqs", "eu-central-1", endpoint_url=os.environ["ENDPOINT_URL"], config=config
    )
    queue = os.environ["QUEUE_URL"]
    connection = psycopg.connect(os.environ["DATABASE_URL"], autocommit=True)
    while True:
        messages = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10, WaitTimeSeconds=20).get("Messages", ())
        if not messages:
            continue
        bodies = [message["Body"] for message in messages]
        events = [json.loads(body) for body in bodies]
        for index, event in enumerate(events):
            if event.get("Type") == "Notification":
                bodies[index] = event["Message"]
                events[index] = json.loads(event["Message"])
        names = ("event_id", "type", "occurred_at", "actor", "resource")
        connection.execute(INSERT, [*([event.get(name) for event in events] for name in names), bodies])
        entries = [{"Id": str(n), "ReceiptHandle": message["ReceiptHandle"]} for n, message in enumerate(messages)]
        sqs.delete_message_batch(QueueUrl=queue, Entries=entries)


if __name__ == "__main__":
    main()
