# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state of a service: its counts, deployments, tasks and events."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .service import described, differences
from .service_deployment import ServiceDeployment, short
from .service_deployments import ServiceDeployments
from .usage import TASKS_AT_ONCE, portions

EVENTS = 10
DEPLOYMENTS = 100
AGENT = "ExecuteCommandAgent"
EMPTY: dict[str, Any] = {
    "exists": False,
    "desired": 0,
    "running": 0,
    "pending": 0,
    "task_definition": "",
    "deployment": None,
    "last_good": "",
    "way_back": "",
    "stopped_tasks": [],
    "tasks": [],
    "differences": [],
    "exec_enabled": False,
    "events": [],
}


def state_of(deployments: ServiceDeployments, definition: Mapping[str, Any]) -> dict[str, Any]:
    """As ecs_service_info returns it; `definition` is what the service is compared with."""
    service = deployments.find()
    if service is None:
        return dict(EMPTY)
    listed = deployments.listed()
    newest = deployments.newest(listed)
    return {
        "exists": True,
        "desired": service["desiredCount"],
        "running": service["runningCount"],
        "pending": service["pendingCount"],
        # One that an external controller deploys has none.
        "task_definition": service.get("taskDefinition", ""),
        "deployment": newest.result() if newest else None,
        "last_good": deployments.last_good(deployments.brought_by(newest) if newest else "", listed),
        "way_back": way_back(history(deployments, listed)),
        "stopped_tasks": [task.result() for task in deployments.failed_tasks()],
        "tasks": running_tasks(deployments),
        "differences": differences(definition, described(service)),
        "exec_enabled": service.get("enableExecuteCommand", False),
        "events": [event["message"] for event in service.get("events", [])[:EVENTS]],
    }


def running_tasks(deployments: ServiceDeployments) -> list[dict[str, Any]]:
    """Each with its containers, and whether ECS Exec reaches these."""
    found = []
    listed = list(deployments.pages("ListTasks", "taskArns", serviceName=deployments.name, desiredStatus="RUNNING"))
    for arns in portions(listed, TASKS_AT_ONCE):
        found += [task_of(said) for said in deployments.call("DescribeTasks", tasks=arns)["tasks"]]
    return found


def task_of(said: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "task": said["taskArn"],
        "task_definition": said["taskDefinitionArn"],
        "status": said["lastStatus"],
        "health": said.get("healthStatus", "UNKNOWN"),
        "containers": [
            {
                "name": one["name"],
                "status": one.get("lastStatus", ""),
                "health": one.get("healthStatus", "UNKNOWN"),
                "exit_code": one.get("exitCode"),
                "reason": one.get("reason", ""),
                "exec_agent": _agent(one),
            }
            for one in said.get("containers", [])
        ],
    }


def _agent(container: Mapping[str, Any]) -> str:
    """The state of the agent of ECS Exec; "" where the task was started without it."""
    agents: Sequence[Mapping[str, Any]] = container.get("managedAgents") or []
    return next((str(one.get("lastStatus", "")) for one in agents if one.get("name") == AGENT), "")


def history(deployments: ServiceDeployments, listed: Sequence[Mapping[str, Any]]) -> Iterable[tuple[str, str]]:
    """Of each deployment from the newest, the task definition that it brought, and the one that it left in place.

    The latter is "" where it failed without a rollback, or has not ended.
    """
    for one in listed[:DEPLOYMENTS]:
        found = deployments.described(one["serviceDeploymentArn"])
        brought = deployments.brought_by(found)
        yield brought, _left(found, brought, deployments)


def _left(found: ServiceDeployment, brought: str, deployments: ServiceDeployments) -> str:
    if found.status == "SUCCESSFUL":
        return brought
    return deployments.definition_of(found.rolled_back_to) if found.status == "ROLLBACK_SUCCESSFUL" else ""


def way_back(deployed: Iterable[tuple[str, str]]) -> str:
    """Where a rollback goes: to the newest task definition in place that is older than the newest one brought.

    "" for none. After that rollback the answer is the same, so that a second one changes nothing.
    """
    newest = ""
    for brought, left in deployed:
        if brought and (not newest or _is_newer(brought, newest)):
            newest = brought
        if left and newest and left != newest and not _is_newer(left, newest):
            return left
    return ""


def _is_newer(one: str, other: str) -> bool:
    """Whether it is a later revision of the same family."""
    family, _colon, number = short(one).rpartition(":")
    other_family, _colon, other_number = short(other).rpartition(":")
    return family == other_family and int(number) > int(other_number)
