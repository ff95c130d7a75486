# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Differences of task definitions in words, and what is shown of them."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.defaults import filled, tidy
from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.task_definition import (
    differences,
    secret_values,
    shown_pair,
)

PASSWORD = "hunter2-planted"
TOKEN = "Xk9-planted-token"
SECRET = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:permissions/database"


def declared() -> dict[str, Any]:
    return {
        "family": "permissions",
        "requiresCompatibilities": ["FARGATE"],
        "networkMode": "awsvpc",
        "cpu": 512,
        "memory": "1 GB",
        "executionRoleArn": "arn:aws:iam::123456789012:role/execution",
        "containerDefinitions": [
            {
                "name": "api",
                "image": "api:1",
                "command": ["serve", "--password", PASSWORD],
                "portMappings": [{"containerPort": 8080}],
                "environment": [
                    {"name": "LOG_LEVEL", "value": "INFO"},
                    {"name": "WORKERS", "value": 4},
                    {"name": "DB_PASSWORD", "value": PASSWORD},
                    {"name": "DB_URL", "value": f"postgresql://app:{PASSWORD}@db:5432/app"},
                ],
                "secrets": [{"name": "DATABASE", "valueFrom": SECRET}],
                "dependsOn": [{"containerName": "migrate", "condition": "SUCCESS"}],
                "logConfiguration": {
                    "logDriver": "splunk",
                    "options": {"splunk-token": TOKEN, "splunk-url": "https://s"},
                },
            },
            {"name": "migrate", "image": "api:1", "essential": False},
        ],
    }


def container(definition: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = definition["containerDefinitions"][0]
    return found


def test_each_difference_is_told_by_container_and_field() -> None:
    after = declared()
    api = container(after)
    after["cpu"], after["taskRoleArn"] = 1024, "arn:aws:iam::123456789012:role/task"
    after["runtimePlatform"] = {"cpuArchitecture": "ARM64"}
    api["environment"][0]["value"] = "DEBUG"
    api["environment"][1]["name"] = "THREADS"
    api["secrets"][0]["valueFrom"] += "-2"
    api["command"][0] = "run"
    api["dependsOn"][0]["condition"] = "COMPLETE"
    api["portMappings"][0]["containerPort"] = 8081
    after["containerDefinitions"].append({"name": "worker", "image": "api:1"})

    assert [difference.words for difference in differences(declared(), after)] == [
        "cpu: 512 → 1024",
        'container api: command: ["serve", "--password", "(hidden)"] → ["run", "--password", "(hidden)"]',
        'container api: portMappings 8080/tcp: {"containerPort": 8080, "hostPort": 8080, "protocol": "tcp"} → nothing',
        'container api: portMappings 8081/tcp: nothing → {"containerPort": 8081, "hostPort": 8081, "protocol": "tcp"}',
        "container api: environment LOG_LEVEL: INFO → DEBUG",
        "container api: environment WORKERS: 4 → nothing",
        "container api: environment THREADS: nothing → 4",
        f"container api: secrets DATABASE: {SECRET} → {SECRET}-2",
        "container api: dependsOn migrate: SUCCESS → COMPLETE",
        "container worker: added",
        "runtimePlatform cpuArchitecture: X86_64 → ARM64",
        "taskRoleArn: nothing → arn:aws:iam::123456789012:role/task",
    ]
    [gone] = [each.words for each in differences(after, declared()) if each.path[-1] == "worker"]
    assert gone == "container worker: removed"


def test_the_order_of_containers_is_a_difference_and_that_of_variables_is_none() -> None:
    after = declared()
    container(after)["environment"].reverse()
    assert differences(declared(), after) == []
    after["containerDefinitions"].reverse()
    [found] = differences(declared(), after)
    assert found.words == 'order of containers: ["api", "migrate"] → ["migrate", "api"]'


def test_nothing_shows_a_secret_and_a_changed_one_is_marked() -> None:
    after = declared()
    api = container(after)
    api["environment"][2]["value"] = api["command"][2] = "another-planted-one"
    api["environment"][3]["value"] = "postgresql://app:another-planted-one@db:5432/app"
    api["logConfiguration"]["options"]["splunk-token"] = "another-planted-one"
    shown_before, shown_after = shown_pair(declared(), after)
    said = [difference.words for difference in differences(declared(), after)]
    for text in (str(shown_before), str(shown_after), str(said)):
        assert "planted" not in text
    assert shown_before["containerDefinitions"]["api"]["environment"] == {
        "DB_PASSWORD": "(hidden)",
        "DB_URL": "postgresql://app:(hidden)@db:5432/app",
        "LOG_LEVEL": "INFO",
        "WORKERS": "4",
    }
    assert shown_after["containerDefinitions"]["api"]["environment"]["DB_PASSWORD"] == "(hidden, changed)"
    assert shown_after["containerDefinitions"]["api"]["command"] == ["serve", "--password", "(hidden, changed)"]
    assert shown_after["containerDefinitions"]["api"]["secrets"] == {"DATABASE": SECRET}
    assert len(said) == 4 and all("(hidden, changed)" in words for words in said)
    assert secret_values(declared()) == {PASSWORD, TOKEN, f"postgresql://app:{PASSWORD}@db:5432/app"}


def test_containers_may_have_names_of_fields() -> None:
    before = declared()
    container(before)["name"] = "environment"
    before["containerDefinitions"][1]["name"] = "options"
    after = copy.deepcopy(before)
    container(after)["environment"][0]["value"] = "DEBUG"
    [found] = differences(before, after)
    assert found.words == "container environment: environment LOG_LEVEL: INFO → DEBUG"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"cpu": 512, "memory": 1024.0}, {"cpu": "512", "memory": "1024"}),
        ({"cpu": ".5 vCPU", "memory": "1GB"}, {"cpu": ".5 vCPU", "memory": "1024"}),
        ({"cpu": "0.5 vcpu", "memory": "1.5 GB"}, {"cpu": "512", "memory": "1536"}),
        ({"taskRoleArn": "", "volumes": [], "pidMode": None}, {}),
        ({"volumes": [{"name": "data", "host": {}}]}, {"volumes": [{"name": "data"}]}),
        ({"newField": {"deep": [1, "2"]}}, {"newField": {"deep": [1, "2"]}}),
        (
            {"containerDefinitions": [{"cpu": "10", "essential": "false", "user": 1000, "command": ["sleep", 5]}]},
            {"containerDefinitions": [{"cpu": 10, "essential": False, "user": "1000", "command": ["sleep", "5"]}]},
        ),
        (
            {"containerDefinitions": [{"environment": [{"name": "A", "value": None}, {"name": "B", "value": ""}]}]},
            {"containerDefinitions": [{"environment": [{"name": "B", "value": ""}]}]},
        ),
        (
            {"containerDefinitions": [{"dockerLabels": {"cpu": 1, "privileged": False, "empty": ""}}]},
            {"containerDefinitions": [{"dockerLabels": {"cpu": "1", "privileged": "false", "empty": ""}}]},
        ),
        ({"revision": 7, "status": "ACTIVE", "family": "permissions"}, {"family": "permissions"}),
    ],
)
def test_the_request_has_the_types_of_the_api(given: dict[str, Any], kept: dict[str, Any]) -> None:
    assert tidy(given) == kept


def test_the_defaults_of_a_container_in_its_own_network() -> None:
    check = {"command": ["CMD-SHELL", "curl localhost"], "retries": 5}
    given = {"name": "api", "portMappings": [{"containerPort": 53, "protocol": "udp"}], "healthCheck": check}
    [found] = filled({"networkMode": "awsvpc", "containerDefinitions": [given]})["containerDefinitions"]
    assert found == {
        "name": "api",
        "essential": True,
        "cpu": 0,
        "versionConsistency": "enabled",
        "portMappings": [{"containerPort": 53, "hostPort": 53, "protocol": "udp"}],
        "healthCheck": {**check, "interval": 30, "timeout": 5, "startPeriod": 0},
    }


def test_of_two_entries_of_one_name_neither_gets_lost() -> None:
    """Other tools register such definitions."""
    before = declared()
    container(before)["environment"] = [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]
    after = copy.deepcopy(before)
    container(after)["environment"][0]["value"] = "3"
    [found] = differences(before, after)
    assert found.path == ("containerDefinitions", "api", "environment")
