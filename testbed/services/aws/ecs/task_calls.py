# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The calls about tasks."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from ..query import RefusedError
from . import described
from .state import Task
from .world import World, check_launch, check_network, invalid, page

NO_EXEC = (
    "The execute command failed because execute command was not enabled when the task was run or the execute command "
    "agent isn’t running. Wait and try again or run a new task with execute command enabled and try again."  # noqa: RUF001
)
OPTIONS = (
    "launchType",
    "capacityProviderStrategy",
    "enableExecuteCommand",
    "networkConfiguration",
    "overrides",
    "platformVersion",
    "tags",
)
PROTECTED_MINUTES = 120


class TaskCalls:
    def __init__(self, world: World) -> None:
        self._world = world

    def run_task(self, given: Mapping[str, Any]) -> dict[str, Any]:
        world = self._world
        cluster = world.cluster(given)
        definition = world.runnable(given["taskDefinition"])
        number = given.get("count", 1)
        if not 1 <= number <= 10:
            raise invalid("count should be between 1 and 10.")
        check_launch(definition, given)
        check_network(definition, given)
        names = {item["name"] for item in definition["containerDefinitions"]}
        for override in given.get("overrides", {}).get("containerOverrides", []):
            if override.get("name") not in names:
                raise invalid(
                    f"Override for container named {override.get('name')} is not a container in the TaskDefinition."
                )
        token = given.get("clientToken", "")
        if token not in world.tokens:
            tasks = [
                world.engine.tasks.run(
                    cluster,
                    definition,
                    world.now,
                    group=given.get("group", f"family:{definition['family']}"),
                    started_by=given.get("startedBy", ""),
                    options={name: given[name] for name in OPTIONS if name in given},
                )
                for _ in range(number)
            ]
            if token:
                world.tokens[token] = [task.arn for task in tasks]
        else:
            tasks = [world.engine.tasks.tasks[arn] for arn in world.tokens[token] if arn in world.engine.tasks.tasks]
        return {"tasks": [described.task(task, tags=True) for task in tasks], "failures": []}

    def stop_task(self, given: Mapping[str, Any]) -> dict[str, Any]:
        task = self._one(given)
        reason = given.get("reason") or "Task stopped by user"
        self._world.engine.tasks.stop(task, self._world.now, "UserInitiated", reason, drain=False)
        return {"task": described.task(task)}

    def describe_tasks(self, given: Mapping[str, Any]) -> dict[str, Any]:
        if not 0 < len(given["tasks"]) <= 100:
            raise invalid("Tasks cannot be empty." if not given["tasks"] else "tasks can have at most 100 items.")
        tags = "TAGS" in given.get("include", [])
        found, failures = self._found(given)
        return {"tasks": [described.task(task, tags=tags) for task in found], "failures": failures}

    def list_tasks(self, given: Mapping[str, Any]) -> dict[str, Any]:
        cluster = self._world.cluster(given)
        group = ""
        if "serviceName" in given:
            service = self._world.service(given, given["serviceName"])
            if not service:
                raise RefusedError("ServiceNotFound", "Service not found.")
            group = f"service:{service.name}"
        desired = given.get("desiredStatus", "RUNNING")
        family = given.get("family")
        found = [
            task.arn
            for task in self._world.engine.tasks.tasks.values()
            if task.cluster == cluster
            and task.desired_status == desired
            and (not group or task.group == group)
            and given.get("startedBy") in (None, task.started_by)
            and family in (None, task.definition["family"])
            and given.get("launchType") in (None, described.task(task)["launchType"])
        ]
        return page("taskArns", found, given, 100)

    def execute_command(self, given: Mapping[str, Any]) -> dict[str, Any]:
        task = self._one(given)
        if not task.options.get("enableExecuteCommand") or not task.running:
            raise invalid(NO_EXEC)
        names = [item.name for item in task.containers]
        name = given.get("container") or names[0]
        if name not in names or (len(names) > 1 and "container" not in given):
            raise invalid("The container name must be specified, and must be one of the task's containers.")
        container = task.containers[names.index(name)]
        session = f"ecs-execute-command-{secrets.token_hex(9)}"
        region = task.arn.split(":")[3]
        return {
            "clusterArn": task.cluster,
            "taskArn": task.arn,
            "containerArn": container.arn,
            "containerName": name,
            "interactive": given["interactive"],
            "session": {
                "sessionId": session,
                "streamUrl": f"wss://ssmmessages.{region}.amazonaws.com/v1/data-channel/{session}?role=publish_subscribe",
                "tokenValue": secrets.token_hex(32),
            },
        }

    def get_task_protection(self, given: Mapping[str, Any]) -> dict[str, Any]:
        found, failures = self._protectable(given)
        return {"protectedTasks": [self._protection(task) for task in found], "failures": failures}

    def update_task_protection(self, given: Mapping[str, Any]) -> dict[str, Any]:
        minutes = given.get("expiresInMinutes", PROTECTED_MINUTES)
        if not 1 <= minutes <= 2880:
            raise invalid("expiresInMinutes must be between 1 and 2880.")
        found, failures = self._protectable(given)
        for task in found:
            task.protected_until = self._world.now + minutes * 60 if given["protectionEnabled"] else None
        return {"protectedTasks": [self._protection(task) for task in found], "failures": failures}

    def _protection(self, task: Task) -> dict[str, Any]:
        enabled = task.protected(self._world.now)
        content: dict[str, Any] = {"taskArn": task.arn, "protectionEnabled": enabled}
        return {**content, "expirationDate": task.protected_until} if enabled else content

    def _protectable(self, given: Mapping[str, Any]) -> tuple[list[Task], list[dict[str, str]]]:
        found, failures = self._found(given)
        unfit = [{"arn": task.arn, "reason": "TASK_NOT_VALID"} for task in found if not task.service or not task.live]
        return [task for task in found if task.service and task.live], [*failures, *unfit]

    def _found(self, given: Mapping[str, Any]) -> tuple[list[Task], list[dict[str, str]]]:
        cluster = self._world.cluster(given)
        found, failures = [], []
        for name in given.get("tasks", []):
            task = self._world.task(given, name)
            if task:
                found.append(task)
            else:
                path = f"{cluster.rpartition('/')[2]}/{name.rpartition('/')[2]}"
                failures.append({"arn": f"{self._world.engine.prefix}:task/{path}", "reason": "MISSING"})
        return found, failures

    def _one(self, given: Mapping[str, Any]) -> Task:
        task = self._world.task(given, given["task"])
        if not task:
            raise invalid("The referenced task was not found.")
        return task
