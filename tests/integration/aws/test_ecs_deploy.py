# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ecs_deploy: deployments that succeed, fail, are superseded or interrupted, and the way back."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from werkzeug.wrappers import Request, Response

from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs import deploy
from testbed.services.aws.calls import Call, denied
from testbed.services.aws.ecs.pretended import (
    NEVER_HEALTHY,
    Behaviour,
    crashes,
    no_image,
    no_secret,
    out_of_memory,
)
from tests.integration.aws.ecs_stage import CLUSTER, Stage, stage
from tests.integration.endpoint import ACCOUNT

CHECK = {"command": ["CMD-SHELL", "true"], "interval": 5, "retries": 1}
SLOW = Behaviour(healthy_after=3.0)


OTHER_NETWORK = {"awsvpcConfiguration": {"subnets": ["subnet-0fedcba9876543210"]}}
Meddler = Callable[[Call, Request], "Response | None"]


class Between:
    """Stands between the module and the stand-in: a meddler may answer a call."""

    meddler: Meddler | None = None

    def answer(self, call: Call, request: Request) -> Response | None:
        return self.meddler(call, request) if self.meddler and call.service == "ecs" else None


BETWEEN = Between()


@pytest.fixture(scope="module")
def ecs() -> Iterator[Stage]:
    with stage(first=BETWEEN.answer) as made:
        yield made


@pytest.fixture
def meddle(monkeypatch: pytest.MonkeyPatch) -> Callable[[Meddler], None]:
    return lambda meddler: monkeypatch.setattr(BETWEEN, "meddler", meddler)


def test_a_new_revision_is_deployed_once(ecs: Stage) -> None:
    service, first = ecs.serving()
    second = ecs.register(service, f"{service}:2")
    ecs.fake.writes.clear()
    would = ecs.deploy(service, second, check=True)
    assert (would["changed"], ecs.writes) == (True, [])
    done = ecs.deploy(service, service)
    assert not done["failed"], done["msg"]
    assert (done["changed"], done["outcome"], done["diff"]) == (True, "succeeded", would["diff"])
    assert done["diff"] == {"before": {"task_definition": first}, "after": {"task_definition": second}}
    assert ecs.runs(service) == {second}
    assert ecs.writes == ["UpdateService"]
    assert any("has started" in event for event in done["events"])
    assert "SUCCESSFUL: 2 of 2 tasks running" in done["progress"][-1]
    for name in (second, service, f"{service}:2"):
        again = ecs.deploy(service, name)
        assert (again["failed"], again["changed"], again["outcome"]) == (False, False, "unchanged")
    assert ecs.writes == ["UpdateService"]


def test_the_same_revision_is_started_again_by_force(ecs: Stage) -> None:
    service, first = ecs.serving()
    done = ecs.deploy(service, first, force=True)
    assert (done["failed"], done["changed"], done["outcome"]) == (False, True, "succeeded")
    assert [given.get("forceNewDeployment") for _action, given in ecs.fake.writes] == [True]


@pytest.mark.parametrize(
    ("behaviour", "container", "expected"),
    [
        (crashes(code=3), {}, "container api: exit code 3"),
        (out_of_memory(), {}, "exit code 137, OutOfMemoryError: Container killed due to memory usage"),
        (no_image("permissions:2"), {}, "CannotPullContainerError: permissions:2: not found"),
        (no_secret("DATABASE_URL"), {}, "can't find DATABASE_URL"),
        (NEVER_HEALTHY, {"healthCheck": CHECK}, "health checks"),
    ],
    ids=["crash", "memory", "image", "secret", "unhealthy"],
)
def test_a_broken_revision_fails_early_and_the_good_one_runs_again(
    ecs: Stage, behaviour: Behaviour, container: dict[str, Any], expected: str
) -> None:
    service, first = ecs.serving()
    broken = ecs.register(service, f"{service}:broken", behaviour, **container)
    done = ecs.deploy(service, broken)
    assert done["failed"]
    assert expected in done["msg"], done["msg"]
    assert f"\nIt was rolled back: {service}:1 runs again." in done["msg"]
    assert (done["outcome"], done["rolled_back_to"], done["task_definition"]) == ("rolled_back", first, first)
    assert ecs.runs(service) == {first}
    assert len(done["failures"]) >= 2
    assert done["seconds"] < 15, "it did not wait for the breaker or the timeout"


def test_the_last_log_lines_are_shown_without_secrets(ecs: Stage) -> None:
    service, _first = ecs.serving()
    broken = ecs.register(service, f"{service}:broken", crashes())
    done = ecs.deploy(service, broken)
    line = f"api: {service}:broken starts, password=(hidden)"
    assert line in done["failures"][0]["log"]
    assert f"Its last log lines:\n  {line}" in done["msg"]
    assert "hunter2" not in str(done)


def test_the_way_back_passes_over_a_revision_that_never_ran(ecs: Stage) -> None:
    service, first = ecs.serving()
    second = ecs.register(service, f"{service}:2", crashes())
    left = ecs.deploy(service, second, on_failure="leave")
    assert left["failed"] and "It was left as it is, by on_failure=leave." in left["msg"]
    third = ecs.register(service, f"{service}:3", crashes())
    done = ecs.deploy(service, third)
    assert done["failed"]
    assert f"It was rolled back: {service}:1 runs again." in done["msg"], done["msg"]
    assert done["rolled_back_to"] == first
    assert ecs.runs(service) == {first}


def test_a_rollback_by_the_circuit_breaker_is_a_failure(ecs: Stage) -> None:
    threshold = {"type": "COUNT", "value": 3}
    service, first = ecs.serving({"enable": True, "rollback": True, "thresholdConfiguration": threshold})
    broken = ecs.register(service, f"{service}:broken", crashes())
    ecs.fake.writes.clear()
    done = ecs.deploy(service, broken, fail_after=0)
    assert done["failed"]
    assert "circuit breaker" in done["msg"]
    assert f"AWS rolled it back: {service}:1 runs again." in done["msg"]
    assert (done["outcome"], done["rolled_back_to"]) == ("rolled_back", first)
    assert ecs.writes == ["UpdateService"]


def test_a_circuit_breaker_without_rollback_leaves_the_way_back_to_us(ecs: Stage) -> None:
    threshold = {"type": "COUNT", "value": 3}
    service, first = ecs.serving({"enable": True, "rollback": False, "thresholdConfiguration": threshold})
    broken = ecs.register(service, f"{service}:broken", crashes())
    done = ecs.deploy(service, broken, fail_after=0)
    assert done["failed"]
    assert f"It was rolled back: {service}:1 runs again." in done["msg"], done["msg"]
    assert ecs.runs(service) == {first}


def test_without_a_good_revision_there_is_no_way_back(ecs: Stage) -> None:
    service, first = ecs.serving(count=0)
    broken = ecs.register(service, f"{service}:broken", crashes())
    ecs.ecs.delete_service(cluster=CLUSTER, service=service, force=True)
    name = f"{service}-new"
    ecs.ecs.create_service(
        cluster=CLUSTER, serviceName=name, taskDefinition=broken, desiredCount=1, launchType="FARGATE",
        networkConfiguration={"awsvpcConfiguration": {"subnets": ["subnet-0123456789abcdef0"]}},
    )  # fmt: skip
    done = ecs.deploy(name, broken)
    assert done["failed"] and done["joined"]
    assert f"No deployment of {name} has succeeded yet, so there is nothing to go back to." in done["msg"]
    assert first != broken


def test_a_newer_deployment_is_named_and_left_alone(ecs: Stage) -> None:
    service, _first = ecs.serving()
    second = ecs.register(service, f"{service}:2", SLOW, healthCheck=CHECK)
    third = ecs.register(service, f"{service}:3")
    other = threading.Timer(1.5, lambda: ecs.ecs.update_service(cluster=CLUSTER, service=service, taskDefinition=third))
    other.start()
    done = ecs.deploy(service, second)
    other.join()
    assert done["failed"]
    assert f"was superseded by a newer deployment of {service}:3, started at" in done["msg"], done["msg"]
    assert "Nothing was rolled back." in done["msg"]
    ecs.await_status(service, "SUCCESSFUL")
    assert ecs.runs(service) == {third}


def test_a_deployment_that_supersedes_another_says_so(ecs: Stage) -> None:
    service, _first = ecs.serving()
    second = ecs.register(service, f"{service}:2", SLOW, healthCheck=CHECK)
    third = ecs.register(service, f"{service}:3")
    assert not ecs.deploy(service, second, wait=False)["failed"]
    done = ecs.deploy(service, third)
    assert not done["failed"]
    assert any(f"A deployment of {service}:2 runs since" in warning for warning in done["warnings"])
    assert ecs.runs(service) == {third}


def test_one_that_is_too_slow_is_rolled_back(ecs: Stage) -> None:
    service, first = ecs.serving()
    slow = ecs.register(service, f"{service}:slow", Behaviour(healthy_after=60.0), healthCheck=CHECK)
    done = ecs.deploy(service, slow, wait_timeout=2)
    assert done["failed"]
    assert "did not end within 2 s: IN_PROGRESS" in done["msg"]
    assert f"It was rolled back: {service}:1 runs again." in done["msg"], done["msg"]
    assert ecs.runs(service) == {first}


def test_what_can_not_be_deployed_is_refused(ecs: Stage) -> None:
    service, first = ecs.serving()
    gone = ecs.register(service, f"{service}:gone")
    ecs.ecs.deregister_task_definition(taskDefinition=gone)
    ecs.fake.writes.clear()
    assert "is INACTIVE. AWS starts no tasks of it" in ecs.deploy(service, gone)["msg"]
    assert "There is no task definition nothing (" in ecs.deploy(service, "nothing")["msg"]
    assert "has no active service nothing. Create it with ecs_service first." in ecs.deploy("nothing", first)["msg"]
    assert ecs.writes == []


def test_settings_that_fail_go_back_and_the_code_stays(ecs: Stage, meddle: Callable[[Meddler], None]) -> None:
    service, _first = ecs.serving()
    second = ecs.register(service, f"{service}:2")
    assert not ecs.deploy(service, second)["failed"]
    ecs.agent.behaviours[f"{service}:2"] = crashes()
    ecs.ecs.update_service(cluster=CLUSTER, service=service, networkConfiguration=OTHER_NETWORK)
    ecs.fake.writes.clear()

    def mend(call: Call, _request: Request) -> None:
        """With the settings that it had before, the code runs."""
        if call.action in ("StopServiceDeployment", "UpdateService"):
            ecs.agent.behaviours[f"{service}:2"] = Behaviour()

    meddle(mend)
    done = ecs.deploy(service, second)
    assert done["failed"] and done["joined"]
    assert f"It was rolled back: {service}:2 runs again, with the settings it had before." in done["msg"], done["msg"]
    assert (done["outcome"], done["rolled_back_to"], done["changed"]) == ("rolled_back", second, True)
    assert ecs.writes == ["StopServiceDeployment"]


def test_code_that_fails_when_started_again_is_not_replaced_by_an_older_one(ecs: Stage) -> None:
    threshold = {"type": "COUNT", "value": 3}
    service, _first = ecs.serving({"enable": True, "rollback": False, "thresholdConfiguration": threshold})
    second = ecs.register(service, f"{service}:2")
    assert not ecs.deploy(service, second)["failed"]
    ecs.agent.behaviours[f"{service}:2"] = crashes()
    ecs.fake.writes.clear()
    done = ecs.deploy(service, second, force=True, fail_after=0)
    assert done["failed"]
    assert f"{service}:2 is also what the last successful deployment brought" in done["msg"], done["msg"]
    assert "The settings of the service were not put back" in done["msg"]
    assert (done["outcome"], done["rolled_back_to"]) == ("failed", "")
    assert ecs.writes == ["UpdateService"]


def test_failures_before_a_run_that_joins_do_not_count(ecs: Stage) -> None:
    service, _first = ecs.serving()
    second = ecs.register(service, f"{service}:2", crashes())
    assert ecs.deploy(service, second, on_failure="leave")["failed"]
    ecs.agent.behaviours[f"{service}:2"] = Behaviour()
    # Tasks that started before the cause was mended.
    done = ecs.deploy(service, second, fail_after=5)
    assert not done["failed"], done["msg"]
    assert (done["joined"], done["outcome"]) == (True, "succeeded")
    assert len(done["failures"]) < 3


def test_a_rollback_that_is_denied_leaves_the_reason_in_the_message(
    ecs: Stage, meddle: Callable[[Meddler], None]
) -> None:
    service, _first = ecs.serving()
    broken = ecs.register(service, f"{service}:broken", crashes(code=3))
    meddle(lambda call, _request: denied(call, ACCOUNT, "ci") if call.action == "StopServiceDeployment" else None)
    done = ecs.deploy(service, broken)
    assert done["failed"]
    assert "container api: exit code 3" in done["msg"], done["msg"]
    assert "Its last log lines:" in done["msg"]
    assert "\nThe rollback was not started: AWS denies it: the role or user needs ecs:StopService" in done["msg"]
    assert done["outcome"] == "failing"


def test_without_answers_until_the_timeout_it_is_rolled_back(ecs: Stage, meddle: Callable[[Meddler], None]) -> None:
    service, first = ecs.serving()
    slow = ecs.register(service, f"{service}:slow", Behaviour(healthy_after=60.0), healthCheck=CHECK)
    assert not ecs.deploy(service, slow, wait=False)["failed"]
    followed: list[float] = []

    def silent_for_a_while(call: Call, _request: Request) -> Response | None:
        if call.action == "ListTasks":
            followed.append(time.monotonic())
        silent = followed and time.monotonic() < followed[0] + 4
        return Response(status=503) if silent and call.action == "DescribeServiceDeployments" else None

    meddle(silent_for_a_while)
    done = ecs.deploy(service, slow, wait_timeout=3)
    assert done["failed"]
    assert "did not end within 3 s" in done["msg"], done["msg"]
    assert f"It was rolled back: {service}:1 runs again." in done["msg"], done["msg"]
    assert ecs.runs(service) == {first}


def test_a_rollback_by_aws_that_lasts_is_not_started_again(ecs: Stage) -> None:
    service, _first = ecs.serving()
    slow = ecs.register(service, f"{service}:slow", Behaviour(healthy_after=60.0), healthCheck=CHECK)
    assert not ecs.deploy(service, slow, wait=False)["failed"]
    ecs.agent.behaviours[f"{service}:1"] = crashes()
    ecs.ecs.stop_service_deployment(
        serviceDeploymentArn=ecs.newest(service)["serviceDeploymentArn"], stopType="ROLLBACK"
    )
    ecs.await_status(service, "ROLLBACK_IN_PROGRESS")
    ecs.fake.writes.clear()
    done = ecs.deploy(service, slow, wait_timeout=2)
    assert done["failed"]
    assert "did not end within 2 s: ROLLBACK_IN_PROGRESS" in done["msg"], done["msg"]
    assert f"The rollback to {service}:1 has not succeeded (ROLLBACK_IN_PROGRESS" in done["msg"], done["msg"]
    assert (done["rolled_back_to"], ecs.writes) == ("", [])


def test_a_deployment_that_aws_does_not_list_is_not_taken_for_unchanged(
    ecs: Stage, meddle: Callable[[Meddler], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    service, _first = ecs.serving()
    slow = ecs.register(service, f"{service}:slow", SLOW, healthCheck=CHECK)
    ecs.ecs.update_service(cluster=CLUSTER, service=service, taskDefinition=slow)
    monkeypatch.setattr(deploy, "LISTED_WITHIN", 1.0)
    nothing = json.dumps({"serviceDeployments": []})
    meddle(
        lambda call, _request: (
            Response(nothing, content_type="application/x-amz-json-1.1")
            if call.action == "ListServiceDeployments"
            else None
        )
    )
    done = ecs.deploy(service, slow)
    assert done["failed"]
    assert "is in progress, and AWS has not listed it within 1 s. Run the same again" in done["msg"], done["msg"]


def test_a_deployment_that_somebody_else_started_meanwhile_is_not_followed(
    ecs: Stage, meddle: Callable[[Meddler], None]
) -> None:
    service, _first = ecs.serving()
    second = ecs.register(service, f"{service}:2", SLOW, healthCheck=CHECK)
    third = ecs.register(service, f"{service}:3")
    state = {"updated": False}

    def update_at_once(call: Call, _request: Request) -> None:
        """Right after the module's UpdateService."""
        ours = "UpdateService" in ecs.writes and not state["updated"] and call.action == "ListServiceDeployments"
        if ours:
            state["updated"] = True
            ecs.ecs.update_service(cluster=CLUSTER, service=service, taskDefinition=third)

    meddle(update_at_once)
    done = ecs.deploy(service, second)
    assert done["failed"]
    assert f"{service}:2 to {service} was superseded by a newer deployment of {service}:3" in done["msg"], done["msg"]
    assert done["outcome"] == "superseded"


def test_deployments_are_listed_by_the_hundred(ecs: Stage, meddle: Callable[[Meddler], None]) -> None:
    service, first = ecs.serving()
    asked: list[Any] = []

    def hear(call: Call, request: Request) -> None:
        if call.action == "ListServiceDeployments":
            asked.append(json.loads(request.get_data())["maxResults"])

    meddle(hear)
    assert not ecs.deploy(service, first)["failed"]
    assert set(asked) == {100}
