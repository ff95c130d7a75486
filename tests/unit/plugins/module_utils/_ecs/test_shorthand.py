# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.shorthand import (
    Surroundings,
    balanced_services,
    clients,
    expanded,
    problems_in_short,
    url_variable,
)

AROUND = Surroundings(
    region="eu-central-1",
    account="123456789012",
    subnets=["subnet-1"],
    security_groups=["sg-1"],
    tags={"Env": "prod"},
    balanced=True,
    dns_name="inside.example.com",
    groups={"users-nlb": "arn:users"},
)
USERS: dict[str, Any] = {
    "name": "users-nlb",
    "image": "registry/users:1.0",
    "port": 3002,
    "secrets": {"DATABASE_URL": "arn:secret"},
    "environment": {"LOG_LEVEL": "info", "DEBUG": False},
    "legacy": {"service": "users", "url": "http://public:3002"},
}
GATEWAY: dict[str, Any] = {"name": "gateway", "image": "registry/gateway:1.0", "upstreams": ["users-nlb"]}


def container(service: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = service["task"]["containerDefinitions"][0]
    return found


def urls(*services: dict[str, Any], **more: Any) -> dict[str, str]:
    found = expanded(services, Surroundings(**{**vars(AROUND), **more}))
    gateway = next(one for one in found if one["name"].endswith("gateway"))
    return {pair["name"]: pair["value"] for pair in container(gateway).get("environment", [])}


def test_a_service_in_short_becomes_one_in_the_names_of_aws() -> None:
    [users] = expanded([USERS], AROUND)
    assert users["task"]["executionRoleArn"] == "arn:aws:iam::123456789012:role/users-nlb-execution"
    assert users["roles"] == ["execution"]
    assert users["tags"] == {"Env": "prod"}
    assert container(users) == {
        "name": "users-nlb",
        "image": "registry/users:1.0",
        "essential": True,
        "portMappings": [{"containerPort": 3002}],
        "environment": [{"name": "LOG_LEVEL", "value": "info"}, {"name": "DEBUG", "value": "false"}],
        "secrets": [{"name": "DATABASE_URL", "valueFrom": "arn:secret"}],
        "logConfiguration": {
            "logDriver": "awslogs",
            "options": {
                "awslogs-group": "/ecs/users-nlb",
                "awslogs-region": "eu-central-1",
                "awslogs-stream-prefix": "ecs",
            },
        },
    }
    network = users["service"]["networkConfiguration"]["awsvpcConfiguration"]
    assert network == {"subnets": ["subnet-1"], "securityGroups": ["sg-1"], "assignPublicIp": "DISABLED"}
    assert users["service"]["loadBalancers"] == [
        {"targetGroupArn": "arn:users", "containerName": "users-nlb", "containerPort": 3002}
    ]
    assert users["service"]["healthCheckGracePeriodSeconds"] == 80


def test_what_is_declared_in_the_names_of_aws_wins() -> None:
    [users] = expanded([{**USERS, "task": {"cpu": "1024"}, "service": {"launchType": "EC2"}}], AROUND)
    assert (users["task"]["cpu"], users["service"]["launchType"]) == ("1024", "EC2")
    whole = {"name": "other", "task": {"containerDefinitions": []}, "service": {}}
    assert expanded([whole, "no mapping"], AROUND) == [whole, "no mapping"]


def test_names_have_the_prefix() -> None:
    [users] = expanded([USERS], Surroundings(**{**vars(AROUND), "prefix": "shop-"}))
    assert (users["name"], users["task"]["family"], container(users)["name"]) == (
        "shop-users-nlb",
        "shop-users-nlb",
        "users-nlb",
    )
    assert balanced_services([USERS, GATEWAY], "shop-")[0]["group"] == "shop-users-nlb"
    assert clients([USERS, GATEWAY], "shop-") == [
        {"service": "shop-gateway", "container": "", "variables": ["USERS_SERVICE_URL"]}
    ]


def test_the_url_that_runs_stays_until_a_cutover_decides() -> None:
    assert urls(USERS, GATEWAY) == {"USERS_SERVICE_URL": "http://public:3002"}
    alone = {key: value for key, value in USERS.items() if key != "legacy"}
    assert urls(alone, GATEWAY) == {"USERS_SERVICE_URL": "http://inside.example.com:3002"}
    running = {"gateway": {"USERS_SERVICE_URL": "http://inside.example.com:3002"}}
    assert urls(USERS, GATEWAY, urls=running) == running["gateway"]
    declared = {**GATEWAY, "environment": {"USERS_SERVICE_URL": "http://old", "PORT": 80}}
    assert urls(USERS, declared) == {"USERS_SERVICE_URL": "http://public:3002", "PORT": "80"}


@pytest.mark.parametrize(
    ("name", "variable"),
    [
        ("users", "USERS_SERVICE_URL"),
        ("users-nlb", "USERS_SERVICE_URL"),
        ("users-service", "USERS_SERVICE_URL"),
        ("users-service-nlb", "USERS_SERVICE_URL"),
        ("user-data-internal", "USER_DATA_SERVICE_URL"),
    ],
)
def test_the_variable_of_a_url(name: str, variable: str) -> None:
    assert url_variable({"name": name}) == variable
    assert url_variable({"name": name, "url_variable": "OWN"}) == "OWN"


@pytest.mark.parametrize(
    ("services", "internal", "words"),
    [
        ([{"name": "a"}], {}, "service a: it has neither image nor task: declare one of them"),
        ([USERS], {"name": "inside"}, "ecs_internal has no vpc_id: declare it"),
        ([{**GATEWAY}], {}, "service gateway: upstreams has users-nlb, and ecs_services has gateway: correct the name"),
        (
            [{**USERS, "port": "80a"}],
            {},
            "service users-nlb: port and listener_port are 80a and None: set ports from 1 to 65535",
        ),
        (
            [USERS, {**USERS, "name": "other"}],
            {"name": "inside", "vpc_id": "vpc", "subnets": ["s"]},
            "service other: it has the listener port 3002 of users-nlb: set another listener_port",
        ),
        (
            [{**USERS, "name": "a" * 33}],
            {"name": "inside", "vpc_id": "vpc", "subnets": ["s"]},
            f"service {'a' * 33}: its target group would be called {'a' * 33}, and AWS takes 1 to 32 letters, digits "
            "and hyphens: set target_group",
        ),
    ],
)
def test_what_is_wrong_is_named(services: list[Any], internal: dict[str, Any], words: str) -> None:
    assert words in problems_in_short(services, "", internal)


def test_what_is_no_port_is_refused_by_name_and_not_by_a_crash() -> None:
    wrong = {**USERS, "port": "80a"}
    [found] = expanded([wrong], AROUND)
    assert container(found)["portMappings"] == [{"containerPort": 0}]
    assert balanced_services([wrong])[0]["port"] == 0


def test_nothing_is_wrong() -> None:
    assert problems_in_short([USERS, GATEWAY, "x"], "", {"name": "inside", "vpc_id": "vpc", "subnets": ["s"]}) == []
