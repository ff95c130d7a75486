# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Amazon ECS on the endpoint: a cluster whose tasks fare as a test says, by their image."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError
from werkzeug.wrappers import Request, Response

from testbed.services.aws.calls import Call
from testbed.services.aws.ecs.api import MODEL, Ecs
from testbed.services.aws.ecs.pretended import PretendedAgent
from testbed.services.aws.ecs.state import Pace
from tests.integration.endpoint import ACCOUNT, REGION, Endpoint
from tests.integration.support import await_true

NETWORK = {"awsvpcConfiguration": {"subnets": ["subnet-1"], "securityGroups": ["sg-1"]}}
PACE = Pace(state=0.02, settle=0.2, retry=0.05, minute=0.5)
TYPES: dict[str, Any] = {
    "string": str,
    "integer": int,
    "long": int,
    "boolean": bool,
    "double": float,
    "timestamp": float,
    "map": dict,
    "structure": dict,
    "list": list,
}
_numbers = itertools.count(1)


def unknown(shape: Any, value: Any, path: str) -> Iterator[str]:
    """Members that a shape does not have, and values that are not of its type or not among those that it allows."""
    if shape.type_name == "structure" and isinstance(value, dict):
        for name, member in value.items():
            if name not in shape.members:
                yield f"{path}.{name}"
            else:
                yield from unknown(shape.members[name], member, f"{path}.{name}")
    elif shape.type_name == "list" and isinstance(value, list):
        for item in value:
            yield from unknown(shape.member, item, path)
    elif not isinstance(value, TYPES[shape.type_name]) or value not in (shape.metadata.get("enum") or [value]):
        yield f"{path}: {value!r}"


class Cluster:
    """A cluster on an endpoint. agent.behaviours has how tasks of an image fare; functions, how a stage's hooks end."""

    def __init__(self, pace: Pace = PACE) -> None:
        self.agent = PretendedAgent()
        self.functions: dict[str, str] = {}
        self.ecs = Ecs(
            ACCOUNT,
            REGION,
            self.agent,
            functions=lambda _hook, stage, _arn: self.functions.get(stage, "SUCCEEDED"),
            pace=pace,
        )
        self.strange: set[str] = set()
        self.endpoint = Endpoint(self._answer)
        self.ecs.engine.tasks.targets = self.endpoint.states
        self.name = f"cluster-{next(_numbers)}"

    def __enter__(self) -> Cluster:
        self.endpoint.__enter__()
        self.client = self.endpoint.client("ecs")
        self.client.create_cluster(clusterName=self.name)
        return self

    def __exit__(self, *_: object) -> None:
        self.endpoint.__exit__()

    def _answer(self, call: Call, request: Request) -> Response | None:
        """The stand-in's answer. strange collects what the API's model does not have: boto3 would leave it out."""
        answer = self.ecs.answer(call, request)
        if answer and answer.status_code == 200:
            shape = MODEL.operation_model(call.action).output_shape
            self.strange |= set(unknown(shape, json.loads(answer.get_data()), call.action))
        return answer

    def family(self, image: str = "good", family: str = "", **container: Any) -> str:
        """A definition of one container for Fargate, in a new family or as the next revision of one: its ARN."""
        made = self.client.register_task_definition(
            family=family or f"family-{next(_numbers)}",
            requiresCompatibilities=["FARGATE"],
            networkMode="awsvpc",
            cpu="256",
            memory="512",
            taskRoleArn=f"arn:aws:iam::{ACCOUNT}:role/task",
            containerDefinitions=[
                {"name": "main", "image": image, "portMappings": [{"containerPort": 8080}], **container}
            ],
        )
        return str(made["taskDefinition"]["taskDefinitionArn"])

    def create(self, definition: str, desired: int = 2, **more: Any) -> str:
        """A new service: its name."""
        name = f"service-{next(_numbers)}"
        self.client.create_service(
            cluster=self.name,
            serviceName=name,
            taskDefinition=definition,
            desiredCount=desired,
            launchType="FARGATE",
            networkConfiguration=NETWORK,
            **more,
        )
        return name

    def update(self, service: str, **changes: Any) -> dict[str, Any]:
        made = self.client.update_service(cluster=self.name, service=service, **changes)
        return dict(made["service"])

    def service(self, name: str) -> dict[str, Any]:
        [found] = self.client.describe_services(cluster=self.name, services=[name])["services"]
        return dict(found)

    def deployments(self, service: str) -> list[dict[str, Any]]:
        """The newest first, in full."""
        listed = self.client.list_service_deployments(cluster=self.name, service=service)["serviceDeployments"]
        arns = [item["serviceDeploymentArn"] for item in listed]
        described = self.client.describe_service_deployments(serviceDeploymentArns=arns)
        return list(described["serviceDeployments"])

    def await_status(self, service: str, *statuses: str) -> dict[str, Any]:
        """The newest deployment, once it has one of these."""
        await_true(lambda: self.deployments(service)[0]["status"] in statuses, " or ".join(statuses))
        return self.deployments(service)[0]

    def tasks(self, service: str, status: str = "RUNNING") -> list[dict[str, Any]]:
        """Those whose desired status is this."""
        listed = self.client.list_tasks(cluster=self.name, serviceName=service, desiredStatus=status)["taskArns"]
        return list(self.client.describe_tasks(cluster=self.name, tasks=listed)["tasks"]) if listed else []


def refusal(call: Any, **given: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as caught:
        call(**given)
    told = caught.value.response["Error"]
    return str(told["Code"]), str(told["Message"])
