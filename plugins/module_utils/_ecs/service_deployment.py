# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A service deployment as AWS describes it, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

STARTING_OR_RUNNING = ("PENDING", "IN_PROGRESS")
ENDING = ("STOP_REQUESTED", "ROLLBACK_REQUESTED", "ROLLBACK_IN_PROGRESS")
Outcome = Literal["succeeded", "failing", "failed", "rolled_back", "rollback_failed", "superseded", "stopped"]


def short(arn: str) -> str:
    """The last part of an ARN: `family:revision`, or the id of a task or deployment."""
    return arn.rpartition("/")[2]


@dataclass(frozen=True)
class RevisionCounts:
    """A service revision within a deployment. Weights are percentages; None where AWS gives none."""

    arn: str
    requested: int
    running: int
    pending: int
    production_weight: float | None = None

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> RevisionCounts:
        return cls(
            said["arn"],
            said.get("requestedTaskCount", 0),
            said.get("runningTaskCount", 0),
            said.get("pendingTaskCount", 0),
            said.get("requestedProductionTrafficWeight"),
        )

    @property
    def words(self) -> str:
        words = f"{self.running} of {self.requested} tasks running"
        if self.pending:
            words += f", {self.pending} pending"
        if self.production_weight is not None:
            words += f", {self.production_weight:g} % of the requests"
        return words


@dataclass(frozen=True)
class ServiceDeployment:
    """The answer of DescribeServiceDeployments."""

    arn: str
    status: str
    reason: str
    stage: str
    created: datetime | None
    target: RevisionCounts | None
    sources: tuple[RevisionCounts, ...]
    rollback_reason: str
    rolled_back_to: str
    breaker: str
    triggered_alarms: tuple[str, ...]
    waits_for: tuple[str, ...]

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> ServiceDeployment:
        target, rollback = said.get("targetServiceRevision"), said.get("rollback", {})
        hooks = said.get("lifecycleHookDetails", [])
        return cls(
            arn=said["serviceDeploymentArn"],
            status=said["status"],
            reason=said.get("statusReason", ""),
            stage=said.get("lifecycleStage", ""),
            created=said.get("createdAt"),
            target=RevisionCounts.of(target) if target else None,
            sources=tuple(RevisionCounts.of(one) for one in said.get("sourceServiceRevisions", [])),
            rollback_reason=rollback.get("reason", ""),
            rolled_back_to=rollback.get("serviceRevisionArn", ""),
            breaker=said.get("deploymentCircuitBreaker", {}).get("status", ""),
            triggered_alarms=tuple(said.get("alarms", {}).get("triggeredAlarmNames", [])),
            waits_for=tuple(hook["hookId"] for hook in hooks if hook.get("status") == "AWAITING_ACTION"),
        )

    @property
    def active(self) -> bool:
        return self.status in STARTING_OR_RUNNING + ENDING

    @property
    def rolled_back_by_aws(self) -> bool:
        """Whether AWS goes back, or has tried to."""
        return self.status.startswith("ROLLBACK_")

    @property
    def ended_by_a_check(self) -> bool:
        """Whether the circuit breaker or an alarm ended it."""
        return self.breaker == "TRIGGERED" or bool(self.triggered_alarms)

    @property
    def why(self) -> str:
        alarms = f"alarms in state ALARM: {', '.join(self.triggered_alarms)}" if self.triggered_alarms else ""
        words = (words.rstrip(".") for words in (self.rollback_reason, self.reason, alarms) if words)
        return "; ".join(dict.fromkeys(words))

    @property
    def words(self) -> str:
        """Its state, for a line of progress."""
        stage = f" ({self.stage})" if self.stage and self.status in STARTING_OR_RUNNING else ""
        counts = f": {self.target.words}" if self.target else ""
        waits = f", waits for ContinueServiceDeployment of the hook {self.waits_for[0]}" if self.waits_for else ""
        return f"{self.status}{stage}{counts}{waits}"

    def result(self) -> dict[str, Any]:
        return {
            "arn": self.arn,
            "status": self.status,
            "reason": self.why,
            "lifecycle_stage": self.stage,
            "created_at": self.created.isoformat() if self.created else None,
            "running": self.target.running if self.target else None,
            "requested": self.target.requested if self.target else None,
            "circuit_breaker": self.breaker,
            "triggered_alarms": list(self.triggered_alarms),
        }


@dataclass(frozen=True)
class StoppedContainer:
    name: str
    exit_code: int | None
    reason: str


@dataclass(frozen=True)
class StoppedTask:
    """A task that ended. `by` is who started it: the id of the deployment, such as `ecs-svc/1234`."""

    arn: str
    definition: str
    by: str
    code: str
    reason: str
    containers: tuple[StoppedContainer, ...]

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> StoppedTask:
        return cls(
            said["taskArn"],
            said["taskDefinitionArn"],
            said.get("startedBy", ""),
            said.get("stopCode", ""),
            said.get("stoppedReason", ""),
            tuple(
                StoppedContainer(one["name"], one.get("exitCode"), one.get("reason", ""))
                for one in said.get("containers", [])
            ),
        )

    @property
    def failed(self) -> bool:
        """Whether it ended by a fault of its own; scaling in and a newer deployment stop tasks, too."""
        return self.code in ("TaskFailedToStart", "EssentialContainerExited") or "health checks" in self.reason

    @property
    def culprits(self) -> list[StoppedContainer]:
        """The containers that say why: those with a reason or an exit code that is not 0; else all."""
        told = [one for one in self.containers if one.reason or one.exit_code not in (0, None)]
        return told or list(self.containers)

    @property
    def words(self) -> str:
        """Why it stopped, with the exit code and reason of each container that has one."""
        words = [f"Task {short(self.arn)} stopped: {self.reason.rstrip('.') or self.code or 'AWS gives no reason'}"]
        for one in self.culprits:
            code = f"exit code {one.exit_code}" if one.exit_code is not None else ""
            told = ", ".join(part for part in (code, one.reason.rstrip(".")) if part)
            if told:
                words.append(f"container {one.name}: {told}")
        return "; ".join(words)

    def result(self) -> dict[str, Any]:
        return {
            "task": self.arn,
            "stop_code": self.code,
            "reason": self.reason,
            "containers": [
                {"name": one.name, "exit_code": one.exit_code, "reason": one.reason} for one in self.containers
            ],
        }


def outcome(
    deployment: ServiceDeployment, newest: str, failures: Sequence[StoppedTask], *, fail_after: int
) -> Outcome | None:
    """What became of a deployment, or None while it goes on. `newest` is the ARN of the service's newest deployment.

    `failing`: it goes on, and `fail_after` of its tasks have failed, so that waiting for the circuit breaker only
    costs time. 0 leaves the judgement to AWS.
    """
    if deployment.status == "SUCCESSFUL":
        return "succeeded"
    if deployment.status == "ROLLBACK_SUCCESSFUL":
        return "rolled_back"
    if deployment.status == "ROLLBACK_FAILED":
        return "rollback_failed"
    if deployment.status == "STOPPED":
        if deployment.ended_by_a_check:
            return "failed"
        return "superseded" if newest != deployment.arn else "stopped"
    if deployment.status in STARTING_OR_RUNNING and 0 < fail_after <= len(failures):
        return "failing"
    return None


def decide(
    *, current: str, wanted: str, rollout_state: str, active: str | None, force: bool
) -> Literal["nothing", "join", "start"]:
    """What a call has to do. All are task definitions' ARNs.

    `current` is the one that the service has, `active` the one that a running deployment brings (None: none runs), and
    `rollout_state` that of the service's primary deployment, by which a failed one is told from one that is complete.
    """
    if active is not None:
        return "join" if active == wanted else "start"
    if current == wanted and not force and rollout_state != "FAILED":
        return "nothing"
    return "start"
