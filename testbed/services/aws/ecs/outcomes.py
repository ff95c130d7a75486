# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How service deployments end: success, failure, rollback, and being replaced."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from .state import Deployment, Revision, Service

REPLACED = "Replaced by a new service deployment."
# Changes of these start a deployment; changes of a service's other settings do not.
DEPLOYED = (
    "taskDefinition",
    "networkConfiguration",
    "platformVersion",
    "loadBalancers",
    "serviceRegistries",
    "serviceConnectConfiguration",
    "volumeConfigurations",
    "vpcLatticeConfigurations",
)
# These are part of a revision as well.
REVISION = (*DEPLOYED, "launchType", "capacityProviderStrategy", "platformFamily")
NO_CANDIDATE = "No rollback candidate was found to run the rollback."


@dataclass(frozen=True)
class Cause:
    """Why a deployment fails: in the service's event, in the rollout's state, and in the deployment's status."""

    event: str
    rollout: str
    rolled_back: str
    stopped: str


def because(event: str, rollout: str, why: str) -> Cause:
    return Cause(
        event,
        rollout,
        f"Service deployment rolled back because {why}",
        f"Service deployment stopped because {why}",
    )


BREAKER = because(
    "tasks failed to start.",
    "ECS deployment circuit breaker: tasks failed to start.",
    "the circuit breaker threshold was exceeded.",
)
ALARM = because("alarm detected.", "ECS deployment alarms: alarm detected.", "one or more alarms were triggered.")
USER = Cause(
    "stopped by user.",
    "ECS deployment stopped by user.",
    "Service deployment rolled back by user.",
    "Service deployment stopped by user.",
)


def hook_failed(stage: str, detail: str) -> Cause:
    text = f"{stage} lifecycle hook(s) failed. {detail}"
    return because(f"Service deployment rolled back because {text}", f"ECS deployment failed: {text}", text)


def say(service: Service, now: float, text: str) -> None:
    """An event of the service, newest first."""
    number = 1 + (int(service.events[0]["id"].rpartition("-")[2], 16) if service.events else 0)
    identifier = f"{zlib.crc32(service.arn.encode()):08x}-0000-4000-8000-{number:012x}"
    service.events.appendleft({"id": identifier, "createdAt": now, "message": f"(service {service.name}) {text}"})


def succeed(service: Service, deployment: Deployment, now: float) -> None:
    back = deployment.status == "ROLLBACK_IN_PROGRESS"
    revision = service.primary
    deployment.status = "ROLLBACK_SUCCESSFUL" if back else "SUCCESSFUL"
    deployment.finished = deployment.updated = revision.updated = now
    revision.rollout_state = "COMPLETED"
    revision.rollout_reason = f"ECS deployment {revision.deployment_id} completed."
    revision.succeeded = True
    revision.weight, revision.test_weight = 100.0, 0.0
    _end_watch(deployment)
    say(service, now, f"(deployment {revision.deployment_id}) deployment completed.")


def fail(service: Service, deployment: Deployment, cause: Cause, now: float, *, rollback: bool) -> None:
    """A failed rollback stays where it is; a deployment goes back if that is wanted, else it stops there."""
    revision = service.primary
    revision.rollout_state, revision.rollout_reason, revision.updated = "FAILED", cause.rollout, now
    deployment.updated = now
    say(service, now, f"(deployment {revision.deployment_id}) deployment failed: {cause.event}")
    if deployment.status == "ROLLBACK_IN_PROGRESS":
        deployment.status, deployment.reason, deployment.finished = "ROLLBACK_FAILED", NO_CANDIDATE, now
        _end_watch(deployment)
    elif not rollback:
        deployment.status, deployment.reason, deployment.stopped = "STOPPED", cause.stopped, now
        _end_watch(deployment)
    else:
        roll_back(service, deployment, cause, now)


def roll_back(service: Service, deployment: Deployment, cause: Cause, now: float) -> None:
    """The last revision that was deployed successfully becomes the primary one again."""
    candidate = service.last_good
    deployment.updated = now
    if candidate is None or candidate is deployment.target:
        deployment.status, deployment.reason, deployment.finished = "ROLLBACK_FAILED", NO_CANDIDATE, now
        _end_watch(deployment)
        return
    deployment.status, deployment.reason = "ROLLBACK_IN_PROGRESS", cause.rolled_back
    deployment.rollback = {
        "reason": cause.rolled_back,
        "startedAt": now,
        "serviceRevisionArn": candidate.arn,
    }
    deployment.stage = ""
    for hook in deployment.hooks:
        hook.status = "FAILED" if hook.status in ("AWAITING_ACTION", "IN_PROGRESS") else hook.status
    make_primary(service, candidate, now)
    prefix = "ECS deployment circuit breaker: rolling" if cause is BREAKER else "ECS deployment rolling"
    candidate.rollout_reason = f"{prefix} back to deploymentId {candidate.deployment_id}."
    say(service, now, f"rolling back to deployment {candidate.deployment_id}.")


def make_primary(service: Service, revision: Revision, now: float) -> None:
    for other in service.revisions:
        if other.status == "PRIMARY":
            other.status = "ACTIVE"
        other.weight = other.test_weight = 0.0
    revision.status, revision.rollout_state, revision.updated = "PRIMARY", "IN_PROGRESS", now
    revision.failed_tasks, revision.next_start = 0, now
    revision.weight = 100.0
    others = {name: value for name, value in service.settings.items() if name not in REVISION}
    service.settings = {**others, **revision.settings}
    service.steady = False


def supersede(deployment: Deployment, now: float) -> None:
    deployment.status, deployment.reason = "STOPPED", REPLACED
    deployment.stopped = deployment.updated = now
    _end_watch(deployment)


def _end_watch(deployment: Deployment) -> None:
    if deployment.breaker_status == "MONITORING":
        deployment.breaker_status = "MONITORING_COMPLETE"
    if deployment.alarm_status == "MONITORING":
        deployment.alarm_status = "MONITORING_COMPLETE"
