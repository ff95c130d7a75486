# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring a task definition to a service: start the deployment or join it, follow it, and go back where it fails."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .._aws.api import Api
from .._common.progress import OperationError, Progress
from .container_logs import ContainerLogs
from .service_deployment import Outcome, ServiceDeployment, StoppedTask, decide, outcome, short

LONGEST_PAUSE = 2.0
# A call to DescribeTasks takes so many.
TASKS_A_CALL = 100
# AWS lists a new deployment some moments after UpdateService has answered.
LISTED_WITHIN = 60.0


@dataclass
class DeployReport(Progress):
    """The result of a call so far."""

    changed: bool = False
    joined: bool = False
    outcome: str = ""
    before: str = ""
    after: str = ""
    deployment: ServiceDeployment | None = None
    rolled_back_to: str = ""
    failures: dict[str, StoppedTask] = field(default_factory=dict)
    logs: dict[str, list[str]] = field(default_factory=dict)
    events: list[str] = field(default_factory=list)

    def stands(self, deployment: ServiceDeployment) -> None:
        self.deployment = deployment
        self.note(deployment.words)

    def result(self) -> dict[str, Any]:
        return {
            "changed": self.changed,
            "joined": self.joined,
            "outcome": self.outcome,
            "task_definition": self.after,
            "deployment": self.deployment.result() if self.deployment else None,
            "rolled_back_to": self.rolled_back_to,
            "failures": [{**task.result(), "log": self.logs.get(arn, [])} for arn, task in self.failures.items()],
            "events": self.events,
            "progress": self.progress,
            "seconds": round(self.seconds, 3),
            "diff": {"before": {"task_definition": self.before}, "after": {"task_definition": self.after}},
        }


@dataclass(frozen=True)
class DeployWish:
    """`fail_after`: so many failed tasks of the new revision end the deployment; 0 leaves that to AWS."""

    task_definition: str
    force: bool
    fail_after: int
    roll_back: bool
    log_lines: int


class ServiceDeployments:
    """The deployments of one service."""

    def __init__(self, api: Api, logs: ContainerLogs, cluster: str, service: str) -> None:
        self._api = api
        self._logs = logs
        self._cluster = cluster
        self._name = service
        self._what = f"the service {service} in the cluster {cluster}"
        self._definitions: dict[str, str] = {}

    def start(self, wish: DeployWish, report: DeployReport, *, check_mode: bool = False) -> bool:
        """Start the deployment or join a running one to the same task definition; whether there is one to follow."""
        service = self._service()
        wanted = self._definition(wish.task_definition)
        newest = self._newest()
        active = newest if newest and newest.active else None
        report.before, report.after = service["taskDefinition"], wanted
        decision = decide(
            current=service["taskDefinition"],
            wanted=wanted,
            rollout_state=next(
                (one.get("rolloutState", "") for one in service["deployments"] if one["status"] == "PRIMARY"), ""
            ),
            active=self._brings(active) if active else None,
            force=wish.force,
        )
        report.changed = decision == "start"
        if decision == "nothing":
            report.outcome = "unchanged"
            return False
        if decision == "join" and active:
            report.joined = True
            report.stands(active)
            return True
        if active:
            report.warnings.append(
                f"A deployment of {short(self._brings(active))} runs since {active.created}; this one supersedes it."
            )
        if check_mode:
            return False
        same = {"forceNewDeployment": True} if wanted == service["taskDefinition"] else {}
        self._call("UpdateService", service=self._name, taskDefinition=wanted, **same)
        report.stands(self._started_after(newest, report))
        return True

    def follow(self, wish: DeployWish, report: DeployReport) -> None:
        """Wait for the end of the report's deployment; go back where it fails. OperationError unless it succeeds."""
        became = self._wait(wish, report)
        report.outcome = became or "timeout"
        if became == "succeeded":
            return
        why = self._why(became, report)
        if became in ("failing", "failed", None):
            raise OperationError(f"{why} {self._way_back(wish, report)}".strip())
        if became == "rolled_back" and report.deployment:
            report.rolled_back_to = self._definition_of(report.deployment.rolled_back_to)
            raise OperationError(f"{why} AWS rolled it back: {short(report.rolled_back_to)} runs again.")
        raise OperationError(why)

    def last_good(self, besides: str = "") -> str:
        """The task definition of the newest deployment that succeeded, or of the newest rollback; "" for none."""
        for one in self._list(status=["SUCCESSFUL", "ROLLBACK_SUCCESSFUL"]):
            described = self._described(one["serviceDeploymentArn"])
            if described.status == "SUCCESSFUL":
                revision = described.target.arn if described.target else ""
            else:
                revision = described.rolled_back_to
            definition = self._definition_of(revision) if revision else ""
            if definition and definition != besides:
                return definition
        return ""

    def _wait(self, wish: DeployWish, report: DeployReport) -> Outcome | None:
        became: list[Outcome] = []
        deployment = report.deployment
        if deployment is None:
            raise LookupError("no deployment to follow")

        def arrived() -> bool:
            now = self._described(deployment.arn)
            self._look_at_tasks(deployment, report)
            self._hear_events(deployment, report)
            report.stands(now)
            newest = now.arn
            if now.status == "STOPPED":
                latest = self._newest()
                newest = latest.arn if latest else now.arn
            found = outcome(now, newest, list(report.failures.values()), fail_after=wish.fail_after)
            if found:
                became.append(found)
            return bool(found)

        report.wait(arrived, LONGEST_PAUSE)
        for arn, task in report.failures.items():
            report.logs[arn] = self._logs.tail(task, wish.log_lines)
        return became[0] if became else None

    def _why(self, became: Outcome | None, report: DeployReport) -> str:
        deployment = report.deployment
        if deployment is None:
            return ""
        what = f"The deployment of {short(report.after)} to {self._name}"
        because = f": {deployment.why}" if deployment.why else ""
        told = self._failures_in_words(report)
        if became == "failing":
            return f"{what} fails: {len(report.failures)} tasks stopped. {told}"
        if became is None:
            last = f" The last event: {report.events[-1]}" if report.events else ""
            return f"{what} did not end within {report.timeout:g} s: {deployment.words}.{last} {told}".strip()
        if became == "superseded":
            newest = self._newest()
            by = f" to {short(self._brings(newest))}, started {newest.created}" if newest else ""
            return f"{what} was superseded by a newer deployment{by}. Nothing was rolled back."
        if became == "stopped":
            return f"{what} was stopped by StopServiceDeployment{because}. Nothing was rolled back."
        if became == "rollback_failed":
            return f"{what} failed, and AWS could not roll it back{because}. {told} See aws ecs describe-services."
        return f"{what} failed{because}. {told}".strip()

    @staticmethod
    def _failures_in_words(report: DeployReport) -> str:
        if not report.failures:
            return ""
        arn, task = next(reversed(report.failures.items()))
        lines = report.logs.get(arn, [])
        log = "\nIts last log lines:\n  " + "\n  ".join(lines) + "\n" if lines else ""
        return f"{task.words}.{log}"

    def _way_back(self, wish: DeployWish, report: DeployReport) -> str:
        """Go back to the last revision that succeeded, and say how that went."""
        failed = report.deployment
        if not wish.roll_back or failed is None:
            return "It was left as it is (on_failure=leave)."
        good = self.last_good(besides=report.after)
        if not good:
            return (
                f"No deployment of {self._name} has succeeded yet, so there is nothing to go back to. Fix the cause, "
                "and deploy again."
            )
        by_aws = failed.active and [self._definition_of(one.arn) for one in failed.sources] == [good]
        before = self._newest()
        if before and before.arn != failed.arn:
            return f"A newer deployment runs ({short(self._brings(before))}), so nothing was rolled back."
        if by_aws:
            self._call("StopServiceDeployment", serviceDeploymentArn=failed.arn, stopType="ROLLBACK", cluster=None)
            back = failed
        else:
            self._call("UpdateService", service=self._name, taskDefinition=good)
            back = self._started_after(before, report)
        report.changed = True
        report.note(f"rolling back to {short(good)}")

        def arrived() -> bool:
            now = self._described(back.arn)
            report.stands(now)
            return not now.active

        in_time = report.wait(arrived, LONGEST_PAUSE)
        now = self._described(back.arn)
        if now.status not in ("SUCCESSFUL", "ROLLBACK_SUCCESSFUL"):
            late = "" if not in_time else f": {now.why}" if now.why else ""
            return f"The rollback to {short(good)} has not succeeded ({now.words}){late}."
        report.outcome, report.rolled_back_to, report.after = "rolled_back", good, good
        return f"It was rolled back: {short(good)} runs again."

    def _look_at_tasks(self, deployment: ServiceDeployment, report: DeployReport) -> None:
        """Add the failed tasks of this deployment to the report."""
        listed = self._pages("ListTasks", "taskArns", serviceName=self._name, desiredStatus="STOPPED")
        fresh = [arn for arn in listed if arn not in report.failures]
        for first in range(0, len(fresh), TASKS_A_CALL):
            chosen = fresh[first : first + TASKS_A_CALL]
            for said in self._call("DescribeTasks", tasks=chosen)["tasks"]:
                task = StoppedTask.of(said)
                since = said.get("createdAt")
                ours = task.definition == report.after and (
                    since is None or deployment.created is None or since >= deployment.created
                )
                if ours and task.failed and said.get("lastStatus") == "STOPPED":
                    report.failures[task.arn] = task
                    report.note(task.words)

    def _hear_events(self, deployment: ServiceDeployment, report: DeployReport) -> None:
        for event in reversed(self._service().get("events", [])):
            since = deployment.created is None or event["createdAt"] >= deployment.created
            if since and event["message"] not in report.events:
                report.events.append(event["message"])
                report.note(event["message"])

    def _started_after(self, before: ServiceDeployment | None, report: DeployReport) -> ServiceDeployment:
        waiting = Progress(now=report.now, sleep=report.sleep, timeout=LISTED_WITHIN)
        found: list[ServiceDeployment] = []

        def listed() -> bool:
            newest = self._newest()
            if newest and (before is None or newest.arn != before.arn):
                found.append(newest)
            return bool(found)

        if not waiting.wait(listed, LONGEST_PAUSE):
            raise OperationError(
                f"UpdateService was accepted, and AWS has listed no new deployment of {self._what} within "
                f"{LISTED_WITHIN:g} s. Run the same again: it joins the deployment."
            )
        return found[0]

    def _service(self) -> dict[str, Any]:
        said = self._call("DescribeServices", services=[self._name])
        there = [one for one in said["services"] if one["status"] == "ACTIVE"]
        if not there:
            raise OperationError(
                f"The cluster {self._cluster} has no active service {self._name}. Create it with ecs_service first."
            )
        controller = there[0].get("deploymentController", {}).get("type", "ECS")
        if controller != "ECS":
            raise OperationError(
                f"{self._what} is deployed by {controller}. Only the deployment controller ECS can be followed here."
            )
        service: dict[str, Any] = there[0]
        return service

    def _definition(self, name: str) -> str:
        """The ARN of an active task definition, given as ARN, `family:revision` or family."""
        said = self._api.call("DescribeTaskDefinition", f"the task definition {name}", taskDefinition=name)
        described = said["taskDefinition"]
        if described.get("status", "ACTIVE") != "ACTIVE":
            raise OperationError(
                f"The task definition {short(described['taskDefinitionArn'])} is {described['status']}. AWS starts no "
                "tasks of it: register it again, and deploy the new revision."
            )
        return str(described["taskDefinitionArn"])

    def _newest(self) -> ServiceDeployment | None:
        listed = next(iter(self._list()), None)
        return self._described(listed["serviceDeploymentArn"]) if listed else None

    def _list(self, **only: Any) -> list[Mapping[str, Any]]:
        """From the newest."""
        listed = list(self._pages("ListServiceDeployments", "serviceDeployments", service=self._name, **only))
        return sorted(listed, key=lambda one: one["createdAt"], reverse=True)

    def _described(self, arn: str) -> ServiceDeployment:
        said = self._api.call("DescribeServiceDeployments", arn, serviceDeploymentArns=[arn])
        if not said["serviceDeployments"]:
            raise OperationError(f"AWS does not know the deployment {arn} (it forgets them after 90 days).")
        return ServiceDeployment.of(said["serviceDeployments"][0])

    def _brings(self, deployment: ServiceDeployment) -> str:
        return self._definition_of(deployment.target.arn) if deployment.target else ""

    def _definition_of(self, revision: str) -> str:
        """The task definition of a service revision, which never changes."""
        if revision not in self._definitions:
            said = self._api.call("DescribeServiceRevisions", revision, serviceRevisionArns=[revision])
            found = said["serviceRevisions"]
            self._definitions[revision] = found[0]["taskDefinition"] if found else ""
        return self._definitions[revision]

    def _call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        named = {"cluster": self._cluster, **arguments}
        return self._api.call(
            operation, self._what, **{key: value for key, value in named.items() if value is not None}
        )

    def _pages(self, operation: str, key: str, **arguments: Any) -> Iterator[Any]:
        token: dict[str, str] = {}
        while True:
            said = self._call(operation, **arguments, **token)
            yield from said[key]
            if not said.get("nextToken"):
                return
            token = {"nextToken": said["nextToken"]}
