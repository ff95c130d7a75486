# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ecs_service creates, compares, changes and deletes a service; the info modules get its state and plan it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.declarations import declarations
from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.service_deployments import ServiceDeployments
from testbed.services.aws.ecs.pretended import Behaviour, crashes
from tests.integration.aws.ecs import refusal
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


def test_another_capacity_provider_strategy_is_deployed(ecs: Stage) -> None:
    name, first = ecs.serving()
    strategy = [{"capacityProvider": "FARGATE_SPOT", "weight": 1}]
    refused = refusal(ecs.ecs.update_service, cluster=CLUSTER, service=name, capacityProviderStrategy=strategy)
    assert refused[0] == "InvalidParameterException" and "you must force a new deployment" in refused[1]
    changed_and_then_not(ecs, name, definition={"capacityProviderStrategy": strategy})
    ecs.await_status(name, "SUCCESSFUL")
    assert described(ecs, name)["capacityProviderStrategy"] == strategy and ecs.runs(name) == {first}


def planned(
    ecs: Stage, name: str, image: str = "", options: dict[str, bool] | None = None, **more: Any
) -> dict[str, Any]:
    """The plan of a service that is declared as it runs, but for its image and `more`."""
    found = ecs.ecs.describe_task_definition(taskDefinition=name)["taskDefinition"]
    kept = ("networkMode", "requiresCompatibilities", "cpu", "memory", "executionRoleArn", "containerDefinitions")
    task = {key: value for key, value in found.items() if key in kept}
    one = {"name": name, "task": task, "images": {"api": image or f"{name}:1"}, "pin": "tag", **more}
    wanted = {"cluster": CLUSTER, "services": declarations([one]), "verify": False, **(options or {})}
    plan: dict[str, Any] = call(ecs.endpoint, "ecs_services_info", wanted)["services"][name]
    return plan


def test_a_service_that_is_as_declared(ecs: Stage) -> None:
    name, first = ecs.serving()
    plan = planned(ecs, name)
    assert (plan["changed"], plan["steps"], plan["problems"]) == (False, [], [])
    assert (plan["exists"], plan["current"], plan["revision"]) == (True, first, first)


def test_a_service_that_is_being_deleted_is_a_problem_of_the_plan(ecs: Stage) -> None:
    name, _first = ecs.serving()
    ecs.agent.behaviours[f"{name}:1"] = Behaviour(stops_after=30)
    ecs.ecs.delete_service(cluster=CLUSTER, service=name, force=True)
    assert described(ecs, name)["status"] == "DRAINING"
    (problem,) = planned(ecs, name)["problems"]
    assert f"the service {name} is being deleted (DRAINING)" in problem


@pytest.mark.parametrize("controller", ["CODE_DEPLOY", "EXTERNAL"])
def test_another_deployment_controller_is_a_problem_of_the_plan(ecs: Stage, controller: str) -> None:
    name, _first = ecs.serving()
    declared = {"deploymentController": {"type": controller}}
    for service_name in (name, f"{name}-new"):
        ecs.register(service_name, f"{name}:1")
        (problem,) = planned(ecs, service_name, service=declared)["problems"]
        assert f"declares the deployment controller {controller}. Only ECS is supported" in problem
    (there,) = [one for one in ecs.fake.engine.services.values() if one.name == name]
    there.settings["deploymentController"] = {"type": controller}
    del there.settings["taskDefinition"]
    plan = planned(ecs, name, options={"state": True})
    (problem,) = plan["problems"]
    assert f"The service {name} is deployed by {controller}. Only the deployment controller ECS" in problem
    assert (plan["exists"], plan["state"]["exists"], plan["state"]["task_definition"]) == (True, True, "")
    assert service(ecs, name, check=True, state="absent")["changed"]


def test_an_image_that_is_built_again_under_the_tag_that_runs_is_a_problem_of_the_plan(ecs: Stage) -> None:
    """ECS takes the same task definition for no change, so that the new image would not run."""
    name, _first = ecs.serving()
    build, again = {"path": "."}, {"build": True}
    (problem,) = planned(ecs, name, options=again, build=build)["problems"]
    assert f"builds the image {name}:1 again" in problem and "ecs_force" in problem
    assert planned(ecs, name, options=again, build=build, pin="digest")["problems"] == [problem], "not in Amazon ECR"
    assert planned(ecs, name, build=build)["problems"] == [], "nothing is built"
    forced = planned(ecs, name, options={**again, "force": True}, build=build)
    assert (forced["problems"], forced["deploys"]) == ([], True)
    other = planned(ecs, name, f"{name}:2", options=again, build=build)
    assert (other["problems"], other["registers"]) == ([], True)


def test_a_deployment_that_aws_has_not_listed_yet_is_joined(ecs: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a run that was killed right after UpdateService."""
    name, _first = ecs.serving()
    second = ecs.register(name, f"{name}:2", Behaviour(starts_after=5.0))
    ecs.ecs.update_service(cluster=CLUSTER, service=name, taskDefinition=second)
    monkeypatch.setattr(ServiceDeployments, "newest", lambda _self: None)
    plan = planned(ecs, name, f"{name}:2")
    assert (plan["joins"], plan["deploys"], plan["changed"]) == (True, False, True)
    assert plan["steps"] == [f"wait for the deployment of {name}:2, which runs"]


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
