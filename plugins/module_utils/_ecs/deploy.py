# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring a task definition to a service: start the deployment or join it, follow it, and go back where it fails."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from .._common.progress import NoAnswerError, OperationError, Progress
from .container_logs import ContainerLogs
from .definition_lookup import NEW_REVISION
from .service_deployment import STARTING_OR_RUNNING, Outcome, ServiceDeployment, StoppedTask, decide, outcome, short
from .service_deployments import ServiceDeployments

LONGEST_PAUSE = 2.0
# AWS lists a new deployment some moments after UpdateService has answered.
LISTED_WITHIN = 60.0
# How long the reads before a rollback are repeated while the API does not answer.
ANSWERED_WITHIN = 60.0
T = TypeVar("T")


@dataclass
class DeployReport(Progress):
    """The result of a call so far. before and after are ARNs of task definitions."""

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


class Deploy:
    """One call."""

    def __init__(
        self, service: ServiceDeployments, logs: ContainerLogs, wish: DeployWish, report: DeployReport
    ) -> None:
        self._service = service
        self._logs = logs
        self._wish = wish
        self._report = report

    def start(self, *, check_mode: bool = False) -> bool:
        """Start the deployment or join a running one to the same task definition; whether there is one to follow."""
        report = self._report
        found = self._service.find()
        if found is None and check_mode:
            report.warnings.append(f"There is no service {self._service.name} yet, so nothing of it was checked.")
            return False
        service = self._service.service()
        if check_mode and not self._wish.task_definition:
            report.before, report.after, report.changed = service["taskDefinition"], NEW_REVISION, True
            return False
        wanted = self._service.definition(self._wish.task_definition)
        newest = self._service.newest()
        active = newest if newest and newest.active else None
        brings = self._service.brought_by(active) if active else None
        report.before, report.after = service["taskDefinition"], wanted
        decision = decide(
            current=service["taskDefinition"],
            wanted=wanted,
            rollout_state=_rollout_state(service),
            active=brings,
            force=self._wish.force,
        )
        report.changed = decision == "start"
        if decision == "nothing":
            unlisted = _rollout_state(service) == "IN_PROGRESS" and not check_mode
            started = self._in_progress_after(newest) if unlisted else None
            if started:
                self._refuse_another(started, wanted)
                self._join(started)
                return True
            # It may have failed while it was looked for.
            if not unlisted or _rollout_state(self._service.service()) != "FAILED":
                report.outcome = "unchanged"
                return False
            report.changed = True
        if decision == "join" and active:
            self._join(active)
            return True
        if active and brings:
            since = f" since {active.created:%H:%M:%S %Z}" if active.created else ""
            report.warnings.append(f"A deployment of {short(brings)} runs{since}; this one supersedes it.")
        if check_mode:
            return False
        # AWS takes the same task definition for no change.
        same = {"forceNewDeployment": True} if wanted == service["taskDefinition"] else {}
        self._service.call("UpdateService", service=self._service.name, taskDefinition=wanted, **same)
        report.stands(self._started_after(newest, wanted))
        return True

    def _join(self, deployment: ServiceDeployment) -> None:
        self._report.joined = True
        # The cause of failures before this call may be gone by now.
        self._service.ignore_stopped_tasks()
        self._report.stands(deployment)

    def _refuse_another(self, deployment: ServiceDeployment, wanted: str) -> None:
        """OperationError for a deployment of another task definition, which another deployer has started."""
        brings = self._service.brought_by(deployment)
        if brings and brings != wanted:
            self._report.outcome = self._report.outcome or "superseded"
            raise OperationError(f"{self._what(wanted)} {self._superseded_by(deployment)}")

    def follow(self) -> None:
        """Wait for the end of the deployment, and go back where it fails; OperationError unless it succeeds."""
        report, deployment = self._report, self._report.deployment
        if deployment is None:
            raise LookupError("there is no deployment to follow")
        became = self._wait(deployment)
        report.outcome = became or "timeout"
        if became == "succeeded":
            return
        for arn, task in report.failures.items():
            report.logs[arn] = self._logs.tail(task, self._wish.log_lines)
        why = self._why(became, report.deployment or deployment)
        if became in ("failing", "failed", None):
            # Log lines end with a line break.
            between = "" if why.endswith("\n") else " "
            try:
                back = self._way_back(report.deployment or deployment)
            except OperationError as error:
                back = f"The rollback was not started: {error}"
            why = f"{why}{between}{back}"
        raise OperationError(why)

    def _wait(self, deployment: ServiceDeployment) -> Outcome | None:
        report = self._report
        found: list[Outcome] = []

        def arrived() -> bool:
            now = self._service.described(deployment.arn)
            for task in self._service.failed_tasks(report.after, deployment.created):
                report.failures[task.arn] = task
                report.note(task.words)
            self._hear_events(deployment)
            report.stands(now)
            latest = self._service.newest() if now.status == "STOPPED" else None
            became = outcome(
                now, latest.arn if latest else now.arn, list(report.failures.values()), fail_after=self._wish.fail_after
            )
            if became:
                found.append(became)
            return bool(became)

        try:
            report.wait(arrived, LONGEST_PAUSE)
        except NoAnswerError:
            # The line of progress has it, and the deployment has to be rolled back all the same.
            return None
        return found[0] if found else None

    def _what(self, definition: str) -> str:
        return f"The deployment of {short(definition)} to {self._service.name}"

    def _superseded_by(self, newest: ServiceDeployment | None) -> str:
        since = f", started at {newest.created:%H:%M:%S %Z}" if newest and newest.created else ""
        by = f" of {short(self._service.brought_by(newest))}{since}" if newest else ""
        return f"was superseded by a newer deployment{by}. Nothing was rolled back."

    def _why(self, became: Outcome | None, deployment: ServiceDeployment) -> str:
        report = self._report
        what = self._what(report.after)
        because = f": {deployment.why}" if deployment.why else ""
        failed = self._failure_in_words()
        if became == "failing":
            return f"{what} fails: {len(report.failures)} of its tasks failed. {failed}"
        if became == "rolled_back":
            restored = self._answered(lambda: self._service.definition_of(deployment.rolled_back_to))
            report.rolled_back_to = report.after = restored
            return f"{what} failed{because}. AWS rolled it back: {short(report.after)} runs again. {failed}".strip()
        if became == "rollback_failed":
            return f"{what} failed, and AWS could not roll it back{because}. {failed}".strip()
        if became == "superseded":
            return f"{what} {self._superseded_by(self._answered(self._service.newest))}"
        if became == "stopped":
            return f"{what} was stopped by a call to StopServiceDeployment{because}. Nothing was rolled back."
        if became == "failed":
            return f"{what} failed{because}. {failed}".strip()
        last = f" The last event: {report.events[-1]}" if report.events else ""
        return f"{what} did not end within {report.timeout:g} s: {deployment.words}.{last} {failed}".strip()

    def _failure_in_words(self) -> str:
        """The newest failed task, with its log."""
        if not self._report.failures:
            return ""
        arn, task = next(reversed(self._report.failures.items()))
        lines = self._report.logs.get(arn, [])
        return f"{task.words}.{_as_log(lines)}"

    def _way_back(self, failed: ServiceDeployment) -> str:
        """Go back to the last revision that succeeded, and say how that went. OperationError if it was not started."""
        report, service = self._report, self._service
        newest = self._answered(service.newest) or failed
        if newest.arn != failed.arn:
            brings = self._answered(lambda: service.brought_by(newest))
            return f"A newer deployment of {short(brings)} runs, so nothing was rolled back."
        report.stands(newest)
        if newest.status == "SUCCESSFUL":
            return "It has succeeded in the meantime, so nothing was rolled back."
        if not self._wish.roll_back and not newest.rolled_back_by_aws:
            return "It was left as it is, by on_failure=leave."
        revision = self._answered(lambda: newest.rolled_back_to or next(service.good_revisions(), ""))
        good = self._answered(lambda: service.definition_of(revision))
        if newest.rolled_back_by_aws:
            return self._rolled_back(good, lambda: newest)
        if not good:
            return (
                f"No deployment of {service.name} has succeeded yet, so there is nothing to go back to. Fix the cause, "
                "and deploy again."
            )
        if newest.status in STARTING_OR_RUNNING and [one.arn for one in newest.sources] == [revision]:
            service.roll_back(newest.arn)
            report.changed = True
            return self._rolled_back(good, lambda: newest)
        if good == report.after:
            return (
                f"{short(good)} is also what the last successful deployment brought, so no other task definition was "
                "deployed. The settings of the service were not put back: correct them, and deploy again."
            )
        service.call("UpdateService", service=service.name, taskDefinition=good)
        report.changed = True
        return self._rolled_back(good, lambda: self._started_after(newest, good))

    def _rolled_back(self, good: str, started: Callable[[], ServiceDeployment]) -> str:
        """Wait for the end of a rollback that was started, and say how it ended."""
        report = self._report
        report.note(f"rolling back to {short(good)}")

        def ended() -> bool:
            report.stands(self._service.described(back.arn))
            return not (report.deployment and report.deployment.active)

        try:
            back = started()
            report.wait(ended, LONGEST_PAUSE)
        except OperationError as error:
            return f"The rollback to {short(good)} was started, and its end was not seen: {error}"
        now = report.deployment or back
        if now.status not in ("SUCCESSFUL", "ROLLBACK_SUCCESSFUL"):
            because = f": {now.why}" if now.why else ""
            return f"The rollback to {short(good)} has not succeeded ({now.words}){because}."
        settings = ", with the settings it had before" if good == report.after else ""
        report.outcome, report.rolled_back_to, report.after = "rolled_back", good, good
        return f"It was rolled back: {short(good)} runs again{settings}."

    def _answered(self, read: Callable[[], T]) -> T:
        """What a read returns. It is repeated while the API does not answer; NoAnswerError after ANSWERED_WITHIN."""
        waiting = Progress(now=self._report.now, sleep=self._report.sleep, timeout=ANSWERED_WITHIN)
        found: list[T] = []

        def answered() -> bool:
            found.append(read())
            return True

        waiting.wait(answered, LONGEST_PAUSE)
        return found[0]

    def _hear_events(self, deployment: ServiceDeployment) -> None:
        """Events since the deployment began, from the oldest."""
        found = self._service.find() or {}
        for event in reversed(found.get("events", [])):
            since = deployment.created is None or event["createdAt"] >= deployment.created
            if since and event["message"] not in self._report.events:
                self._report.events.append(event["message"])
                self._report.note(event["message"])

    def _started_after(self, before: ServiceDeployment | None, wanted: str) -> ServiceDeployment:
        """The deployment of a task definition that UpdateService has started."""
        found = self._listed_after(before, lambda: False)
        if found is None:
            raise OperationError(
                f"UpdateService was accepted, and AWS has listed no new deployment of {self._service.about} within "
                f"{LISTED_WITHIN:g} s. Run the same again: it joins the deployment."
            )
        self._refuse_another(found, wanted)
        return found

    def _in_progress_after(self, before: ServiceDeployment | None) -> ServiceDeployment | None:
        """The deployment that the service has begun and AWS has not listed yet; None if there is none."""
        over = False

        def is_over() -> bool:
            nonlocal over
            over = _rollout_state(self._service.service()) != "IN_PROGRESS"
            return over

        found = self._listed_after(before, is_over)
        if found is None and not over:
            raise OperationError(
                f"A deployment of {self._service.about} is in progress, and AWS has not listed it within "
                f"{LISTED_WITHIN:g} s. Run the same again: it joins the deployment."
            )
        return found

    def _listed_after(self, before: ServiceDeployment | None, is_over: Callable[[], bool]) -> ServiceDeployment | None:
        waiting = Progress(now=self._report.now, sleep=self._report.sleep, timeout=LISTED_WITHIN)
        found: list[ServiceDeployment] = []

        def listed() -> bool:
            newest = self._service.newest()
            if newest and (before is None or newest.arn != before.arn):
                found.append(newest)
            return bool(found) or is_over()

        waiting.wait(listed, LONGEST_PAUSE)
        return found[0] if found else None


def _rollout_state(service: Mapping[str, Any]) -> str:
    """That of the primary deployment; empty where AWS gives none."""
    return next((one.get("rolloutState", "") for one in service["deployments"] if one["status"] == "PRIMARY"), "")


def _as_log(lines: list[str]) -> str:
    return "\nIts last log lines:\n" + "".join(f"  {line}\n" for line in lines) if lines else ""
