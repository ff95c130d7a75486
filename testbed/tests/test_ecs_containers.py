# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the agent of real containers decides without an engine."""

from __future__ import annotations

from typing import Any

import pytest

from testbed.services.aws.ecs.agent import ContainerReport
from testbed.services.aws.ecs.containers.definition import CannotStartError, arguments, may_start, may_stop

RUNNING, HEALTHY = ContainerReport("RUNNING"), ContainerReport("RUNNING", "HEALTHY")
SICK = ContainerReport("RUNNING", "UNHEALTHY")
PENDING = ContainerReport()


def ended(code: int | None) -> ContainerReport:
    return ContainerReport("STOPPED", exit_code=code)


def depending(condition: str) -> dict[str, Any]:
    return {"name": "api", "dependsOn": [{"containerName": "first", "condition": condition}]}


@pytest.mark.parametrize(
    ("condition", "report", "starts"),
    [
        ("START", PENDING, False),
        ("START", RUNNING, True),
        ("START", ended(1), True),
        ("HEALTHY", RUNNING, False),
        ("HEALTHY", HEALTHY, True),
        ("COMPLETE", HEALTHY, False),
        ("COMPLETE", ended(1), True),
        ("SUCCESS", RUNNING, False),
        ("SUCCESS", ended(0), True),
    ],
)
def test_a_container_waits_for_what_it_depends_on(condition: str, report: ContainerReport, starts: bool) -> None:
    assert may_start(depending(condition), {"first": report, "api": PENDING}) is starts


@pytest.mark.parametrize(("condition", "report"), [("HEALTHY", SICK), ("HEALTHY", ended(0)), ("SUCCESS", ended(1))])
def test_a_container_whose_dependency_is_lost_never_starts(condition: str, report: ContainerReport) -> None:
    with pytest.raises(CannotStartError, match=f"container first is not {condition}") as caught:
        may_start(depending(condition), {"first": report, "api": PENDING})
    assert caught.value.container == "api"


def test_a_container_stops_after_those_that_depend_on_it() -> None:
    containers = [depending("START"), {"name": "first"}]
    assert may_stop("api", containers, {"api": RUNNING, "first": RUNNING})
    assert not may_stop("first", containers, {"api": RUNNING, "first": RUNNING})
    assert may_stop("first", containers, {"api": ended(0), "first": RUNNING})


def test_a_definition_becomes_arguments_of_the_engine() -> None:
    container = {
        "command": ["worker"],
        "entryPoint": ["permissions"],
        "readonlyRootFilesystem": True,
        "memory": 64,
        "mountPoints": [{"sourceVolume": "shared", "containerPath": "/shared", "readOnly": True}],
        "healthCheck": {"command": ["exit 0"], "interval": 10, "timeout": 5, "retries": 3, "startPeriod": 20},
        "linuxParameters": {"capabilities": {"drop": ["ALL"]}, "tmpfs": [{"containerPath": "/tmp", "size": 8}]},
    }
    found = arguments(container, {"memory": "512"}, {"A": "1"}, {"shared": "engine-shared"}, second=0.1)
    assert found == {
        "command": ["worker"],
        "entrypoint": ["permissions"],
        "environment": {"A": "1"},
        "read_only": True,
        "cap_drop": ["ALL"],
        "tmpfs": {"/tmp": "size=8m"},
        "volumes": ["engine-shared:/shared:ro"],
        "mem_limit": 64 * 1024 * 1024,
        "memswap_limit": 64 * 1024 * 1024,
        "healthcheck": {
            "test": ["CMD-SHELL", "exit 0"],
            "interval": 1_000_000_000,
            "timeout": 5_000_000_000,
            "retries": 3,
            "start_period": 2_000_000_000,
        },
    }


def test_the_memory_of_the_task_limits_a_container_without_its_own() -> None:
    assert arguments({}, {"memory": "512"}, {}, {}, 1.0)["mem_limit"] == 512 * 1024 * 1024
    assert arguments({}, {}, {}, {}, 1.0)["healthcheck"] == {"test": ["NONE"]}
