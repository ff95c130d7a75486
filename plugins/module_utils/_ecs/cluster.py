# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The declared cluster of ECS with its settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .._aws.api import Api, RefusedError
from .._aws.tags import ours_of, recorded
from .._common.progress import OperationError
from .tags import as_pairs, change_tags

CONTAINER_INSIGHTS = "containerInsights"
REFUSALS = ("ClusterContainsServicesException", "ClusterContainsTasksException")


@dataclass(frozen=True)
class DeclaredCluster:
    """settings are by their names in the API; tags None leaves them as they are."""

    name: str
    settings: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] | None = None


@dataclass
class ClusterReport:
    """arn is "" where there is no cluster; before and after are the declared settings."""

    arn: str = ""
    changed: bool = False
    before: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)


def ensure_cluster(ecs: Api, wanted: DeclaredCluster, check_mode: bool) -> ClusterReport:
    """Create the cluster or change what differs."""
    about = f"the cluster {wanted.name}"
    found = find_cluster(ecs, wanted.name)
    tags = {one["key"]: one["value"] for one in found.get("tags", [])}
    report = ClusterReport(str(found.get("clusterArn", "")), after=dict(wanted.settings))
    if wanted.tags is not None:
        report.after["tags"] = recorded(wanted.tags)
    if found:
        there = {one["name"]: one["value"] for one in found.get("settings", [])}
        report.before = {name: there[name] for name in wanted.settings if name in there}
        if wanted.tags is not None:
            report.before["tags"] = ours_of(tags, wanted.tags)
    report.changed = not found or report.before != report.after
    if check_mode or not report.changed:
        return report
    settings = [{"name": name, "value": value} for name, value in wanted.settings.items()]
    if not found:
        arguments = {"settings": settings, "tags": as_pairs(recorded(wanted.tags or {}))}
        given = {name: value for name, value in arguments.items() if value}
        made = ecs.call("CreateCluster", about, clusterName=wanted.name, **given)
        report.arn = made["cluster"]["clusterArn"]
        return report
    if any(report.before.get(name) != value for name, value in wanted.settings.items()):
        ecs.call("UpdateClusterSettings", about, cluster=wanted.name, settings=settings)
    if wanted.tags is not None and report.before["tags"] != report.after["tags"]:
        change_tags(ecs, report.arn, tags, wanted.tags, about)
    return report


def remove_cluster(ecs: Api, name: str, check_mode: bool) -> ClusterReport:
    """Delete the cluster; refused while it has services or tasks."""
    found = find_cluster(ecs, name)
    if not found:
        return ClusterReport()
    busy = {
        "services": found.get("activeServicesCount", 0),
        "running tasks": found.get("runningTasksCount", 0),
        "pending tasks": found.get("pendingTasksCount", 0),
    }
    used = [f"{count} {what}" for what, count in busy.items() if count]
    if used:
        raise OperationError(
            f"Nothing was changed: the cluster {name} has {', '.join(used)}. Delete its services and stop its tasks "
            "first."
        )
    if not check_mode:
        try:
            ecs.call("DeleteCluster", f"the cluster {name}", cluster=name)
        except RefusedError as error:
            if error.code in REFUSALS:
                raise OperationError(
                    f"Nothing was changed: the cluster {name} is in use: {error.said} Delete its services and stop its "
                    "tasks first."
                ) from error
            raise
    return ClusterReport(str(found["clusterArn"]), True, before={"name": name})


def find_cluster(ecs: Api, name: str) -> dict[str, Any]:
    """The active cluster of this name, with its settings and tags; empty where there is none."""
    said = ecs.call("DescribeClusters", f"the cluster {name}", clusters=[name], include=["SETTINGS", "TAGS"])
    # A deleted cluster can be described for a while.
    return next((dict(one) for one in said["clusters"] if one.get("status") != "INACTIVE"), {})
