# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ecs_task_definition, against moto."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.integration.aws.stage import SECRET, call
from tests.integration.aws.task_definitions import (
    REGISTRY,
    ROLES,
    STORED,
    api,
    definition,
    five_revisions,
    on_bridge,
    push,
    registered,
    revisions,
    run,
    service_of,
    writes,
)
from tests.integration.endpoint import ACCOUNT, REGION, Endpoint
from tests.integration.support import start_module


@pytest.fixture(scope="module")
def served() -> Iterator[Endpoint]:
    with Endpoint() as endpoint:
        yield endpoint


@pytest.fixture
def aws(served: Endpoint) -> Endpoint:
    return served.at_its_best()


def test_a_new_family_is_registered_once(aws: Endpoint) -> None:
    declared = definition()
    expected = run(aws, declared, check=True)
    assert (expected["changed"], expected["task_definition"], expected["revision"]) == (True, "", 0)
    assert writes(aws) == []

    first = registered(aws, declared)
    assert writes(aws) == ["ecs:RegisterTaskDefinition"]
    assert (first["diff"], first["differences"]) == (expected["diff"], expected["differences"])
    assert first["task_definition"].endswith(f":task-definition/{declared['family']}:1")
    assert (first["revision"], first["family"], first["compared_with"]) == (1, declared["family"], "")
    assert first["diff"]["before"] == {}

    for check in (True, False):
        again = run(aws, declared, check=check)
        assert (again["failed"], again["changed"], again["registered"]) == (False, False, False)
        assert (again["task_definition"], again["differences"]) == (first["task_definition"], [])
        assert again["diff"]["before"] == again["diff"]["after"]
        assert writes(aws) == []


CHANGES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "container api: environment LOG_LEVEL: INFO → DEBUG": lambda d: api(d)["environment"][0].update(value="DEBUG"),
    "container api: environment DB_PASSWORD: (hidden) → (hidden, changed)": lambda d: api(d)["environment"][1].update(
        value="another-planted"
    ),
    "container api: environment LOG_LEVEL: INFO → nothing": lambda d: api(d)["environment"][0].update(name="LEVEL"),
    f"container api: secrets DATABASE_URL: {STORED} → {STORED}:url::": lambda d: api(d)["secrets"][0].update(
        valueFrom=f"{STORED}:url::"
    ),
    "container api: portMappings 8080/tcp": lambda d: api(d)["portMappings"][0].update(
        containerPort=8081, hostPort=8081
    ),
    'container api: command: ["serve", "--port", "8080"] → ["serve", "--port", "8081"]': lambda d: api(d).update(
        command=["serve", "--port", 8081]
    ),
    "container api: dependsOn migrate: SUCCESS → COMPLETE": lambda d: api(d)["dependsOn"][0].update(
        condition="COMPLETE"
    ),
    "container api: image": lambda d: api(d).update(image="registry.example.com/permissions:2"),
    "cpu: 512 → 256": lambda d: d.update(cpu=256),
    "memory: 1024 → 2048": lambda d: d.update(memory="2 GB"),
    "executionRoleArn": lambda d: d.update(executionRoleArn=f"{ROLES}/other"),
    "taskRoleArn: nothing": lambda d: d.update(taskRoleArn=f"{ROLES}/task"),
    "runtimePlatform cpuArchitecture: X86_64 → ARM64": lambda d: d.update(
        runtimePlatform={"cpuArchitecture": "ARM64", "operatingSystemFamily": "LINUX"}
    ),
    "placementConstraints": lambda d: d.update(
        placementConstraints=[{"type": "memberOf", "expression": "attribute:ecs.instance-type == t3.small"}]
    ),
    "container worker: added": lambda d: d["containerDefinitions"].append({"name": "worker", "image": "worker:1"}),
    "order of containers": lambda d: d["containerDefinitions"].reverse(),
}


@pytest.mark.parametrize("words", CHANGES)
def test_each_change_is_one_revision(aws: Endpoint, words: str) -> None:
    declared = definition()
    registered(aws, declared)
    CHANGES[words](declared)

    expected = run(aws, declared, check=True)
    assert expected["changed"] and writes(aws) == []
    result = registered(aws, declared)
    assert result["revision"] == 2 and writes(aws) == ["ecs:RegisterTaskDefinition"]
    assert [said for said in result["differences"] if said.startswith(words)]
    assert (result["diff"], result["differences"]) == (expected["diff"], expected["differences"])
    assert result["diff"]["before"] != result["diff"]["after"] or words == "order of containers"

    assert not run(aws, declared)["changed"] and writes(aws) == []


def test_what_aws_fills_in_and_the_order_of_variables_are_no_change(aws: Endpoint) -> None:
    declared = definition()
    first = registered(aws, declared)
    api(declared)["environment"].reverse()
    api(declared)["portMappings"] = [{"containerPort": 8080}]
    declared.update(volumes=[], cpu="0.5 vCPU", memory="1 GB", revision=7, taskRoleArn="")
    api(declared).update(essential=True, cpu=0, mountPoints=None, readonlyRootFilesystem=False)
    result = run(aws, declared)
    assert (result["changed"], result["task_definition"]) == (False, first["task_definition"])
    assert writes(aws) == []


def test_the_revision_that_a_service_runs_is_compared(aws: Endpoint) -> None:
    declared = on_bridge()
    first = registered(aws, declared)
    where = service_of(aws, first["task_definition"])
    newer = copy.deepcopy(declared)
    newer["cpu"] = 256
    second = registered(aws, newer, **where)
    assert second["compared_with"] == first["task_definition"]

    # As the service runs it.
    same = run(aws, declared, **where)
    assert (same["changed"], same["revision"], same["differences"]) == (False, 1, [])
    # Registered by a run that was interrupted before its deployment.
    resumed = run(aws, newer, **where)
    assert (resumed["changed"], resumed["task_definition"]) == (False, second["task_definition"])
    assert (resumed["compared_with"], resumed["differences"]) == (first["task_definition"], ["cpu: 512 → 256"])
    assert writes(aws) == []
    # Without the service, the newest counts.
    newest = run(aws, declared, check=True)
    assert newest["registered"] and newest["compared_with"] == second["task_definition"]

    for missing in ({"service": "none"}, {"cluster": "none"}):
        result = run(aws, newer, **{**where, **missing})
        assert (result["failed"], result["changed"], result["revision"]) == (False, False, 2)


def test_tags_in_ecr_are_pinned_to_their_digests(aws: Endpoint) -> None:
    declared = definition()
    images = {"api": f"{REGISTRY}/team/permissions:1.4"}
    digest = push(aws, "team/permissions", "1.4")
    first = registered(aws, declared, images=images, pin="digest")
    pinned = f"{REGISTRY}/team/permissions@{digest}"
    assert first["images"] == {"api": pinned, "migrate": "registry.example.com/permissions:1"}
    assert [warning for warning in first["warnings"] if "container migrate stays registry.example.com" in warning]
    [said, _other] = aws.client("ecs").describe_task_definition(taskDefinition=first["task_definition"])[
        "taskDefinition"
    ]["containerDefinitions"]
    assert said["image"] == pinned
    assert not run(aws, declared, images=images, pin="digest")["changed"]

    moved = push(aws, "team/permissions", "1.4")
    second = registered(aws, declared, images=images, pin="digest")
    assert [f"container api: image: {pinned} → {REGISTRY}/team/permissions@{moved}"] == second["differences"]
    kept = run(aws, declared, images={"api": second["images"]["api"]}, pin="digest")
    assert not kept["changed"] and "ecr:DescribeImages" not in aws.faults.calls
    tagged = run(aws, declared, images=images, check=True)
    assert tagged["images"]["api"] == images["api"] and tagged["registered"]

    missing = run(aws, declared, images={"api": f"{REGISTRY}/team/permissions:1.5"}, pin="digest")
    assert f"Nothing was registered: the image {REGISTRY}/team/permissions:1.5 does not exist. Push" in missing["msg"]
    nowhere = run(aws, declared, images={"api": f"{REGISTRY}/team/nothing:1"}, pin="digest")
    assert f"there is no repository team/nothing in Amazon ECR of account {ACCOUNT} in {REGION}" in nowhere["msg"]
    assert writes(aws) == []


def test_old_revisions_go_unless_they_are_in_use(aws: Endpoint) -> None:
    declared, arns = five_revisions(aws)
    where = service_of(aws, arns[1])
    anywhere = [{"capacityProvider": "FARGATE"}]
    aws.client("ecs").run_task(cluster=where["cluster"], taskDefinition=arns[0], capacityProviderStrategy=anywhere)
    api(declared)["environment"][0]["value"] = "6"

    expected = run(aws, declared, keep=3, check=True)
    assert expected["deregistered"] == [arns[2]] and writes(aws) == []
    result = registered(aws, declared, keep=3)
    assert result["deregistered"] == expected["deregistered"]
    assert result["in_use"] == expected["in_use"]
    assert result["in_use"][arns[1]] == f"service {where['service']}" and result["in_use"][arns[0]].startswith("task ")
    assert revisions(aws, declared["family"]) == [1, 2, 4, 5, 6]

    again = run(aws, declared, keep=3)
    assert (again["changed"], again["deregistered"]) == (False, []) and writes(aws) == []


@pytest.mark.parametrize("unanswered", ["ListClusters", "ListServices", "DescribeServices", "ListTasks"])
def test_an_unanswered_question_keeps_old_revisions(aws: Endpoint, unanswered: str) -> None:
    declared, arns = five_revisions(aws)
    service_of(aws, arns[0])
    aws.faults.denied[f"ecs:{unanswered}"] = ""
    result = run(aws, declared, keep=2)
    assert (result["failed"], result["changed"], result["deregistered"]) == (False, False, [])
    [warning] = [warning for warning in result["warnings"] if "old revisions" in warning]
    assert warning.startswith(f"Not all old revisions of {declared['family']} were deregistered: AWS denies it")
    assert f"ecs:{unanswered}" in warning
    assert revisions(aws, declared["family"]) == [1, 2, 3, 4, 5]


def test_a_family_is_deregistered_unless_it_is_in_use(aws: Endpoint) -> None:
    declared, arns = five_revisions(aws)
    where = service_of(aws, arns[4])

    def absent(*, check: bool = False) -> dict[str, Any]:
        aws.faults.calls.clear()
        return call(aws, "ecs_task_definition", {"family": declared["family"], "state": "absent"}, check=check)

    refused = absent()
    assert f"{declared['family']}:5 by service {where['service']}" in refused["msg"] and writes(aws) == []
    aws.client("ecs").delete_service(**where, force=True)
    expected = absent(check=True)
    assert expected["deregistered"] == list(reversed(arns)) and writes(aws) == []
    result = absent()
    assert (result["changed"], result["deregistered"]) == (True, expected["deregistered"])
    assert (result["diff"], revisions(aws, declared["family"])) == (expected["diff"], [])
    assert not absent()["changed"] and writes(aws) == []


def test_other_tags_need_no_revision(aws: Endpoint) -> None:
    declared = definition()
    first = registered(aws, declared, tags={"team": "identity", "cost": 7})
    arn = first["task_definition"]
    ecs = aws.client("ecs")
    ecs.tag_resource(resourceArn=arn, tags=[{"key": "theirs", "value": "yes"}])
    assert not run(aws, declared, tags={"team": "identity", "cost": 7})["changed"]
    assert not run(aws, declared)["changed"]  # left alone

    inside = {**declared, "tags": [{"key": "team", "value": "platform"}]}
    expected = run(aws, inside, check=True)
    assert (expected["changed"], expected["registered"]) == (True, False) and writes(aws) == []
    result = run(aws, inside)
    assert (result["changed"], result["registered"], result["task_definition"]) == (True, False, arn)
    assert writes(aws) == ["ecs:UntagResource", "ecs:TagResource"] and result["diff"] == expected["diff"]
    tags = {tag["key"]: tag["value"] for tag in ecs.list_tags_for_resource(resourceArn=arn)["tags"]}
    assert {key: value for key, value in tags.items() if key != "evenkeel:tags"} == {
        "team": "platform",
        "theirs": "yes",
    }
    assert not run(aws, inside)["changed"] and writes(aws) == []
    assert "tags are declared twice" in run(aws, inside, tags={"team": "a"})["msg"]


def test_what_aws_would_refuse_is_told_before_it_is_asked(aws: Endpoint) -> None:
    declared = definition(memory=8192, networkMode="bridge")
    api(declared)["secrets"] *= 2
    for check in (True, False):
        result = run(aws, declared, check=check, keep=0)
        assert result["msg"].startswith("Nothing was registered: ")
        for words in (
            "container api has the secret DATABASE_URL twice",
            "networkMode awsvpc",
            "With cpu 512, memory is from 1024 to 4096 in steps of 1024;",
            "keep is below 1",
        ):
            assert words in result["msg"]
    result = run(aws, {**declared, "containerDefinitions": [{"name": "api", "environment": {"A": "planted"}}]})
    assert "environment of container api is a mapping" in result["msg"]
    assert aws.faults.calls == []


@pytest.mark.parametrize(
    ("call_name", "about"),
    [
        ("ecs:DescribeServices", "the service service-"),
        ("ecs:DescribeTaskDefinition", "the task definition "),
        ("ecr:DescribeImages", f"the repository team/denied of account {ACCOUNT} in {REGION}"),
        ("ecs:RegisterTaskDefinition", "the task definition permissions-"),
    ],
)
def test_a_denied_call_is_named_and_the_next_run_goes_on(aws: Endpoint, call_name: str, about: str) -> None:
    declared = on_bridge()
    options: dict[str, Any] = {
        "images": {"api": f"{REGISTRY}/team/denied:1"},
        "pin": "digest",
        "tags": {"team": "identity"},
    }
    push(aws, "team/denied", "1")
    where = service_of(aws, registered(aws, declared)["task_definition"])
    aws.faults.denied[call_name] = ""
    result = run(aws, declared, **options, **where)
    assert f"the role or user needs {call_name} on {about}" in result["msg"]
    assert set(writes(aws)) <= {"ecs:RegisterTaskDefinition"} and revisions(aws, declared["family"]) == [1]
    aws.faults.denied.clear()
    assert registered(aws, declared, **options, **where)["revision"] == 2


def test_what_aws_registers_otherwise_is_told(aws: Endpoint) -> None:
    """moto drops this field, as if AWS had another default. Without a warning, each run would register a revision."""
    result = registered(aws, definition(enableFaultInjection=True))
    [warning] = result["warnings"]
    assert warning.endswith("Declare what AWS has (before → after): enableFaultInjection: true → nothing.")


def test_a_process_of_its_own_shows_no_secret_either(aws: Endpoint) -> None:
    declared = definition()
    arguments = {
        "definition": declared,
        "pin": "tag",
        "endpoint_url": aws.url,
        "region": REGION,
        "access_key": "AKIATEST",
        "secret_key": SECRET,
    }
    result = start_module("ecs_task_definition", arguments).result()
    assert (result["failed"], result["changed"]) == (False, True)
    assert result["invocation"]["module_args"]["definition"]["family"] == declared["family"]
    assert "planted" not in json.dumps(result)
