# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ecs_split_worker.yml moves a real audit worker from a sidecar to a service of its own, while events arrive."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from testbed.services.aws.ecs.agent import Order, TaskReport
from testbed.services.messages.server import Server
from tests.integration.aws.ecs_stage import CLUSTER, NETWORK, LoggingAgent, Stage, stage
from tests.integration.aws.stage import play
from tests.integration.endpoint import ACCOUNT, REGION
from tests.integration.support import await_true, environment, free_port

SERVICE, WORKER = "permissions", "permissions-worker"
COMMAND = [sys.executable, "-m", "evenkeel_permissions"]


class WorkerAgent(LoggingAgent):
    """Runs containers with the command `worker` as processes of the permissions service; the others are pretended."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self.workers: dict[str, subprocess.Popen[bytes]] = {}
        self._written: dict[str, int] = {}
        self._names: dict[str, str] = {}

    def start(self, order: Order, now: float) -> None:
        super().start(order, now)
        for container in order.definition["containerDefinitions"]:
            if container.get("command") != ["worker"]:
                continue
            chosen = {pair["name"]: pair["value"] for pair in container["environment"]}
            with self._log(order.arn).open("wb") as log:
                self.workers[order.arn] = subprocess.Popen(
                    [*COMMAND, "worker"],
                    env=environment(EPR_AUDIT_HEALTH_PORT=str(free_port()), **chosen),
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
            self._names[order.arn] = container["name"]

    def stop(self, arn: str, now: float) -> None:
        super().stop(arn, now)
        if arn in self.workers:
            self.workers[arn].terminate()

    def states(self, now: float) -> Mapping[str, TaskReport]:
        return {arn: self._with_worker(arn, report, now) for arn, report in super().states(now).items()}

    def log(self, arn: str) -> str:
        return self._log(arn).read_text()

    def _log(self, arn: str) -> Path:
        return self._folder / f"{arn.rpartition('/')[2]}.log"

    def _with_worker(self, arn: str, report: TaskReport, now: float) -> TaskReport:
        if arn not in self.workers:
            return report
        name, code = self._names[arn], self.workers[arn].poll()
        self._ship(arn, now)
        status = "RUNNING" if code is None else "STOPPED"
        worker = replace(report.containers[name], status=status, exit_code=code)
        return replace(report, containers={**report.containers, name: worker})

    def _ship(self, arn: str, now: float) -> None:
        """New lines of the worker's log go to CloudWatch Logs."""
        lines = self.log(arn).splitlines()
        new = lines[self._written.get(arn, 0) :]
        if new:
            self._written[arn] = len(lines)
            self.logs.put_log_events(
                logGroupName=self.group,
                logStreamName=f"ecs/{self._names[arn]}/{arn.rpartition('/')[2]}",
                logEvents=[{"timestamp": int(now * 1000), "message": line} for line in new],
            )


class Events:
    """Sends events until it is told to stop, some of them twice."""

    def __init__(self, messages: Server) -> None:
        self._messages = messages
        messages.do("CreateQueue", QueueName="audit-dead")
        policy = {"deadLetterTargetArn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:audit-dead", "maxReceiveCount": 3}
        messages.do("CreateQueue", QueueName="audit", Attributes={"RedrivePolicy": json.dumps(policy)})
        self.url = messages.queue_url("audit")
        self.sent: list[str] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._send)

    def __enter__(self) -> Events:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(10)

    def left(self, queue: str) -> int:
        found = self._messages.do("GetQueueAttributes", QueueUrl=self._messages.queue_url(queue))["Attributes"]
        return int(found["ApproximateNumberOfMessages"]) + int(found["ApproximateNumberOfMessagesNotVisible"])

    def _send(self) -> None:
        while not self._over.wait(0.05):
            ids = [str(uuid.uuid4()) for _ in range(9)]
            bodies = [
                {"event_id": each, "type": "document.opened", "occurred_at": "2026-11-29T10:00:00Z", "actor": "user-1",
                 "resource": "document/1", "data": {}}
                for each in [*ids, ids[0]]
            ]  # fmt: skip
            entries = [{"Id": str(number), "MessageBody": json.dumps(body)} for number, body in enumerate(bodies)]
            self._messages.do("SendMessageBatch", QueueUrl=self.url, Entries=entries)
            self.sent += ids


class Operator:
    def __init__(self, ecs: Stage, variables: Mapping[str, str]) -> None:
        self.ecs = ecs
        options = {"awslogs-group": ecs.agent.group, "awslogs-region": REGION, "awslogs-stream-prefix": "ecs"}
        common = {"image": "permissions:1", "logConfiguration": {"logDriver": "awslogs", "options": options}}
        pairs = [{"name": name, "value": value} for name, value in variables.items()]
        self.api = {**common, "name": "api", "portMappings": [{"containerPort": 8080}]}
        self.worker = {**common, "name": "audit-worker", "command": ["worker"], "environment": pairs}

    def run(self, playbook: str, *services: dict[str, Any], **more: Any) -> str:
        variables = {
            "fleet_region": REGION,
            "fleet_account": ACCOUNT,
            "ecs_cluster": CLUSTER,
            "ecs_services": list(services),
            "_ecs_verify": False,
            **more,
        }
        done = play(self.ecs.endpoint, variables, playbook=f"playbooks/{playbook}.yml")
        assert (done.code, done.failures) == (0, ""), done.text
        return done.text

    def service(self, name: str, *containers: dict[str, Any]) -> dict[str, Any]:
        task = {
            "networkMode": "awsvpc",
            "requiresCompatibilities": ["FARGATE"],
            "cpu": "256",
            "memory": "512",
            "executionRoleArn": f"arn:aws:iam::{ACCOUNT}:role/execution",
            "containerDefinitions": list(containers),
        }
        service = {"launchType": "FARGATE", "networkConfiguration": NETWORK}
        return {"name": name, "task": task, "service": service, "count": 1, "pin": "tag"}


def ids(conninfo: str) -> list[str]:
    with psycopg.connect(conninfo) as connection:
        return [row[0] for row in connection.execute("SELECT event_id::text FROM audit_event")]


@pytest.fixture
def messages() -> Iterator[Server]:
    with Server() as running:
        yield running


def test_no_event_is_lost_or_stored_twice(empty: str, messages: Server, tmp_path: Path) -> None:
    migrating = environment(EPR_DATABASE_URL=empty)
    subprocess.run([*COMMAND, "migrate"], env=migrating, check=True, capture_output=True, timeout=60)
    agent = WorkerAgent(tmp_path)
    try:
        with stage(agent=agent) as ecs, Events(messages) as events:
            settings = {
                "AWS_ENDPOINT_URL": messages.url,
                "AWS_ACCESS_KEY_ID": "test",
                "AWS_SECRET_ACCESS_KEY": "test",
                "AWS_REGION": REGION,
                "EPR_DATABASE_URL": empty,
                "EPR_AUDIT_SQS_URL": events.url,
                "EPR_AUDIT_SQS_WAIT_TIME": "1",
                "EPR_AUDIT_SQS_VISIBILITY_TIMEOUT": "5",
            }
            operator = Operator(ecs, settings)
            sidecar = {**operator.worker, "essential": False}
            operator.run("ecs_deploy", operator.service(SERVICE, operator.api, sidecar))
            [before] = agent.workers
            await_true(lambda: "first batch stored" in agent.log(before), "the sidecar consumes", 120)

            operator.run(
                "ecs_split_worker",
                operator.service(SERVICE, operator.api),
                operator.service(WORKER, operator.worker),
                ecs_split_from=SERVICE,
                ecs_split_container="audit-worker",
                ecs_split_worker=WORKER,
                ecs_split_evidence="first batch stored",
            )
            assert agent.workers[before].wait(10) == 0, agent.log(before)
            [after] = [arn for arn, process in agent.workers.items() if process.poll() is None]
            assert after != before
            assert "first batch stored" in agent.log(after)
            events.__exit__()
            await_true(lambda: events.left("audit") == 0, "all events are consumed", 120)
            assert len(events.sent) > 100
            assert sorted(ids(empty)) == sorted(events.sent)
            assert events.left("audit-dead") == 0
    finally:
        for process in agent.workers.values():
            process.kill()
            process.wait(10)
