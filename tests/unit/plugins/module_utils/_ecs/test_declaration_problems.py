# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.declaration_problems import log_groups, problems
from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.policy_statements import ClusterPlace

PLACE = ClusterPlace("production", "eu-central-1", "123456789012")
ROLE = "arn:aws:iam::123456789012:role/"
NETWORK = {"subnets": ["subnet-1"], "securityGroups": ["sg-1"]}
POLICY = {"name": "cpu", "metric": "ECSServiceAverageCPUUtilization", "target_value": 60}


def service(**more: Any) -> dict[str, Any]:
    return {"name": "permissions", "task": {"containerDefinitions": []}, **more}


def logging(group: str, **more: Any) -> dict[str, Any]:
    container = {"name": "api", "logConfiguration": {"logDriver": "awslogs", "options": {"awslogs-group": group}}}
    return service(task={"containerDefinitions": [container]}, **more)


def network(**more: Any) -> dict[str, Any]:
    return service(service={"networkConfiguration": {"awsvpcConfiguration": {**NETWORK, **more}}})


@pytest.mark.parametrize(
    "right",
    [
        service(),
        network(),
        service(count="3"),
        service(scaling={"min": 1, "max": "3", "policies": [POLICY], "suspended": {"scheduled": True}}),
        service(scaling={"min": 1, "max": 3, "policies": {"cpu": POLICY}}),
        logging("/ecs/permissions", logs={"retention": 1096}),
        logging("/ecs/permissions", logs={"retention": "never"}),
    ],
)
def test_nothing_is_wrong_with_what_aws_takes(right: dict[str, Any]) -> None:
    assert problems([right], PLACE) == []


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (service(name="a" * 256), "has 256 characters, and AWS takes 1 to 255"),
        (service(name="a.b"), "of A-Z a-z 0-9 _ -"),
        (service(images={"worker": "image:1"}), "images names worker, and the family has the containers (none)"),
        (service(task={"family": "a/b"}), "the family has 3 characters"),
        (network(subnets="subnet-1"), "subnets is str and not a list: declare a list of subnet-… identifiers"),
        (network(subnets=["sg-1"]), "subnets has sg-1, which is no identifier subnet-…"),
        (network(securityGroups=[7]), "securityGroups has 7, which is no identifier sg-…"),
        (network(subnets=[]), "it has no subnets"),
        (service(count="many"), "count is many, which is no number of tasks"),
        (service(scaling={"min": 5, "max": 3}), "scaling.min 5 is above scaling.max 3"),
        (service(scaling={"min": 1}), "scaling.max is missing: set a number of tasks"),
        (service(scaling={"min": 1, "max": 3, "cpu": 60}), "scaling has cpu, and can have min, max"),
        (
            service(scaling={"min": 1, "max": 3, "policies": [{**POLICY, "metric": "CPU"}]}),
            "the scaling policy cpu has the metric CPU, and can have ECSServiceAverageCPUUtilization",
        ),
        (service(roles=["deployer"]), "roles has deployer, and can have execution, task"),
        (service(roles=["task"]), "roles has task, and the task has no taskRoleArn"),
        (service(roles=["task"], task={"taskRoleArn": ROLE + "a" * 65}), "has 65 characters, and IAM takes 1 to 64"),
        (
            service(roles=["task"], task={"taskRoleArn": "arn:aws:iam::210987654321:role/task"}),
            "taskRoleArn is of the account 210987654321, and this is 123456789012",
        ),
        (service(access={"reads": []}), "access has reads, and can have consumes, publishes, statements"),
        (logging("/ecs/permissions", logs={"retention": "long"}), "logs.retention is long: set days"),
    ],
)
def test_what_is_wrong_is_named_with_its_service(wrong: dict[str, Any], words: str) -> None:
    (found,) = problems([wrong], PLACE)
    assert words in found
    assert f"service {wrong['name']}: " in found


def test_services_and_their_log_groups_agree() -> None:
    one = logging("/ecs/all", logs={"retention": 30})
    other = {**logging("/ecs/all", logs={"retention": 90}), "name": "b"}
    assert problems([one, other], PLACE) == ["the log group /ecs/all has the retentions 30 and 90: declare one"]
    assert problems([service(), service()], PLACE) == ["2 services are called permissions: give each its own name"]


def test_the_place_is_known() -> None:
    found = problems([], ClusterPlace("", "", "12345"))
    assert [words.partition(":")[0] for words in found] == [
        "the cluster's name (empty) has 0 characters, and AWS takes 1 to 255 of A-Z a-z 0-9 _ -",
        "the account is 12345",
        "the region is not known",
    ]


def test_a_policy_that_iam_would_refuse_is_named() -> None:
    statements = [{"Sid": f"S{number}", "Action": "s3:GetObject", "Resource": "x" * 1000} for number in range(11)]
    long = service(roles=["task"], task={"taskRoleArn": f"{ROLE}task"}, access={"statements": statements})
    (found,) = problems([long], PLACE, "deployer")
    assert found.startswith("the policy of the role task has 1") and "and IAM takes 10240" in found
    assert problems([service()], PLACE, "d" * 65)[0].startswith("the deployer's role ddd")


def test_log_groups_are_listed_once_and_only_those_of_the_region() -> None:
    elsewhere = logging("/far")
    elsewhere["task"]["containerDefinitions"][0]["logConfiguration"]["options"]["awslogs-region"] = "us-east-1"
    services = [logging("/ecs/all", logs={"retention": 30}), logging("/ecs/all"), logging("/ecs/other"), elsewhere]
    assert log_groups(services, "eu-central-1") == [{"name": "/ecs/all", "retention": "30"}, {"name": "/ecs/other"}]
