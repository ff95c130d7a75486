# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What AWS refuses in a task definition, in words."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.limits import (
    fargate_problem,
    problems,
    shape_problems,
)

ECR = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/permissions:1"


def task(*containers: dict[str, Any], **more: Any) -> dict[str, Any]:
    named = [{"name": f"c{number}", "image": "api:1", **each} for number, each in enumerate(containers, 1)]
    return {"family": "permissions", "memory": 1024, "containerDefinitions": named, **more}


FARGATE: dict[str, Any] = {"requiresCompatibilities": ["FARGATE"], "networkMode": "awsvpc", "cpu": 512, "memory": 1024}
SECRET = {"name": "A", "valueFrom": "arn:aws:ssm:eu-central-1:123456789012:parameter/a"}


@pytest.mark.parametrize(
    ("definition", "words"),
    [
        (task({}), []),
        (task({}, **FARGATE), []),
        (task({}, family="a b"), ["the family 'a b' is not a name that AWS takes"]),
        (task({}, family=""), ["family is missing"]),
        (task(), ["containerDefinitions is empty"]),
        (task({"essential": False}), ["no container is essential"]),
        (task({"name": "api"}, {"name": "api"}), ["two containers are called api"]),
        (task({"image": ""}), ["container c1 has no image"]),
        (task({}, memory=None), ["container c1 has no memory and neither has the task"]),
        (task({"memory": 128, "memoryReservation": 256}), ["container c1 has less memory than memoryReservation"]),
        (
            task({"memory": 800}, {"memory": 800}),
            ["the containers' memory is 1600 MiB together and the task's is 1024"],
        ),
        (task({"cpu": 300}, {"cpu": 300}, cpu=512), ["the containers' cpu is 600 CPU units together"]),
        (
            task({"secrets": [SECRET, SECRET]}, executionRoleArn="arn:aws:iam::123456789012:role/e"),
            ["container c1 has the secret A twice"],
        ),
        (
            task(
                {"secrets": [SECRET], "environment": [{"name": "A", "value": "1"}]},
                executionRoleArn="arn:aws:iam::123456789012:role/e",
            ),
            ["container c1 has A both in secrets and in environment"],
        ),
        (
            task({"environment": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]}),
            ["container c1 has the variable A twice"],
        ),
        (task({"secrets": [SECRET]}), ["container c1 has secrets, which the execution role reads"]),
        (
            task({"dependsOn": [{"containerName": "db", "condition": "START"}]}),
            ["container c1 depends on db, which is not a container of this task"],
        ),
        (
            task({"dependsOn": [{"containerName": "c2", "condition": "HEALTHY"}]}, {}),
            ["container c1 waits until c2 is HEALTHY, which has no healthCheck"],
        ),
        (
            task({"dependsOn": [{"containerName": "c2", "condition": "SUCCESS"}]}, {}),
            ["container c1 waits until c2 is SUCCESS, which is essential"],
        ),
        (
            task(
                {"dependsOn": [{"containerName": "c2", "condition": "START"}]},
                {"dependsOn": [{"containerName": "c1", "condition": "START"}]},
            ),
            ["depend on each other in a circle"],
        ),
        (task({"mountPoints": [{"sourceVolume": "data"}]}), ["container c1 mounts data, which volumes lacks"]),
        (
            task({"portMappings": [{"containerPort": 8080, "hostPort": 80}]}, **FARGATE),
            ["container c1 maps port 8080 to 80; with networkMode awsvpc both are equal"],
        ),
        (task({}, **{**FARGATE, "networkMode": "bridge"}), ["Fargate needs networkMode awsvpc, and it is bridge"]),
        (task({}, **{**FARGATE, "cpu": None}), ["Fargate needs cpu and memory of the task"]),
        (
            task({}, **{**FARGATE, "memory": 8192}),
            ["with cpu 512 and memory 8192. With cpu 512, memory is from 1024 to 4096 in steps of 1024."],
        ),
        (task({"stopTimeout": 121}, **FARGATE), ["container c1 has a stopTimeout over 120 s"]),
        (task({"privileged": True}, **FARGATE), ["container c1 is privileged, which Fargate has not"]),
        (task({"image": ECR}, **FARGATE), ["container c1 has an image of Amazon ECR, for which Fargate needs"]),
        (
            task({"logConfiguration": {"logDriver": "awslogs"}}, **FARGATE),
            ["container c1 has the log driver awslogs, for which Fargate needs an execution role"],
        ),
    ],
)
def test_problems(definition: dict[str, Any], words: list[str]) -> None:
    found = problems(definition)
    assert len(found) == len(words), found
    for sentence, expected in zip(found, words):
        assert expected in sentence
        assert sentence.endswith(".")


def test_all_problems_are_told_at_once() -> None:
    assert len(problems(task({"image": ""}, {"essential": True, "secrets": [SECRET, SECRET]}, family="a b"))) == 4


@pytest.mark.parametrize(
    ("cpu", "memory", "words"),
    [
        ("256", "512", ""),
        ("256", "1536", "With cpu 256, memory is 512, 1024 or 2048."),
        ("8192", "18432", "With cpu 8192, memory is from 16384 to 61440 in steps of 4096."),
        ("16384", "122880", ""),
        ("32768", "65536", ""),  # AWS decides
    ],
)
def test_sizes_on_fargate(cpu: str, memory: str, words: str) -> None:
    assert fargate_problem(cpu, memory).endswith(words) and bool(fargate_problem(cpu, memory)) == bool(words)


@pytest.mark.parametrize(
    ("definition", "words"),
    [
        (task({"environment": {"A": "1"}}), "environment of container c1 is a mapping: declare a list of mappings"),
        (
            task({"environment": [{"name": "A", "value": {"password": "hidden"}}]}),
            "the variable A of container c1 is no text: apply the filter to_json.",
        ),
        (task({"secrets": ["A"]}), "secrets of container c1 is not a list of mappings"),
        (task({"healthCheck": "curl"}), "healthCheck of container c1 is not a mapping"),
        (task({"logConfiguration": {"options": []}}), "logConfiguration.options of container c1 is not a mapping"),
        (task({}, volumes="data"), "volumes of the task definition is not a list of mappings"),
        ({"containerDefinitions": {"api": {}}}, "containerDefinitions of the task definition is a mapping"),
    ],
)
def test_another_shape_is_refused(definition: dict[str, Any], words: str) -> None:
    [found] = shape_problems(definition)
    assert found.startswith(words)
