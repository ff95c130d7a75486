# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Task definitions: what AWS fills in, what it refuses, and the calls about them."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from typing import Any

from ..query import RefusedError
from .world import World, page

COMPATIBILITIES = ("EC2", "FARGATE", "EXTERNAL", "MANAGED_INSTANCES")
GIB = 1024
FARGATE: dict[int, set[int]] = {
    256: {512, GIB, 2 * GIB},
    512: set(range(GIB, 4 * GIB + 1, GIB)),
    1024: set(range(2 * GIB, 8 * GIB + 1, GIB)),
    2048: set(range(4 * GIB, 16 * GIB + 1, GIB)),
    4096: set(range(8 * GIB, 30 * GIB + 1, GIB)),
    8192: set(range(16 * GIB, 60 * GIB + 1, 4 * GIB)),
    16384: set(range(32 * GIB, 120 * GIB + 1, 8 * GIB)),
}
CONTAINER = {
    "cpu": 0,
    "portMappings": [],
    "essential": True,
    "environment": [],
    "mountPoints": [],
    "volumesFrom": [],
    "systemControls": [],
}
HEALTH_CHECK = {"interval": 30, "timeout": 5, "retries": 3}
CHECKED = "Invalid setting for container '{}'. {}"


def client_error(message: str) -> RefusedError:
    return RefusedError("Client", message)


def completed(given: Mapping[str, Any]) -> dict[str, Any]:
    """A definition with the defaults of AWS. RefusedError for one that AWS does not register."""
    content = {name: copy.deepcopy(value) for name, value in given.items() if name != "tags"}
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,255}", content.get("family", "")):
        raise client_error("Family contains invalid characters.")
    for name, unit in (("cpu", "vcpu"), ("memory", "gb")):
        if name in content:
            content[name] = units(name, str(content[name]), unit)
    required = content.get("requiresCompatibilities", [])
    unknown = [item for item in required if item not in COMPATIBILITIES]
    if unknown:
        raise client_error(f"Invalid compatibility: {', '.join(unknown)}")
    containers = content.get("containerDefinitions", [])
    if not containers:
        raise client_error("Container list cannot be empty.")
    fargate = "FARGATE" in required
    mode = content.setdefault("networkMode", "awsvpc" if fargate else "bridge")
    content["containerDefinitions"] = [_container(item, mode) for item in containers]
    content.update({name: content.get(name, []) for name in ("volumes", "placementConstraints")})
    content.setdefault("enableFaultInjection", False)
    content["compatibilities"] = ["EC2", "FARGATE"] if fargate else ["EC2", *(r for r in required if r != "EC2")]
    _check(content, fargate)
    content["requiresAttributes"] = [{"name": name} for name in attributes(content)]
    return content


def attributes(content: Mapping[str, Any]) -> list[str]:
    """Some of the attributes that AWS derives: clients have to leave them out of a comparison."""
    capability = "com.amazonaws.ecs.capability"
    containers = content["containerDefinitions"]
    found = {f"{capability}.docker-remote-api.1.18"}
    found |= {f"{capability}.task-iam-role"} if content.get("taskRoleArn") else set()
    found |= {"ecs.capability.task-eni"} if content["networkMode"] == "awsvpc" else set()
    found |= {"ecs.capability.container-health-check"} if any("healthCheck" in item for item in containers) else set()
    drivers = {item["logConfiguration"]["logDriver"] for item in containers if "logConfiguration" in item}
    return sorted(found | {f"{capability}.logging-driver.{driver}" for driver in drivers})


def units(name: str, text: str, unit: str) -> str:
    """CPU units or MiB: "1 vCPU" is 1024, "2 GB" is 2048."""
    found = re.fullmatch(rf"([0-9.]+)\s*({unit})?", text.strip(), re.IGNORECASE)
    if not found:
        raise client_error(f"Invalid '{name}' setting for task.")
    return str(int(float(found[1]) * GIB)) if found[2] else found[1]


def _container(given: Mapping[str, Any], mode: str) -> dict[str, Any]:
    for name in ("name", "image"):
        if not given.get(name):
            raise client_error(f"Container.{name} should not be null or empty.")
    container = {**copy.deepcopy(CONTAINER), **given}
    fixed = mode in ("awsvpc", "host")
    mappings = []
    for mapping in container["portMappings"]:
        port = mapping.get("containerPort", 0)
        mapping = {"containerPort": port, "hostPort": port if fixed else 0, "protocol": "tcp", **mapping}
        if fixed and mapping["hostPort"] != port:
            raise client_error(
                f"When networkMode={mode}, the host ports and container ports in port mappings must match."
            )
        mappings.append(mapping)
    container["portMappings"] = mappings
    if "healthCheck" in container:
        container["healthCheck"] = {**HEALTH_CHECK, **container["healthCheck"]}
    return container


def _check(content: Mapping[str, Any], fargate: bool) -> None:
    containers = content["containerDefinitions"]
    names = [item["name"] for item in containers]
    if len(set(names)) != len(names):
        raise client_error("Container names should be unique.")
    if not any(item["essential"] for item in containers):
        raise client_error("A task definition must have at least one essential container.")
    for item in containers:
        for dependency in item.get("dependsOn", []):
            if dependency["containerName"] not in names:
                raise client_error(
                    f"Invalid dependency: container '{dependency['containerName']}' is not in the task definition."
                )
        if "memory" not in content and not item.get("memory") and not item.get("memoryReservation"):
            missing = "At least one of 'memory' or 'memoryReservation' must be specified."
            raise client_error(CHECKED.format(item["name"], missing))
        if "memory" in content and item.get("memory", 0) > int(content["memory"]):
            greater = "The 'memory' setting for container is greater than for the task."
            raise client_error(CHECKED.format(item["name"], greater))
    secrets = any(item.get("secrets") for item in containers)
    if secrets and not content.get("executionRoleArn"):
        raise client_error(
            "When you are specifying container secrets, you must also specify a value for 'executionRoleArn'."
        )
    if fargate:
        _check_fargate(content)


def _check_fargate(content: Mapping[str, Any]) -> None:
    if content["networkMode"] != "awsvpc":
        raise client_error("Fargate only supports network mode ‘awsvpc’.")  # noqa: RUF001  # AWS's own quotes
    for name in ("cpu", "memory"):
        if name not in content:
            raise client_error(f"Fargate requires that '{name}' be defined at the task level.")
    if int(content["memory"]) not in FARGATE.get(int(content["cpu"]), set()):
        raise client_error(
            f"No Fargate configuration exists for given values: {content['cpu']} CPU, {content['memory']} memory. "
            "See the Amazon ECS documentation for the valid values."
        )
    if content.get("executionRoleArn"):
        return
    needs = "Fargate requires task definition to have execution role ARN to support"
    for item in content["containerDefinitions"]:
        if ".dkr.ecr." in item["image"]:
            raise client_error(f"{needs} ECR images.")
        if item.get("logConfiguration", {}).get("logDriver") == "awslogs":
            raise client_error(f"{needs} log driver awslogs.")


class TaskDefinitionCalls:
    def __init__(self, world: World) -> None:
        self._world = world

    def register_task_definition(self, given: Mapping[str, Any]) -> dict[str, Any]:
        content = completed(given)
        family = self._world.families.setdefault(content["family"], [])
        number = len(family) + 1
        content.update(
            taskDefinitionArn=f"{self._world.engine.prefix}:task-definition/{content['family']}:{number}",
            revision=number,
            status="ACTIVE",
            registeredAt=self._world.now,
            registeredBy=self._world.caller,
        )
        family.append(content)
        self._world.tags[content["taskDefinitionArn"]] = list(given.get("tags", []))
        return {"taskDefinition": content, "tags": given.get("tags", [])}

    def describe_task_definition(self, given: Mapping[str, Any]) -> dict[str, Any]:
        found = self._world.definition(given["taskDefinition"])
        if not found:
            raise client_error("Unable to describe task definition.")
        tags = {"tags": self._world.tags[found["taskDefinitionArn"]]} if "TAGS" in given.get("include", []) else {}
        return {"taskDefinition": found, **tags}

    def deregister_task_definition(self, given: Mapping[str, Any]) -> dict[str, Any]:
        if not re.search(r":[0-9]+$", given["taskDefinition"]):
            raise RefusedError("InvalidParameter", "Task definition must specify a revision.")
        found = self._world.definition(given["taskDefinition"])
        if not found:
            raise client_error("The specified task definition does not exist.")
        if found["status"] == "ACTIVE":
            found.update(status="INACTIVE", deregisteredAt=self._world.now)
        return {"taskDefinition": found}

    def delete_task_definitions(self, given: Mapping[str, Any]) -> dict[str, Any]:
        deleted, failures = [], []
        for name in given["taskDefinitions"]:
            found = self._world.definition(name)
            if not found:
                failures.append({"arn": name, "reason": "The specified task definition does not exist."})
            elif found["status"] == "ACTIVE":
                reason = "The specified task definition is still in ACTIVE status. Please deregister the target."
                failures.append({"arn": found["taskDefinitionArn"], "reason": reason})
            else:
                found.update(status="DELETE_IN_PROGRESS", deleteRequestedAt=self._world.now)
                deleted.append(found)
        return {"taskDefinitions": deleted, "failures": failures}

    def list_task_definitions(self, given: Mapping[str, Any]) -> dict[str, Any]:
        status = given.get("status", "ACTIVE")
        families = [given["familyPrefix"]] if "familyPrefix" in given else sorted(self._world.families)
        found = [
            item["taskDefinitionArn"]
            for family in families
            for item in self._world.families.get(family, [])
            if item["status"] == status
        ]
        return page("taskDefinitionArns", found[::-1] if given.get("sort") == "DESC" else found, given, 100)

    def list_task_definition_families(self, given: Mapping[str, Any]) -> dict[str, Any]:
        status = given.get("status", "ALL")
        found = [
            name
            for name, items in sorted(self._world.families.items())
            if name.startswith(given.get("familyPrefix", ""))
            and (status == "ALL" or any(item["status"] == "ACTIVE" for item in items) == (status == "ACTIVE"))
        ]
        return page("families", found, given, 100)
