# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ecs_service creates, compares, changes and deletes a service; ecs_service_info gets its state."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from testbed.services.aws.ecs.pretended import crashes
from tests.integration.aws.ecs_stage import CLUSTER, NETWORK, Stage, stage
from tests.integration.aws.stage import call

DEFINITION: dict[str, Any] = {
    "launchType": "FARGATE",
    "networkConfiguration": NETWORK,
    "deploymentConfiguration": {
        "maximumPercent": 200,
        "minimumHealthyPercent": 100,
        "deploymentCircuitBreaker": {"enable": True, "rollback": True},
    },
}


@pytest.fixture(scope="module")
def ecs() -> Iterator[Stage]:
    with stage() as made:
        yield made


def service(ecs: Stage, name: str, *, check: bool = False, **wanted: Any) -> dict[str, Any]:
    return call(ecs.endpoint, "ecs_service", {"cluster": CLUSTER, "name": name, **wanted}, check=check)


def described(ecs: Stage, name: str) -> dict[str, Any]:
    found: dict[str, Any] = ecs.ecs.describe_services(cluster=CLUSTER, services=[name], include=["TAGS"])["services"][0]
    return found


def changed_and_then_not(ecs: Stage, name: str, **wanted: Any) -> dict[str, Any]:
    """The result of a call that changes something, as check mode predicts, and that has nothing to do afterwards."""
    ecs.fake.writes.clear()
    would = service(ecs, name, check=True, **wanted)
    assert ecs.writes == []
    done = service(ecs, name, **wanted)
    assert not done["failed"], done["msg"]
    assert (would["changed"], would["diff"]) == (done["changed"], done["diff"]) == (True, done["diff"])
    ecs.fake.writes.clear()
    again = service(ecs, name, **wanted)
    assert (again["failed"], again["changed"], again["differences"]) == (False, False, [])
    assert ecs.writes == []
    return done


def test_a_service_is_created_changed_and_deleted(ecs: Stage) -> None:
    ecs.register("made", "made:1")
    made = changed_and_then_not(
        ecs, "made", task_definition="made", desired_count=2, definition=DEFINITION, tags={"team": "web"}
    )
    assert made["service_arn"].endswith(f"service/{CLUSTER}/made")
    ecs.await_status("made", "SUCCESSFUL")
    assert described(ecs, "made")["desiredCount"] == 2

    stricter = {"deploymentConfiguration": {"maximumPercent": 150}, "healthCheckGracePeriodSeconds": 0}
    changed = changed_and_then_not(ecs, "made", definition=stricter)
    assert changed["differences"] == ["deploymentConfiguration.maximumPercent"]
    after = described(ecs, "made")["deploymentConfiguration"]
    assert (after["maximumPercent"], after["minimumHealthyPercent"]) == (150, 100), "what is not declared stays"
    assert after["deploymentCircuitBreaker"]["rollback"] is True

    other = {"awsvpcConfiguration": {**NETWORK["awsvpcConfiguration"], "subnets": ["subnet-0000000000000000b"]}}
    moved = changed_and_then_not(ecs, "made", definition={"networkConfiguration": other})
    assert moved["differences"] == ["networkConfiguration.awsvpcConfiguration.subnets"]
    assert changed_and_then_not(ecs, "made", desired_count=3)["differences"] == ["desiredCount"]
    changed_and_then_not(ecs, "made", tags={"stage": "test"})
    assert {one["key"] for one in described(ecs, "made")["tags"]} == {"stage", "evenkeel:tags"}

    ecs.fake.writes.clear()
    would = service(ecs, "made", check=True, state="absent")
    assert would["changed"] and ecs.writes == []
    gone = service(ecs, "made", state="absent")
    assert gone["changed"] and not gone["failed"]
    assert described(ecs, "made")["status"] == "INACTIVE"
    assert not service(ecs, "made", state="absent")["changed"]


@pytest.mark.parametrize("form", ["family", "revision", "arn"])
def test_a_task_definition_is_the_same_by_each_of_its_names(ecs: Stage, form: str) -> None:
    name, arn = ecs.serving()
    given = {"family": name, "revision": f"{name}:1", "arn": arn}[form]
    done = service(ecs, name, task_definition=given, definition=DEFINITION)
    assert (done["changed"], done["differences"], ecs.writes) == (False, [], [])


def test_the_task_definition_may_be_left_to_ecs_deploy(ecs: Stage) -> None:
    name, _first = ecs.serving()
    second = ecs.register(name, f"{name}:2")
    assert service(ecs, name, check=True, task_definition=name)["differences"] == ["taskDefinition"]
    kept = service(ecs, name, task_definition=name, keep_task_definition=True)
    assert (kept["changed"], second in ecs.runs(name)) == (False, False)


def test_what_aws_can_not_change_is_refused_before_anything_changes(ecs: Stage) -> None:
    name, _first = ecs.serving()
    refused = service(
        ecs, name, definition={"schedulingStrategy": "DAEMON", "deploymentConfiguration": {"maximumPercent": 150}}
    )
    assert "Nothing was changed: AWS can't change schedulingStrategy of the service" in refused["msg"]
    assert "It has schedulingStrategy 'REPLICA'" in refused["msg"]
    misspelt = service(ecs, name, definition={"network_configuration": {}})
    assert "definition.network_configuration is not a parameter of CreateService" in misspelt["msg"]
    missing = service(ecs, "nothing", task_definition="", definition=DEFINITION)
    assert "without task_definition it can't be created" in missing["msg"]
    unknown = service(ecs, "nothing", task_definition="nothing", definition=DEFINITION, check=True)
    assert "There is no task definition nothing" in unknown["msg"], "check mode, too"
    assert ecs.writes == []


def test_a_scaled_service_keeps_its_count(ecs: Stage) -> None:
    name, _first = ecs.serving()
    scaling = ecs.endpoint.client("application-autoscaling")
    scaling.register_scalable_target(
        ServiceNamespace="ecs",
        ResourceId=f"service/{CLUSTER}/{name}",
        ScalableDimension="ecs:service:DesiredCount",
        MinCapacity=1,
        MaxCapacity=10,
    )
    ecs.ecs.update_service(cluster=CLUSTER, service=name, desiredCount=7)
    ecs.fake.writes.clear()
    left = service(ecs, name, desired_count=2)
    assert (left["changed"], left["scaled_by_target"], ecs.writes) == (False, True, [])
    second = ecs.register(name, f"{name}:2")
    assert not ecs.deploy(name, second)["failed"]
    assert described(ecs, name)["desiredCount"] == 7


def test_the_state_of_a_service(ecs: Stage) -> None:
    name, first = ecs.serving()
    info = {"cluster": CLUSTER, "name": name, "definition": {"deploymentConfiguration": {"maximumPercent": 150}}}
    found = call(ecs.endpoint, "ecs_service_info", info)
    assert (found["exists"], found["running"], found["desired"]) == (True, 2, 2)
    assert (found["task_definition"], found["last_good"]) == (first, "")
    assert found["differences"] == ["deploymentConfiguration.maximumPercent"]
    broken = ecs.register(name, f"{name}:broken", crashes(code=9))
    assert ecs.deploy(name, broken, on_failure="leave")["failed"]
    found = call(ecs.endpoint, "ecs_service_info", info)
    assert found["last_good"] == first
    assert found["deployment"]["status"] == "IN_PROGRESS"
    assert found["stopped_tasks"][0]["containers"] == [{"name": "api", "exit_code": 9, "reason": ""}]
    assert not ecs.deploy(name, found["last_good"])["failed"]
    assert ecs.runs(name) == {first}
    nothing = call(ecs.endpoint, "ecs_service_info", {"cluster": CLUSTER, "name": "nothing"})
    assert (nothing["exists"], nothing["last_good"], nothing["failed"]) == (False, "", False)
