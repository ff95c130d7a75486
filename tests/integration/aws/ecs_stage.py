# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A cluster with services whose images fare as a test says."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from testbed.services.aws.calls import Gap
from testbed.services.aws.ecs.agent import Order
from testbed.services.aws.ecs.api import Ecs
from testbed.services.aws.ecs.pretended import Behaviour, PretendedAgent
from testbed.services.aws.ecs.state import Pace
from tests.integration.aws.stage import call
from tests.integration.endpoint import ACCOUNT, REGION, Endpoint

CLUSTER = "production"
NETWORK = {"awsvpcConfiguration": {"subnets": ["subnet-0123456789abcdef0"], "securityGroups": ["sg-0123456789abcdef0"]}}
# Of which no test wants that it ends a deployment first.
PATIENT = {"enable": True, "rollback": True, "thresholdConfiguration": {"type": "COUNT", "value": 1000}}
_numbers = itertools.count(1)


class LoggingAgent(PretendedAgent):
    """Its containers write a line to CloudWatch Logs when they start."""

    logs: Any = None
    group = ""

    def __init__(self) -> None:
        super().__init__()
        self.by_command: dict[str, Behaviour] = {}

    def start(self, order: Order, now: float) -> None:
        containers = [self._chosen(one, order.arn) for one in order.definition["containerDefinitions"]]
        super().start(replace(order, definition={**order.definition, "containerDefinitions": containers}), now)
        for container in order.definition["containerDefinitions"]:
            stream = f"ecs/{container['name']}/{order.arn.rpartition('/')[2]}"
            group = self.group_of(container)
            self.logs.create_log_stream(logGroupName=group, logStreamName=stream)
            message = f"{container['image']} starts, password=hunter2"
            event = {"timestamp": int(now * 1000), "message": message}
            self.logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=[event])

    def group_of(self, container: Mapping[str, Any]) -> str:
        """The log group of a container; that of the stage where it says nothing, or says one that is not there."""
        wanted = ((container.get("logConfiguration") or {}).get("options") or {}).get("awslogs-group", self.group)
        there = self.logs.describe_log_groups(logGroupNamePrefix=wanted)["logGroups"]
        return wanted if wanted in [one["logGroupName"] for one in there] else self.group

    def _chosen(self, container: Mapping[str, Any], task: str) -> Mapping[str, Any]:
        """The container with an image of its own where its command has a behaviour."""
        behaviour = self.by_command.get(" ".join(container.get("command", [])))
        if behaviour is None:
            return container
        image = f"{container['image']} {task}"
        self.behaviours[image] = behaviour
        return {**container, "image": image}


class Stage:
    """One endpoint; each test makes its own service."""

    def __init__(self, endpoint: Endpoint, ecs: Ecs, agent: LoggingAgent) -> None:
        self.endpoint, self.fake, self.agent = endpoint, ecs, agent
        self.ecs = endpoint.client("ecs")
        self.ecs.create_cluster(clusterName=CLUSTER)
        agent.logs, agent.group = endpoint.client("logs"), f"/stage-{next(_numbers)}/permissions"
        agent.logs.create_log_group(logGroupName=agent.group)

    def register(self, family: str, image: str, behaviour: Behaviour | None = None, **container: Any) -> str:
        """The ARN of a new revision whose image fares like that."""
        if behaviour:
            self.agent.behaviours[image] = behaviour
        options = {"awslogs-group": self.agent.group, "awslogs-region": REGION, "awslogs-stream-prefix": "ecs"}
        definition = {
            "name": "api",
            "image": image,
            "essential": True,
            "portMappings": [{"containerPort": 8080}],
            "logConfiguration": {"logDriver": "awslogs", "options": options},
            **container,
        }
        made = self.ecs.register_task_definition(
            family=family,
            networkMode="awsvpc",
            requiresCompatibilities=["FARGATE"],
            cpu="256",
            memory="512",
            executionRoleArn=f"arn:aws:iam::{ACCOUNT}:role/execution",
            containerDefinitions=[definition],
        )
        return str(made["taskDefinition"]["taskDefinitionArn"])

    def serving(self, breaker: Mapping[str, Any] | None = None, count: int = 2) -> tuple[str, str]:
        """A service that runs its first revision, and the revision's ARN."""
        name = f"permissions-{next(_numbers)}"
        first = self.register(name, f"{name}:1")
        self.ecs.create_service(
            cluster=CLUSTER,
            serviceName=name,
            taskDefinition=first,
            desiredCount=count,
            launchType="FARGATE",
            networkConfiguration=NETWORK,
            deploymentConfiguration={"deploymentCircuitBreaker": dict(breaker or PATIENT)},
        )
        self.await_status(name, "SUCCESSFUL")
        self.fake.writes.clear()
        return name, first

    def newest(self, service: str) -> dict[str, Any]:
        listed = self.ecs.list_service_deployments(cluster=CLUSTER, service=service)["serviceDeployments"]
        found: dict[str, Any] = max(listed, key=lambda one: one["createdAt"])
        return found

    def await_status(self, service: str, status: str, within: float = 60.0) -> None:
        ends = time.monotonic() + within
        while self.newest(service)["status"] != status:
            assert time.monotonic() < ends, self.newest(service)
            time.sleep(0.05)

    def runs(self, service: str) -> set[str]:
        """The task definitions of the tasks that run."""
        arns = self.ecs.list_tasks(cluster=CLUSTER, serviceName=service, desiredStatus="RUNNING")["taskArns"]
        tasks = self.ecs.describe_tasks(cluster=CLUSTER, tasks=arns)["tasks"] if arns else []
        return {one["taskDefinitionArn"] for one in tasks if one["lastStatus"] == "RUNNING"}

    def deploy(self, service: str, definition: str, *, check: bool = False, **more: Any) -> dict[str, Any]:
        wanted = {"cluster": CLUSTER, "service": service, "task_definition": definition, "wait_timeout": 20, **more}
        return call(self.endpoint, "ecs_deploy", wanted, check=check)

    @property
    def writes(self) -> list[str]:
        """The calls that changed something, by their names."""
        return [action for action, _given in self.fake.writes]


@contextmanager
def stage(*gaps: Gap, first: Gap | None = None, agent: LoggingAgent | None = None) -> Iterator[Stage]:
    """`first` is asked before ECS is."""
    agent = agent or LoggingAgent()
    ecs = Ecs(ACCOUNT, REGION, agent, pace=Pace(settle=0.3, retry=0.2))
    with Endpoint(*([first] if first else []), ecs.answer, *gaps) as endpoint:
        yield Stage(endpoint, ecs, agent)
