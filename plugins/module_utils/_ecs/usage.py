# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which revisions of a family are used: by a service's deployments and task sets, or by a task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .._aws.api import Api
from .._common.progress import OperationError

SERVICES_AT_ONCE = 10
TASKS_AT_ONCE = 100
GONE = "MISSING"


def used_revisions(ecs: Api, family: str, clusters: Sequence[str]) -> dict[str, str]:
    """ARN of each revision in use, and by what; no clusters means all of the account and region.

    Raises OperationError where one question has no answer, so that a missing answer never counts as "unused".
    """
    found: dict[str, str] = {}
    for cluster in clusters or list(ecs.pages("ListClusters", "the clusters", "clusterArns")):
        about = f"the cluster {cluster.rpartition('/')[2]}"
        for service in _services(ecs, cluster, about):
            for arn in revisions_of(service):
                found.setdefault(arn, f"service {service['serviceName']}")
        for task in _tasks(ecs, cluster, family, about):
            found.setdefault(task["taskDefinitionArn"], f"task {task['taskArn'].rpartition('/')[2]}")
    return found


def revisions_of(service: Mapping[str, Any]) -> set[str]:
    """What a described service refers to; a deployment that ends still starts tasks of its revision."""
    parts = [service, *service.get("deployments", []), *service.get("taskSets", [])]
    return {part["taskDefinition"] for part in parts if part.get("taskDefinition")}


def _services(ecs: Api, cluster: str, about: str) -> Iterator[Mapping[str, Any]]:
    arns = list(ecs.pages("ListServices", about, "serviceArns", cluster=cluster))
    for some in portions(arns, SERVICES_AT_ONCE):
        said = ecs.call("DescribeServices", about, cluster=cluster, services=some)
        refuse_failures(said, about)
        # A deleted service stays for a while, without tasks.
        yield from (service for service in said["services"] if service.get("status") != "INACTIVE")


def _tasks(ecs: Api, cluster: str, family: str, about: str) -> Iterator[Mapping[str, Any]]:
    arns = list(ecs.pages("ListTasks", about, "taskArns", cluster=cluster, family=family))
    for some in portions(arns, TASKS_AT_ONCE):
        said = ecs.call("DescribeTasks", about, cluster=cluster, tasks=some)
        refuse_failures(said, about)
        yield from said["tasks"]


def refuse_failures(said: Mapping[str, Any], about: str) -> None:
    """A service or task that ended meanwhile is no failure."""
    failed = [failure for failure in said.get("failures", []) if failure.get("reason") != GONE]
    if failed:
        first = failed[0]
        raise OperationError(f"AWS could not describe {first.get('arn')} in {about}: {first.get('reason')}.")


def portions(arns: Sequence[str], size: int) -> list[list[str]]:
    return [list(arns[start : start + size]) for start in range(0, len(arns), size)]
