# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.evenkeel.fleet.plugins.module_utils._kubernetes.pods import Pod, failing, pod_of

BACK_OFF = 'Back-off pulling image "registry/gateway@sha256:0"'


def found(*containers: dict[str, Any], **status: Any) -> dict[str, Any]:
    """A pod as the API has it."""
    return {
        "metadata": {"name": "gateway-1", "labels": {"pod-template-hash": "abc"}, "creationTimestamp": "t"},
        "spec": {"containers": [{"name": "gateway", "image": "registry/gateway@sha256:1"}]},
        "status": {"phase": "Pending", "containerStatuses": list(containers), **status},
    }


def container(state: dict[str, Any], last: dict[str, Any] | None = None, **status: Any) -> dict[str, Any]:
    base: dict[str, Any] = {"name": "gateway", "ready": False, "restartCount": 0}
    return {**base, "state": state, "lastState": {"terminated": last} if last else {}, **status}


@pytest.mark.parametrize(
    ("status", "what", "words"),
    [
        (
            container({"waiting": {"reason": "ImagePullBackOff", "message": BACK_OFF}}),
            "image",
            f"pod gateway-1, container gateway: ImagePullBackOff: {BACK_OFF}",
        ),
        (
            container({"waiting": {"reason": "CreateContainerConfigError", "message": 'secret "x" not found'}}),
            "configuration",
            'pod gateway-1, container gateway: CreateContainerConfigError: secret "x" not found',
        ),
        (
            container(
                {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}},
                {"exitCode": 3, "reason": "Error"},
                restartCount=1,
            ),
            "crash",
            "pod gateway-1, container gateway: CrashLoopBackOff (exit code 3): Error, 1 restarts",
        ),
        (
            container({"running": {}}, {"exitCode": 137, "reason": "OOMKilled"}, restartCount=2),
            "crash",
            "pod gateway-1, container gateway: crashes again and again (exit code 137): OOMKilled, 2 restarts",
        ),
    ],
)
def test_a_container_that_cannot_start_is_told_with_its_reason(status: dict[str, Any], what: str, words: str) -> None:
    trouble = pod_of(found(status), "gateway").trouble
    assert trouble is not None
    assert (trouble.what, trouble.words, trouble.has_log) == (what, words, what == "crash")


@pytest.mark.parametrize(
    "status",
    [
        container({"waiting": {"reason": "ContainerCreating"}}),
        container({"running": {}}),
        # It has crashed once, such as because the database was restarted, and gets another chance.
        container({"running": {}}, {"exitCode": 1, "reason": "Error"}, restartCount=1),
        container({"running": {}}, {"exitCode": 1, "reason": "Error"}, restartCount=9, ready=True),
    ],
)
def test_a_container_that_may_become_ready_is_no_trouble(status: dict[str, Any]) -> None:
    assert pod_of(found(status), "gateway").trouble is None


def test_a_pod_without_a_node_is_told_with_what_the_scheduler_says() -> None:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes: cpu."}
    trouble = pod_of(found(conditions=[condition]), "gateway").trouble
    assert trouble is not None
    assert (trouble.what, trouble.words) == (
        "scheduling",
        "pod gateway-1: FailedScheduling (Unschedulable): 0/3 nodes: cpu",
    )


def test_an_init_container_that_crashes_is_the_cause() -> None:
    waiting = container({"waiting": {"reason": "PodInitializing"}})
    broken = container({"waiting": {"reason": "CrashLoopBackOff"}}, {"exitCode": 2}, name="migrate", restartCount=3)
    trouble = pod_of(found(waiting, initContainerStatuses=[broken]), "gateway").trouble
    assert trouble is not None
    assert (trouble.container, trouble.exit_code) == ("migrate", 2)


def test_a_pod_that_is_deleted_or_ready_does_not_fail_a_rollout() -> None:
    broken = found(container({"waiting": {"reason": "ImagePullBackOff"}}))
    deleted = {**broken, "metadata": {**broken["metadata"], "deletionTimestamp": "t"}}
    ready = {**broken, "status": {**broken["status"], "conditions": [{"type": "Ready", "status": "True"}]}}

    def troubles(*pods: dict[str, Any]) -> list[str]:
        read: list[Pod] = [pod_of(one, "gateway") for one in pods]
        return [one.reason for one in failing(read)]

    assert troubles(broken) == ["ImagePullBackOff"]
    assert troubles(deleted, ready) == []
