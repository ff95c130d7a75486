# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.service_deployment import (
    ServiceDeployment,
    StoppedTask,
    decide,
    outcome,
)

ARN = "arn:aws:ecs:eu-central-1:123456789012:service-deployment/production/permissions/one"
NEWER = "arn:aws:ecs:eu-central-1:123456789012:service-deployment/production/permissions/two"
TASK = "arn:aws:ecs:eu-central-1:123456789012:task/production/0123456789abcdef"
DEFINITION = "arn:aws:ecs:eu-central-1:123456789012:task-definition/permissions:7"


def deployment(status: str, **more: Any) -> ServiceDeployment:
    target = {"arn": "r7", "requestedTaskCount": 2, "runningTaskCount": 1, "pendingTaskCount": 1}
    return ServiceDeployment.of(
        {"serviceDeploymentArn": ARN, "status": status, "targetServiceRevision": target, **more}
    )


def stopped(code: str = "EssentialContainerExited", reason: str = "", *containers: dict[str, Any]) -> StoppedTask:
    return StoppedTask.of(
        {
            "taskArn": TASK,
            "taskDefinitionArn": DEFINITION,
            "stopCode": code,
            "stoppedReason": reason,
            "containers": list(containers),
        }
    )


TRIGGERED = {"deploymentCircuitBreaker": {"status": "TRIGGERED", "failureCount": 3, "threshold": 3}}
ALARMED = {"alarms": {"status": "TRIGGERED", "triggeredAlarmNames": ["5xx"]}}


@pytest.mark.parametrize(
    ("status", "more", "newest", "failed", "expected"),
    [
        ("PENDING", {}, ARN, 0, None),
        ("IN_PROGRESS", {}, ARN, 1, None),
        ("IN_PROGRESS", {}, ARN, 2, "failing"),
        ("SUCCESSFUL", {}, ARN, 2, "succeeded"),
        ("ROLLBACK_REQUESTED", {}, ARN, 5, None),
        ("ROLLBACK_IN_PROGRESS", {}, ARN, 5, None),
        ("ROLLBACK_SUCCESSFUL", {}, ARN, 5, "rolled_back"),
        ("ROLLBACK_FAILED", {}, ARN, 5, "rollback_failed"),
        ("STOP_REQUESTED", {}, ARN, 5, None),
        ("STOPPED", {}, ARN, 0, "stopped"),
        ("STOPPED", {}, NEWER, 0, "superseded"),
        ("STOPPED", TRIGGERED, ARN, 3, "failed"),
        ("STOPPED", ALARMED, NEWER, 0, "failed"),
    ],
)
def test_what_became_of_it(status: str, more: dict[str, Any], newest: str, failed: int, expected: str | None) -> None:
    assert outcome(deployment(status, **more), newest, [stopped()] * failed, fail_after=2) == expected


def test_without_fail_after_the_judgement_is_left_to_aws() -> None:
    assert outcome(deployment("IN_PROGRESS"), ARN, [stopped()] * 9, fail_after=0) is None


@pytest.mark.parametrize(
    ("code", "reason", "expected"),
    [
        ("EssentialContainerExited", "Essential container in task exited", True),
        ("TaskFailedToStart", "CannotPullContainerError: pull image manifest has been retried 1 time(s)", True),
        ("ServiceSchedulerInitiated", "Task failed container health checks", True),
        ("ServiceSchedulerInitiated", "Task failed ELB health checks in (target-group arn:x)", True),
        ("ServiceSchedulerInitiated", "Scaling activity initiated by (deployment ecs-svc/1)", False),
        ("UserInitiated", "Task stopped by user", False),
        ("SpotInterruption", "Your Spot Task was interrupted.", False),
    ],
)
def test_which_stopped_tasks_failed(code: str, reason: str, expected: bool) -> None:
    assert stopped(code, reason).failed is expected


def test_a_stopped_task_says_why() -> None:
    task = stopped(
        "EssentialContainerExited",
        "Essential container in task exited",
        {"name": "api", "exitCode": 137, "reason": "OutOfMemoryError: Container killed due to memory usage"},
        {"name": "worker", "exitCode": 0},
    )
    assert task.words == (
        "Task 0123456789abcdef stopped: Essential container in task exited; container api: exit code 137, "
        "OutOfMemoryError: Container killed due to memory usage"
    )
    assert [one.name for one in task.culprits] == ["api"]


def test_a_line_of_progress() -> None:
    shifted = {"arn": "r7", "requestedTaskCount": 2, "runningTaskCount": 2, "requestedProductionTrafficWeight": 10.0}
    hook = {"hookId": "h-1", "targetType": "PAUSE", "status": "AWAITING_ACTION"}
    assert deployment("IN_PROGRESS").words == "IN_PROGRESS: 1 of 2 tasks running, 1 pending"
    words = deployment(
        "IN_PROGRESS", lifecycleStage="TEST_TRAFFIC_SHIFT", targetServiceRevision=shifted, lifecycleHookDetails=[hook]
    ).words
    assert words == (
        "IN_PROGRESS (TEST_TRAFFIC_SHIFT): 2 of 2 tasks running, 10 % of the requests, "
        "waits for ContinueServiceDeployment of the hook h-1"
    )


@pytest.mark.parametrize(
    ("current", "rollout", "active", "force", "expected"),
    [
        ("a:1", "COMPLETED", None, False, "start"),
        ("a:2", "COMPLETED", None, False, "nothing"),
        ("a:2", "", None, False, "nothing"),
        ("a:2", "COMPLETED", None, True, "start"),
        ("a:2", "FAILED", None, False, "start"),
        ("a:2", "IN_PROGRESS", "a:2", False, "join"),
        ("a:2", "IN_PROGRESS", "a:2", True, "join"),
        ("a:1", "IN_PROGRESS", "a:2", False, "join"),
        ("a:2", "IN_PROGRESS", "a:3", False, "start"),
    ],
)
def test_what_there_is_to_do(current: str, rollout: str, active: str | None, force: bool, expected: str) -> None:
    assert decide(current=current, wanted="a:2", rollout_state=rollout, active=active, force=force) == expected
