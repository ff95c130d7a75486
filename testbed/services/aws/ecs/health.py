# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the engine makes of the tasks of a service: which became healthy, which are unhealthy, which failed."""

from __future__ import annotations

from . import breaker
from .outcomes import say
from .state import OVER, Deployment, Revision, Service, Task
from .tasks import Tasks

IMPAIRED = (
    "is unable to consistently start tasks successfully. "
    "For more information, see the Troubleshooting section of the Amazon ECS Developer Guide."
)
FAILED_CHECKS = "Task failed"


def judge(service: Service, tasks: Tasks, now: float) -> None:
    """Note what became healthy and what failed, and stop what is unhealthy."""
    deployment = service.current
    revisions = {revision.id: revision for revision in service.revisions}
    grace = service.settings.get("healthCheckGracePeriodSeconds", 0) * tasks.pace.minute / 60
    for task in list(tasks.tasks.values()):
        revision = revisions.get(task.revision)
        if task.service != service.arn or revision is None:
            continue
        _tell_targets(service, task, now)
        revision.digests.update({item.name: item.report.image_digest for item in task.containers})
        if not task.was_healthy and task.healthy(now, tasks.pace.settle):
            task.was_healthy = True
            revision.failed_tasks = 0
            switch = deployment.configuration.get("deploymentCircuitBreaker", {}) if deployment else {}
            if deployment and revision is service.primary and breaker.resets(switch):
                deployment.failures = 0
        over = task.started is None or now - task.started >= grace
        if task.running and over and (task.target_state == "unhealthy" or task.health == "UNHEALTHY"):
            _stop_unhealthy(service, tasks, task, now)
        if task.last_status in OVER and not task.counted:
            task.counted = True
            if not task.was_healthy and _failed(task):
                _count(service, tasks, revision, deployment, now)


def _tell_targets(service: Service, task: Task, now: float) -> None:
    if task.registered != task.told_registered:
        task.told_registered = task.registered
        verb = "registered" if task.registered else "deregistered"
        for group, _port in task.targets:
            say(service, now, f"{verb} 1 targets in (target-group {group})")


def _stop_unhealthy(service: Service, tasks: Tasks, task: Task, now: float) -> None:
    if task.health == "UNHEALTHY":
        say(service, now, f"(task {task.id}) failed container health checks.")
        reason = f"{FAILED_CHECKS} container health checks"
    else:
        group, port = task.targets[0]
        where = f"(target-group {group})"
        why = "(reason Health checks failed)"
        say(service, now, f"(task {task.id}) (port {port}) is unhealthy in {where} due to {why}.")
        reason = f"{FAILED_CHECKS} ELB health checks in {where}"
    tasks.stop(task, now, "ServiceSchedulerInitiated", reason)
    task.was_healthy = False
    service.replaced += 1
    say(service, now, f"has stopped 1 running tasks: (task {task.id}).")


def _failed(task: Task) -> bool:
    """Whether it ended by itself or by its health checks, and not because it was asked to."""
    if task.stop_code == "ServiceSchedulerInitiated":
        return task.stopped_reason.startswith(FAILED_CHECKS)
    return task.stop_code != "UserInitiated"


def _count(service: Service, tasks: Tasks, revision: Revision, deployment: Deployment | None, now: float) -> None:
    revision.failed_tasks += 1
    wait = tasks.pace.retry * 2 ** min(revision.failed_tasks - 1, 20)
    revision.next_start = now + min(wait, tasks.pace.retry_most)
    if revision.failed_tasks == breaker.LEAST:
        say(service, now, IMPAIRED)
    if deployment and revision is service.primary:
        deployment.failures += 1
