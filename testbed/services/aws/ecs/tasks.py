# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tasks and their states: what the agent reports becomes what DescribeTasks says."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterable, Mapping
from typing import Any

from .agent import Agent, Order, Targets, TaskReport
from .state import Container, Pace, Task

ESSENTIAL_EXITED = "Essential container in task exited"


class Tasks:
    """All tasks, of services and on their own.

    A task that is stopped for a deployment or for scaling in leaves its target groups first, and gets SIGTERM when it
    has drained. StopTask, and a container that exits, do not wait for that.
    """

    def __init__(self, agent: Agent, targets: Targets, pace: Pace, prefix: str, draw: random.Random) -> None:
        self.agent = agent
        self.targets = targets
        self.pace = pace
        self.tasks: dict[str, Task] = {}
        self._prefix = prefix
        self._draw = draw

    def of(self, service: str) -> list[Task]:
        """Those of a service's ARN, without those that have stopped."""
        return [task for task in self.tasks.values() if task.service == service and task.last_status != "STOPPED"]

    def run(
        self,
        cluster: str,
        definition: Mapping[str, Any],
        now: float,
        *,
        group: str,
        started_by: str = "",
        service: str = "",
        revision: str = "",
        targets: Iterable[tuple[str, int]] = (),
        options: Mapping[str, Any] | None = None,
    ) -> Task:
        """A new task. options are RunTask's: overrides, networkConfiguration, launchType and so on."""
        given = dict(options or {})
        cluster_name = cluster.rpartition("/")[2]
        identifier = f"{self._draw.getrandbits(128):032x}"
        content = overridden(definition, given.get("overrides", {}))
        containers = [
            Container(
                f"{self._prefix}:container/{cluster_name}/{identifier}/{self._draw.getrandbits(128):032x}",
                item["name"],
                item["image"],
                item.get("essential", True),
                bool(item.get("healthCheck")),
            )
            for item in content["containerDefinitions"]
        ]
        task = Task(
            arn=f"{self._prefix}:task/{cluster_name}/{identifier}",
            cluster=cluster,
            definition_arn=definition["taskDefinitionArn"],
            definition=content,
            containers=containers,
            group=group,
            started_by=started_by,
            created=now,
            since=now,
            options=given,
            service=service,
            revision=revision,
            targets=list(targets),
        )
        self.tasks[task.arn] = task
        return task

    def stop(self, task: Task, now: float, code: str, reason: str, *, drain: bool = True) -> None:
        """Ask a task to stop. drain: it leaves its target groups before its containers get SIGTERM."""
        if not task.live:
            return
        task.desired_status, task.stop_code, task.stopped_reason = "STOPPED", code, reason
        task.stopping = now
        registered, task.registered = task.registered, False
        if registered:
            for group, port in task.targets:
                self.targets.deregister(group, task.address, port)
        if registered and drain:
            task.enter("DEACTIVATING", now)
        elif task.started_by_agent:
            self.agent.stop(task.arn, now)
            task.enter("STOPPING", now)
        else:
            task.enter("DEPROVISIONING", now)

    def tick(self, now: float) -> None:
        """One state further, for each task that is due."""
        reports = self.agent.states(now)
        for task in list(self.tasks.values()):
            if task.last_status == "STOPPED":
                if task.stopped is not None and now - task.stopped > self.pace.kept:
                    del self.tasks[task.arn]
                continue
            self._take_over(task, reports.get(task.arn), now)
            if task.live:
                self._go_on(task, reports.get(task.arn), now)
            else:
                self._wind_down(task, reports.get(task.arn), now)

    def _take_over(self, task: Task, report: TaskReport | None, now: float) -> None:
        if report is None:
            return
        task.address = report.address or task.address
        for container in task.containers:
            container.report = report.containers.get(container.name, container.report)
        if not task.live:
            return
        if report.failed_to_start:
            self.stop(task, now, "TaskFailedToStart", report.failed_to_start, drain=False)
        elif any(item.essential and item.report.status == "STOPPED" for item in task.containers):
            self.stop(task, now, "EssentialContainerExited", ESSENTIAL_EXITED, drain=False)
        elif task.running and task.targets:
            task.target_state = self._worst(task)

    def _go_on(self, task: Task, report: TaskReport | None, now: float) -> None:
        if now - task.since < self.pace.state:
            return
        if task.last_status == "PROVISIONING":
            task.enter("PENDING", now)
            network = task.options.get("networkConfiguration", {})
            self.agent.start(Order(task.arn, task.cluster, task.definition, network), now)
            task.started_by_agent = True
        elif task.last_status == "PENDING" and report and all(map(up, task.containers)):
            for group, port in task.targets:
                self.targets.register(group, task.address, port)
            task.registered = bool(task.targets)
            task.enter("ACTIVATING", now)
        elif task.last_status == "ACTIVATING":
            task.enter("RUNNING", now)
            task.started = now

    def _wind_down(self, task: Task, report: TaskReport | None, now: float) -> None:
        if now - task.since < self.pace.state:
            return
        if task.last_status == "DEACTIVATING":
            states = {self.targets.state(group, task.address, port) for group, port in task.targets}
            if "draining" not in states:
                self.agent.stop(task.arn, now)
                task.enter("STOPPING", now)
        elif task.last_status == "STOPPING":
            if report is None or all(item.report.status == "STOPPED" for item in task.containers):
                task.enter("DEPROVISIONING", now)
        elif task.last_status == "DEPROVISIONING":
            task.enter("STOPPED", now)
            task.stopped = now
            self.agent.forget(task.arn)

    def _worst(self, task: Task) -> str:
        states = {self.targets.state(group, task.address, port) for group, port in task.targets}
        return next((state for state in ("unhealthy", "unused", "draining", "initial") if state in states), "healthy")


def up(container: Container) -> bool:
    """Started; one that is not essential may have ended already."""
    return container.report.status in (("RUNNING",) if container.essential else ("RUNNING", "STOPPED"))


def overridden(definition: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The definition as a task runs it. An override's environment is merged by name; all else replaces."""
    content = copy.deepcopy(dict(definition))
    content.update({name: value for name, value in overrides.items() if name != "containerOverrides"})
    for override in overrides.get("containerOverrides", []):
        for container in content["containerDefinitions"]:
            if container["name"] == override["name"]:
                variables = {item["name"]: item for item in container.get("environment", [])}
                variables.update({item["name"]: item for item in override.get("environment", [])})
                container.update(override)
                container["environment"] = list(variables.values())
    return content
