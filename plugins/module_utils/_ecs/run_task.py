# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A one-off task, such as a migration: start it or join it, wait for its end, and judge it by its exit codes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .._aws.api import Api
from .._common.progress import OperationError, Progress
from .container_logs import ContainerLogs
from .definition_lookup import described_definition
from .service import differences
from .service_deployment import StoppedTask, short

LONGEST_PAUSE = 2.0
# What a task on Fargate takes from a service that runs in the same network.
OF_A_SERVICE = ("launchType", "capacityProviderStrategy", "platformVersion", "networkConfiguration")
EITHER = {"launchType", "capacityProviderStrategy"}
STOPPED_WITHIN = 120.0


@dataclass
class RunReport(Progress):
    """The result of a call so far."""

    changed: bool = False
    joined: bool = False
    arn: str = ""
    task: StoppedTask | None = None
    log: list[str] = field(default_factory=list)

    def result(self) -> dict[str, Any]:
        return {
            "changed": self.changed,
            "joined": self.joined,
            "task": self.arn,
            "containers": self.task.result()["containers"] if self.task else [],
            "stop_reason": self.task.reason if self.task else "",
            "log": self.log,
            "progress": self.progress,
            "seconds": round(self.seconds, 3),
        }


def failures(task: StoppedTask, essential: Sequence[str]) -> list[str]:
    """Why a task that stopped has not done its work, in words: an essential container has not exited with 0."""
    if task.code == "TaskFailedToStart":
        return [task.words]
    found = []
    for one in task.containers:
        if one.name in essential and one.exit_code != 0:
            code = "without an exit code" if one.exit_code is None else f"with exit code {one.exit_code}"
            found.append(f"{one.name} ended {code}{f' ({one.reason})' if one.reason else ''}")
    return found


@dataclass(frozen=True)
class DeclaredTask:
    """`definition` has parameters of RunTask; `service` names one whose network and launch type the task gets."""

    cluster: str
    task_definition: str
    service: str
    started_by: str
    definition: Mapping[str, Any]


class OneOffTask:
    def __init__(self, ecs: Api, logs: ContainerLogs, wanted: DeclaredTask) -> None:
        self._ecs = ecs
        self._logs = logs
        self._wanted = wanted
        self._what = f"a task of {short(wanted.task_definition)} in the cluster {wanted.cluster}"

    def start(self, report: RunReport, *, check_mode: bool) -> None:
        """Start the task, or join one that a call before this one started in the same way."""
        wanted = self._wanted
        if check_mode and not wanted.task_definition:
            report.changed = True
            return
        definition = described_definition(self._ecs, wanted.task_definition)
        self._essential = [one["name"] for one in definition["containerDefinitions"] if one.get("essential", True)]
        arguments = {**self._of_the_service(), **wanted.definition}
        report.arn = self._running(definition["taskDefinitionArn"], arguments.get("overrides", {}))
        report.joined, report.changed = bool(report.arn), True
        if report.joined or check_mode:
            return
        said = self._call(
            "RunTask", taskDefinition=definition["taskDefinitionArn"], startedBy=wanted.started_by, **arguments
        )
        if said.get("failures") or not said["tasks"]:
            reasons = ", ".join(one.get("reason", "") for one in said.get("failures", [])) or "AWS gives no reason"
            raise OperationError(
                f"RunTask started nothing: {reasons}. See the capacity of the cluster {wanted.cluster}."
            )
        report.arn = said["tasks"][0]["taskArn"]
        report.note(f"started {short(report.arn)}")

    def follow(self, report: RunReport, log_lines: int) -> None:
        """Wait for its end. OperationError where it fails, or where it had to be stopped because the time is over."""

        def stopped() -> bool:
            said = self._described([report.arn])
            if not said:
                raise OperationError(f"AWS does not know the task {report.arn} any more.")
            report.note(said[0]["lastStatus"])
            if said[0]["lastStatus"] == "STOPPED":
                report.task = StoppedTask.of(said[0])
            return report.task is not None

        in_time = report.wait(stopped, LONGEST_PAUSE)
        late = ""
        if not in_time:
            late = f"The task {short(report.arn)} did not end within {report.timeout:g} s and was stopped."
            self._call("StopTask", task=report.arn, reason=f"not ended within {report.timeout:g} s")
            report.timeout = STOPPED_WITHIN
            report.wait(stopped, LONGEST_PAUSE)
        if report.task:
            report.log = self._logs.tail(report.task, log_lines, of_all=True)
        shown = "\nIts last log lines:\n  " + "\n  ".join(report.log) if report.log else ""
        if late or report.task is None:
            raise OperationError(f"{late}{shown}")
        found = failures(report.task, self._essential)
        if found:
            raise OperationError(f"The task {short(report.arn)} failed: {'; '.join(found)}.{shown}")

    def _of_the_service(self) -> dict[str, Any]:
        name = self._wanted.service
        if not name:
            return {}
        said = self._call("DescribeServices", services=[name])["services"]
        if not said or said[0]["status"] != "ACTIVE":
            raise OperationError(f"The cluster {self._wanted.cluster} has no active service {name}.")
        # AWS refuses the two together.
        left_out = EITHER if EITHER & {*self._wanted.definition} else set()
        return {key: said[0][key] for key in OF_A_SERVICE if said[0].get(key) and key not in left_out}

    def _running(self, definition: str, overrides: Mapping[str, Any]) -> str:
        """The task that was started in the same way and has not ended, or ""."""
        listed = self._call("ListTasks", startedBy=self._wanted.started_by, desiredStatus="RUNNING")["taskArns"]
        for said in self._described(listed):
            alike = said["taskDefinitionArn"] == definition and not differences(overrides, said.get("overrides", {}))
            if alike and said["lastStatus"] != "STOPPED":
                return str(said["taskArn"])
        return ""

    def _described(self, arns: Sequence[str]) -> list[dict[str, Any]]:
        tasks: list[dict[str, Any]] = self._call("DescribeTasks", tasks=list(arns))["tasks"] if arns else []
        return tasks

    def _call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        return self._ecs.call(operation, self._what, cluster=self._wanted.cluster, **arguments)
