# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What moto's clusters lack, and the tags of what moto does not know."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from ..query import RefusedError
from .world import World, invalid


class ClusterCalls:
    def __init__(self, world: World) -> None:
        self._world = world

    def describe_clusters(self, given: Mapping[str, Any]) -> dict[str, Any]:
        found, failures = [], []
        for name in given.get("clusters") or ["default"]:
            cluster = self._world.moto.clusters.get(name.rpartition("/")[2])
            if cluster:
                found.append(self._described(cluster, given.get("include", [])))
            else:
                arn = f"{self._world.engine.prefix}:cluster/{name.rpartition('/')[2]}"
                failures.append({"arn": arn, "reason": "MISSING"})
        return {"clusters": found, "failures": failures}

    def update_cluster_settings(self, given: Mapping[str, Any]) -> dict[str, Any]:
        self._world.cluster(given)
        cluster = self._world.moto.clusters[given["cluster"].rpartition("/")[2]]
        settings = {item["name"]: item for item in cluster.settings or []}
        settings.update({item["name"]: item for item in given["settings"]})
        cluster.settings = list(settings.values())
        return {"cluster": self._described(cluster, ["SETTINGS", "TAGS"])}

    def delete_cluster(self, given: Mapping[str, Any]) -> None:
        """Refuse where AWS refuses; else moto deletes it."""
        cluster = self._world.cluster(given)
        engine = self._world.engine
        if any(service.cluster == cluster and service.status != "INACTIVE" for service in engine.services.values()):
            raise RefusedError("ClusterContainsServices", "The Cluster cannot be deleted while Services are active.")
        if any(task.cluster == cluster and task.last_status != "STOPPED" for task in engine.tasks.tasks.values()):
            raise RefusedError("ClusterContainsTasks", "The Cluster cannot be deleted while Tasks are active.")

    def list_tags_for_resource(self, given: Mapping[str, Any]) -> dict[str, Any] | None:
        tags = self._tags(given["resourceArn"])
        return None if tags is None else {"tags": tags}

    def tag_resource(self, given: Mapping[str, Any]) -> dict[str, Any] | None:
        tags = self._tags(given["resourceArn"])
        if tags is None:
            return None
        merged = {item["key"]: item for item in [*tags, *given["tags"]]}
        tags[:] = list(merged.values())
        return {}

    def untag_resource(self, given: Mapping[str, Any]) -> dict[str, Any] | None:
        tags = self._tags(given["resourceArn"])
        if tags is None:
            return None
        tags[:] = [item for item in tags if item["key"] not in given["tagKeys"]]
        return {}

    def mirror(self) -> None:
        """Tell moto which services exist: its Application Auto Scaling and its tagging API ask for them."""
        for service in self._world.engine.services.values():
            key = f"{service.cluster.rpartition('/')[2]}:{service.name}"
            if service.status == "INACTIVE":
                self._world.moto.services.pop(key, None)
            else:
                self._world.moto.services[key] = SimpleNamespace(
                    name=service.name,
                    arn=service.arn,
                    physical_resource_id=service.arn,
                    cluster_name=service.cluster.rpartition("/")[2],
                    tags=service.tags,
                    task_sets=[],
                )

    def _tags(self, arn: str) -> list[dict[str, str]] | None:
        engine = self._world.engine
        kind = arn.split(":", 5)[-1].partition("/")[0]
        found: list[dict[str, str]] | None = None
        if kind == "service" and arn in engine.services:
            found = engine.services[arn].tags
        elif kind == "task" and arn in engine.tasks.tasks:
            found = engine.tasks.tasks[arn].options.setdefault("tags", [])
        elif kind == "task-definition":
            found = self._world.tags.get(arn)
        elif kind == "cluster" and arn.rpartition("/")[2] in self._world.moto.clusters:
            cluster = self._world.moto.clusters[arn.rpartition("/")[2]]
            cluster.tags = found = cluster.tags or []
        else:
            return None
        if found is None:
            raise invalid("The specified resource was not found.")
        return found

    def _described(self, cluster: Any, include: list[str]) -> dict[str, Any]:
        engine = self._world.engine
        tasks = [task for task in engine.tasks.tasks.values() if task.cluster == cluster.arn and task.live]
        services = [item for item in engine.services.values() if item.cluster == cluster.arn]
        content = {
            "clusterArn": cluster.arn,
            "clusterName": cluster.name,
            "status": cluster.status,
            "registeredContainerInstancesCount": cluster.registered_container_instances_count,
            "runningTasksCount": sum(task.running for task in tasks),
            "pendingTasksCount": sum(not task.running for task in tasks),
            "activeServicesCount": sum(item.status == "ACTIVE" for item in services),
            "statistics": [],
            "tags": (cluster.tags or []) if "TAGS" in include else [],
            "settings": cluster.settings if "SETTINGS" in include else [],
            "capacityProviders": cluster.capacity_providers or [],
            "defaultCapacityProviderStrategy": cluster.default_capacity_provider_strategy or [],
        }
        if "CONFIGURATIONS" in include and cluster.configuration:
            content["configuration"] = cluster.configuration
        return content
