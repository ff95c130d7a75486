# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Task definitions for tests, each of a family of its own, and what is registered of them."""

from __future__ import annotations

import copy
import itertools
import json
from typing import Any

from tests.integration.aws.stage import call
from tests.integration.endpoint import ACCOUNT, REGION, Endpoint

PASSWORD = "hunter2-planted"
ROLES = f"arn:aws:iam::{ACCOUNT}:role"
STORED = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:permissions/database-AbCdEf"
REGISTRY = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com"
_numbers = itertools.count(1)


def api(declared: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = declared["containerDefinitions"][0]
    return found


def definition(**more: Any) -> dict[str, Any]:
    """Of a family of its own."""
    return {
        "family": f"permissions-{next(_numbers)}",
        "requiresCompatibilities": ["FARGATE"],
        "networkMode": "awsvpc",
        "cpu": 512,
        "memory": 1024,
        "executionRoleArn": f"{ROLES}/execution",
        "containerDefinitions": [
            {
                "name": "api",
                "image": "registry.example.com/permissions:1",
                "memory": 512,
                "command": ["serve", "--port", 8080],
                "portMappings": [{"containerPort": 8080, "hostPort": 8080, "protocol": "tcp"}],
                "environment": [
                    {"name": "LOG_LEVEL", "value": "INFO"},
                    {"name": "DB_PASSWORD", "value": PASSWORD},
                ],
                "secrets": [{"name": "DATABASE_URL", "valueFrom": STORED}],
                "dependsOn": [{"containerName": "migrate", "condition": "SUCCESS"}],
            },
            {"name": "migrate", "image": "registry.example.com/permissions:1", "essential": False, "memory": 128},
        ],
        **more,
    }


def writes(aws: Endpoint) -> list[str]:
    """The calls since the last time that change something."""
    found = [name for name in aws.faults.calls if not name.partition(":")[2].startswith(("Describe", "List"))]
    aws.faults.calls.clear()
    return found


def run(aws: Endpoint, declared: dict[str, Any], *, check: bool = False, **more: Any) -> dict[str, Any]:
    aws.faults.calls.clear()
    result = call(
        aws, "ecs_task_definition", {"definition": copy.deepcopy(declared), "pin": "tag", **more}, check=check
    )
    assert "planted" not in json.dumps(result)
    return result


def registered(aws: Endpoint, declared: dict[str, Any], **more: Any) -> dict[str, Any]:
    result = run(aws, declared, **more)
    assert (result["failed"], result["changed"], result["registered"]) == (False, True, True), result
    return result


def service_of(aws: Endpoint, task_definition: str) -> dict[str, Any]:
    ecs = aws.client("ecs")
    number = next(_numbers)
    ecs.create_cluster(clusterName=f"cluster-{number}")
    ecs.create_service(
        cluster=f"cluster-{number}", serviceName=f"service-{number}", taskDefinition=task_definition, desiredCount=1
    )
    return {"cluster": f"cluster-{number}", "service": f"service-{number}"}


def on_bridge() -> dict[str, Any]:
    """moto runs no tasks with a network of their own."""
    return definition(requiresCompatibilities=["EC2"], networkMode="bridge")


def revisions(aws: Endpoint, family: str) -> list[int]:
    arns = aws.client("ecs").list_task_definitions(familyPrefix=family)["taskDefinitionArns"]
    return sorted(int(arn.rpartition(":")[2]) for arn in arns)


def push(aws: Endpoint, repository: str, tag: str) -> str:
    """A new image under the tag: its digest."""
    ecr = aws.client("ecr")
    if repository not in [found["repositoryName"] for found in ecr.describe_repositories()["repositories"]]:
        ecr.create_repository(repositoryName=repository)
    manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "n": next(_numbers)}
    put = ecr.put_image(repositoryName=repository, imageManifest=json.dumps(manifest), imageTag=tag)
    return str(put["image"]["imageId"]["imageDigest"])


def five_revisions(aws: Endpoint) -> tuple[dict[str, Any], list[str]]:
    declared = on_bridge()
    arns = []
    for level in ("1", "2", "3", "4", "5"):
        api(declared)["environment"][0]["value"] = level
        arns.append(registered(aws, declared)["task_definition"])
    return declared, arns
