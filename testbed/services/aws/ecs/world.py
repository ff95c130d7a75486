# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What all calls share: the engine, task definitions, clusters, tags, and who calls when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from moto.ecs.models import EC2ContainerServiceBackend

from ..query import RefusedError
from .deployments import Engine
from .state import Service, Task


def invalid(message: str) -> RefusedError:
    return RefusedError("InvalidParameter", message)


def page(name: str, found: Sequence[Any], given: Mapping[str, Any], most: int) -> dict[str, Any]:
    """A page of a list: of maxResults items, from nextToken on."""
    start = int(given.get("nextToken") or 0)
    end = start + min(given.get("maxResults") or most, 100)
    return {name: list(found[start:end]), **({"nextToken": str(end)} if end < len(found) else {})}


@dataclass
class World:
    """families has the task definitions by family, the oldest revision first. Clusters are moto's."""

    moto: EC2ContainerServiceBackend
    engine: Engine
    families: dict[str, list[dict[str, Any]]]
    caller: str
    now: float = 0.0
    tags: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    tokens: dict[str, list[str]] = field(default_factory=dict)

    def definition(self, name: str) -> dict[str, Any] | None:
        """Of an ARN, family:revision, or family (its latest ACTIVE revision)."""
        prefix = f"{self.engine.prefix}:task-definition/"
        if name.startswith("arn:") and not name.startswith(prefix):
            return None
        family, _, revision = name.removeprefix(prefix).partition(":")
        items = self.families.get(family, [])
        if not revision:
            return next((item for item in reversed(items) if item["status"] == "ACTIVE"), None)
        return next((item for item in items if str(item["revision"]) == revision), None)

    def runnable(self, name: str) -> dict[str, Any]:
        """A definition that a service or a task may be started of."""
        found = self.definition(name)
        if not found:
            raise RefusedError("Client", "TaskDefinition not found.")
        if found["status"] != "ACTIVE":
            raise RefusedError("Client", "TaskDefinition is inactive")
        return found

    def cluster(self, given: Mapping[str, Any]) -> str:
        """The ARN of the cluster that a call is about."""
        found = self.moto.clusters.get(given.get("cluster", "default").rpartition("/")[2])
        if not found:
            raise RefusedError("ClusterNotFound", "Cluster not found.")
        return str(found.arn)

    def service(self, given: Mapping[str, Any], name: str | None = None) -> Service | None:
        """By name or ARN; an ARN has to be of the call's cluster."""
        identifier = name or given["service"]
        cluster = self.cluster(given)
        path = f"{cluster.rpartition('/')[2]}/{identifier.rpartition('/')[2]}"
        arn = f"{self.engine.prefix}:service/{path}"
        return None if identifier.startswith("arn:") and identifier != arn else self.engine.services.get(arn)

    def active_service(self, given: Mapping[str, Any]) -> Service:
        found = self.service(given)
        if not found:
            raise RefusedError("ServiceNotFound", "Service not found.")
        if found.status != "ACTIVE":
            raise RefusedError("ServiceNotActive", "Service was not ACTIVE.")
        return found

    def task(self, given: Mapping[str, Any], name: str) -> Task | None:
        """By ARN or id, in the call's cluster."""
        cluster = self.cluster(given)
        arn = f"{self.engine.prefix}:task/{cluster.rpartition('/')[2]}/{name.rpartition('/')[2]}"
        return None if name.startswith("arn:") and name != arn else self.engine.tasks.tasks.get(arn)


def check_network(definition: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """awsvpc needs a network configuration; other modes allow none."""
    configured = given.get("networkConfiguration", {}).get("awsvpcConfiguration")
    if definition["networkMode"] == "awsvpc" and not configured:
        raise invalid("Network Configuration must be provided when networkMode 'awsvpc' is specified.")
    if definition["networkMode"] != "awsvpc" and configured:
        raise invalid("Network Configuration is not valid for the given networkMode of this task definition.")


def check_launch(definition: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    kind = given.get("launchType")
    if kind and given.get("capacityProviderStrategy"):
        raise invalid("Specifying both a launch type and capacity provider strategy is not supported.")
    if kind and kind not in definition["compatibilities"]:
        raise invalid(f"Task definition does not support launch_type {kind}.")
    if given.get("enableExecuteCommand") and not (
        definition.get("taskRoleArn") or given.get("overrides", {}).get("taskRoleArn")
    ):
        raise invalid(
            "The service couldn't be created because a valid taskRoleArn is not being used. "
            "Specify a valid task role in your task definition and try again."
        )
