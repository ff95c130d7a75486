# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ecs_verify finds all that would make a deployment fail, and nothing where all is well."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.aws.ecs_declaration import REGISTRY, VALUE, declaration, policy_simulator, push
from tests.integration.aws.stage import call
from tests.integration.endpoint import ACCOUNT, REGION, Endpoint

CLUSTER = "production"


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Endpoint]:
    with Endpoint(policy_simulator) as served:
        yield served


@pytest.fixture(scope="module")
def sound(endpoint: Endpoint) -> dict[str, Any]:
    endpoint.client("ecs").create_cluster(clusterName=CLUSTER)
    return declaration(endpoint)


def verify(endpoint: Endpoint, task: dict[str, Any], definition: dict[str, Any], **more: Any) -> dict[str, Any]:
    found = call(endpoint, "ecs_verify", {"cluster": CLUSTER, "task": task, "definition": definition, **more})
    assert VALUE not in str(found)
    return found


def test_nothing_is_found_where_all_is_well(endpoint: Endpoint, sound: dict[str, Any]) -> None:
    assert verify(endpoint, sound["task"], sound["definition"])["findings"] == []


def test_all_faults_are_named_in_one_run(endpoint: Endpoint, sound: dict[str, Any]) -> None:
    task, definition, others = copy.deepcopy(sound["task"]), copy.deepcopy(sound["definition"]), sound["others"]
    (api,) = task["containerDefinitions"]
    task["memory"] = "900"
    task["taskRoleArn"] = f"arn:aws:iam::{ACCOUNT}:role/nobody"
    task["executionRoleArn"] = f"arn:aws:iam::{ACCOUNT}:role/foreign"
    api["image"] = f"{REGISTRY}/permissions:2.0"
    api["secrets"] = [
        {"name": "DATABASE_URL", "valueFrom": "/permissions/nothing"},
        {"name": "REDIS_TOKEN", "valueFrom": f"{others['secret']}:password::"},
        {"name": "KEY", "valueFrom": f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:nothing-AbCdEf"},
    ]
    api["logConfiguration"]["options"]["awslogs-group"] = "/ecs/nothing"
    worker = {"name": "worker", "image": f"{REGISTRY}/permissions:arm", "essential": False}
    task["containerDefinitions"].append(worker)
    definition["loadBalancers"] = [
        {"targetGroupArn": others["groups"]["hosts"], "containerName": "api", "containerPort": 9090},
        {"targetGroupArn": others["groups"]["alone"], "containerName": "web", "containerPort": 8080},
    ]
    definition["healthCheckGracePeriodSeconds"] = 5
    definition["networkConfiguration"]["awsvpcConfiguration"] = {
        "subnets": [others["lonely"], "subnet-0000000000000000f"],
        "securityGroups": [others["closed"]],
    }
    found = verify(endpoint, task, definition)
    assert found["failed"]
    words = found["msg"]
    for expected in (
        "memory",
        "role/nobody does not exist",
        "the role foreign does not trust ecs-tasks.amazonaws.com",
        "container api: the image " + api["image"] + " does not exist",
        "is for linux/arm64, and the task runs on linux/amd64",
        "the parameter /permissions/nothing does not exist",
        "has no JSON key password",
        "secret:nothing-AbCdEf does not exist",
        "the log group /ecs/nothing does not exist",
        "its target type is instance",
        "the container api has no port 9090",
        "the task definition has no container web",
        "target group alone: no listener forwards to it",
        "healthCheckGracePeriodSeconds is 5",
        "subnet-0000000000000000f: it does not exist",
        f"{others['lonely']}: it has no route to 0.0.0.0/0, and its VPC has no endpoints",
        "no security group of the tasks accepts front at port 9090",
    ):
        assert expected in words, words
    assert len(found["findings"]) >= 17


def test_an_image_without_a_tag_is_latest(endpoint: Endpoint, sound: dict[str, Any]) -> None:
    task = copy.deepcopy(sound["task"])
    task["containerDefinitions"][0]["image"] = f"{REGISTRY}/permissions"
    found = verify(endpoint, task, sound["definition"], fail=False)
    assert [one["problem"] for one in found["findings"]] == [f"the image {REGISTRY}/permissions does not exist"]
    push(endpoint, "untagged", "latest", "amd64")
    task["containerDefinitions"][0]["image"] = f"{REGISTRY}/untagged"
    assert verify(endpoint, task, sound["definition"])["findings"] == []


def test_a_role_that_may_not_be_passed(endpoint: Endpoint, sound: dict[str, Any]) -> None:
    role = f"arn:aws:iam::{ACCOUNT}:role/kept"
    found = verify(endpoint, {**sound["task"], "taskRoleArn": role}, sound["definition"], fail=False)
    assert not found["failed"]
    assert [one["remedy"] for one in found["findings"]] == [f"Allow iam:PassRole on {role}."]


def test_what_aws_does_not_answer_is_a_finding(endpoint: Endpoint, sound: dict[str, Any]) -> None:
    endpoint.faults.denied["ssm:GetParameters"] = ""
    try:
        found = verify(endpoint, sound["task"], sound["definition"])
    finally:
        endpoint.faults.forget()
    assert found["failed"]
    assert [one["subject"] for one in found["findings"]] == ["check of secrets"]
    assert "needs ssm:GetParameters on /permissions/database" in found["msg"]
