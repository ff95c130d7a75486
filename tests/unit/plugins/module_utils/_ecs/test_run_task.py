# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.run_task import failures
from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.service_deployment import (
    StoppedContainer,
    StoppedTask,
)


def task(*containers: StoppedContainer, code: str = "EssentialContainerExited", reason: str = "") -> StoppedTask:
    return StoppedTask("arn:aws:ecs:x:1:task/c/0123", "a:1", "evenkeel-ecs-run", code, reason, containers)


def test_a_task_is_judged_by_its_essential_containers() -> None:
    done, sidecar = StoppedContainer("migrate", 0, ""), StoppedContainer("sidecar", 137, "")
    assert failures(task(done, sidecar), ["migrate"]) == []
    assert failures(task(done, sidecar), ["migrate", "sidecar"]) == ["sidecar ended with exit code 137"]
    failed = StoppedContainer("migrate", 1, "relation is missing")
    assert failures(task(failed), ["migrate"]) == ["migrate ended with exit code 1 (relation is missing)"]


def test_no_exit_code_is_no_success() -> None:
    assert failures(task(StoppedContainer("migrate", None, "")), ["migrate"]) == ["migrate ended without an exit code"]
    missing = task(code="TaskFailedToStart", reason="CannotPullContainerError: not found")
    assert failures(missing, ["migrate"]) == ["Task 0123 stopped: CannotPullContainerError: not found"]
