# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The audit worker with celery on SQS: an event is a task, which is acknowledged when it is stored."""

from __future__ import annotations

import json
import os
from typing import Any

import psycopg
from celery import Celery  # type: ignore[import-not-found,unused-ignore]

ENDPOINT = os.environ["ENDPOINT_URL"].removeprefix("http://")
INSERT = """
    INSERT INTO audit_event (event_id, type, occurred_at, actor, resource, body)
    VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT (event_id) DO NOTHING
"""
_connections: list[psycopg.Connection[Any]] = []

app = Celery("audit", broker=f"sqs://test:test@{ENDPOINT}//")
app.conf.update(
    broker_transport_options={
        "region": "eu-central-1",
        "is_secure": False,
        "predefined_queues": {"audit": {"url": os.environ["QUEUE_URL"]}},
        "wait_time_seconds": 20,
        "polling_interval": 0.1,
        "visibility_timeout": 60,
    },
    task_default_queue="audit",
    task_acks_late=True,
    task_ignore_result=True,
    # For short tasks. With the default it receives eight messages a second.
    worker_prefetch_multiplier=100,
)


@app.task(name="store")  # type: ignore[untyped-decorator,unused-ignore]
def store(body: str) -> None:
    outer = json.loads(body)
    event, text = (
        (json.loads(outer["Message"]), outer["Message"]) if outer.get("Type") == "Notification" else (outer, body)
    )
    if not _connections:  # one for each process
        _connections.append(psycopg.connect(os.environ["DATABASE_URL"], autocommit=True))
    values = (event["event_id"], event["type"], event["occurred_at"], event.get("actor"), event.get("resource"), text)
    _connections[0].execute(INSERT, values)
