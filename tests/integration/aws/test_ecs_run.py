# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ecs_run: one-off tasks that succeed, fail, never end, or run already."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from testbed.services.aws.ecs.pretended import Behaviour, no_image
from tests.integration.aws.ecs_stage import CLUSTER, NETWORK, Stage, stage
from tests.integration.aws.stage import call

DONE = Behaviour(exits_after=0.5)
NETWORKED = {"launchType": "FARGATE", "networkConfiguration": NETWORK}


@pytest.fixture(scope="module")
def ecs() -> Iterator[Stage]:
    with stage() as made:
        yield made


def run(ecs: Stage, family: str, *, check: bool = False, **more: Any) -> dict[str, Any]:
    wanted = {"cluster": CLUSTER, "task_definition": family, "definition": NETWORKED, "wait_timeout": 20, **more}
    return call(ecs.endpoint, "ecs_run", wanted, check=check)


def test_a_task_that_succeeds(ecs: Stage) -> None:
    ecs.register("migrate", "migrate:1", DONE)
    ecs.fake.writes.clear()
    would = run(ecs, "migrate", check=True)
    assert (would["changed"], would["task"], ecs.writes) == (True, "", [])
    done = run(ecs, "migrate")
    assert not done["failed"], done["msg"]
    assert done["changed"] and not done["joined"]
    assert done["containers"] == [{"name": "api", "exit_code": 0, "reason": ""}]
    assert done["log"] == ["api: migrate:1 starts, password=(hidden)"]
    assert ecs.writes == ["RunTask"]


def test_it_gets_the_network_of_a_service(ecs: Stage) -> None:
    service, _first = ecs.serving()
    ecs.register("beside", "beside:1", DONE)
    done = run(ecs, "beside", service=service, definition={})
    assert not done["failed"], done["msg"]
    (given,) = [given for action, given in ecs.fake.writes if action == "RunTask"]
    assert (
        given["networkConfiguration"]
        == ecs.ecs.describe_services(cluster=CLUSTER, services=[service])["services"][0]["networkConfiguration"]
    )
    assert given["launchType"] == "FARGATE"
    assert "has no active service nothing" in run(ecs, "beside", service="nothing", definition={})["msg"]


def test_one_that_fails(ecs: Stage) -> None:
    ecs.register("fails", "fails:1", Behaviour(exits_after=0.3, exit_code=1))
    done = run(ecs, "fails")
    assert done["failed"]
    assert "failed: api ended with exit code 1." in done["msg"]
    assert "Its last log lines:\n  api: fails:1 starts" in done["msg"]
    ecs.register("missing", "missing:1", no_image("missing:1"))
    assert "CannotPullContainerError: missing:1: not found" in run(ecs, "missing")["msg"]
    assert "There is no task definition nothing" in run(ecs, "nothing")["msg"]


def test_one_that_does_not_end_is_stopped(ecs: Stage) -> None:
    ecs.register("endless", "endless:1")
    ecs.fake.writes.clear()
    done = run(ecs, "endless", wait_timeout=1)
    assert "did not end within 1 s and was stopped." in done["msg"]
    assert ecs.writes == ["RunTask", "StopTask"]
    assert ecs.ecs.list_tasks(cluster=CLUSTER, family="endless")["taskArns"] == []


def test_one_that_runs_already_is_joined(ecs: Stage) -> None:
    ecs.register("joined", "joined:1", Behaviour(exits_after=3.0))
    command = {"overrides": {"containerOverrides": [{"name": "api", "command": ["migrate"]}]}}
    ecs.ecs.run_task(cluster=CLUSTER, taskDefinition="joined", startedBy="evenkeel-ecs-run", **NETWORKED, **command)
    ecs.fake.writes.clear()
    done = run(ecs, "joined", definition={**NETWORKED, **command})
    assert (done["failed"], done["joined"], ecs.writes) == (False, True, [])
    ecs.ecs.run_task(cluster=CLUSTER, taskDefinition="joined", startedBy="evenkeel-ecs-run", **NETWORKED, **command)
    ecs.fake.writes.clear()
    seed = {"overrides": {"containerOverrides": [{"name": "api", "command": ["seed"]}]}}
    other = run(ecs, "joined", definition={**NETWORKED, **seed})
    assert (other["joined"], ecs.writes) == (False, ["RunTask"])
