# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Task definitions, tasks and clusters of Amazon ECS on the endpoint, as clients see them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from testbed.services.aws.ecs.pretended import Behaviour
from tests.integration.aws.ecs import NETWORK, Cluster, refusal
from tests.integration.endpoint import ACCOUNT, REGION
from tests.integration.support import await_true

CONTAINER = {"name": "main", "image": "good"}
FARGATE = {"requiresCompatibilities": ["FARGATE"], "networkMode": "awsvpc", "cpu": "256", "memory": "512"}


@pytest.fixture(scope="module")
def served() -> Iterator[Cluster]:
    with Cluster() as cluster:
        yield cluster


@pytest.fixture
def aws(served: Cluster) -> Iterator[Cluster]:
    served.endpoint.at_its_best()
    served.agent.behaviours.clear()
    served.functions.clear()
    yield served
    assert served.strange == set(), "answers have what the API's model does not know"


def test_a_definition_has_the_defaults_of_aws(aws: Cluster) -> None:
    made = aws.client.register_task_definition(
        family="defaults",
        **{**FARGATE, "cpu": "1 vCPU", "memory": "2 GB"},
        containerDefinitions=[
            {
                **CONTAINER,
                "portMappings": [{"containerPort": 80}],
                "healthCheck": {"command": ["CMD", "true"]},
            }
        ],
        tags=[{"key": "team", "value": "core"}],
    )
    definition = made["taskDefinition"]
    assert made["tags"] == [{"key": "team", "value": "core"}]
    assert (definition["cpu"], definition["memory"], definition["status"]) == ("1024", "2048", "ACTIVE")
    assert (definition["compatibilities"], definition["volumes"]) == (["EC2", "FARGATE"], [])
    assert definition["containerDefinitions"] == [
        {
            "name": "main",
            "image": "good",
            "cpu": 0,
            "portMappings": [{"containerPort": 80, "hostPort": 80, "protocol": "tcp"}],
            "essential": True,
            "environment": [],
            "mountPoints": [],
            "volumesFrom": [],
            "systemControls": [],
            "healthCheck": {"command": ["CMD", "true"], "interval": 30, "timeout": 5, "retries": 3},
        }
    ]
    described = aws.client.describe_task_definition(taskDefinition="defaults", include=["TAGS"])
    assert described["taskDefinition"] == definition and described["tags"] == made["tags"]
    assert isinstance(definition["registeredAt"], datetime)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"containerDefinitions": []}, "Container list cannot be empty."),
        ({"containerDefinitions": [{**CONTAINER, "essential": False}]}, "at least one essential container"),
        ({"containerDefinitions": [{"name": "main"}]}, "Container.image should not be null or empty."),
        ({"cpu": "7"}, "No Fargate configuration exists for given values: 7 CPU, 512 memory."),
        ({"memory": "4096"}, "No Fargate configuration exists for given values: 256 CPU, 4096 memory."),
        ({"requiresCompatibilities": ["MOON"]}, "Invalid compatibility: MOON"),
        ({"networkMode": "bridge"}, "Fargate only supports network mode"),
        (
            {"containerDefinitions": [{**CONTAINER, "secrets": [{"name": "A", "valueFrom": "b"}]}]},
            "must also specify a value for 'executionRoleArn'",
        ),
        (
            {"containerDefinitions": [{**CONTAINER, "portMappings": [{"containerPort": 1, "hostPort": 2}]}]},
            "the host ports and container ports in port mappings must match",
        ),
    ],
)
def test_definitions_that_aws_refuses(aws: Cluster, change: dict[str, Any], message: str) -> None:
    given = {"family": "refused", "containerDefinitions": [CONTAINER], **FARGATE, **change}
    code, told = refusal(aws.client.register_task_definition, **given)
    assert code == "ClientException" and message in told


def test_revisions_are_listed_and_deregistered(aws: Cluster) -> None:
    first = aws.family(family="listed")
    second = aws.family(family="listed")
    aws.client.deregister_task_definition(taskDefinition="listed:1")
    listed = aws.client.list_task_definitions
    assert listed(familyPrefix="listed")["taskDefinitionArns"] == [second]
    assert listed(familyPrefix="listed", status="INACTIVE")["taskDefinitionArns"] == [first]
    assert aws.client.describe_task_definition(taskDefinition=first)["taskDefinition"]["status"] == "INACTIVE"
    unknown = refusal(aws.client.describe_task_definition, taskDefinition="listed:3")
    assert unknown == ("ClientException", "Unable to describe task definition.")
    third = aws.family(family="listed")
    newest_first = listed(familyPrefix="listed", sort="DESC", maxResults=1)
    assert newest_first["taskDefinitionArns"] == [third]
    rest = listed(familyPrefix="listed", sort="DESC", nextToken=newest_first["nextToken"])
    assert rest["taskDefinitionArns"] == [second]


def test_one_off_tasks(aws: Cluster) -> None:
    aws.agent.behaviours["migrate"] = Behaviour(exits_after=0.3, exit_code=1)
    definition = aws.family("migrate")
    run = {"cluster": aws.name, "taskDefinition": definition, "launchType": "FARGATE"}
    assert refusal(aws.client.run_task, **run) == (
        "InvalidParameterException",
        "Network Configuration must be provided when networkMode 'awsvpc' is specified.",
    )
    overrides = {"containerOverrides": [{"name": "main", "environment": [{"name": "A", "value": "1"}]}]}
    wrong = {"containerOverrides": [{"name": "other"}]}
    code, message = refusal(aws.client.run_task, **run, networkConfiguration=NETWORK, overrides=wrong)
    assert code == "InvalidParameterException" and "not a container in the TaskDefinition" in message
    given: dict[str, Any] = {**run, "networkConfiguration": NETWORK, "overrides": overrides, "clientToken": "once"}
    [task] = aws.client.run_task(**given, startedBy="deployer")["tasks"]
    assert (task["lastStatus"], task["overrides"]) == ("PROVISIONING", overrides)
    [same] = aws.client.run_task(**given)["tasks"]
    assert same["taskArn"] == task["taskArn"]
    seen: list[str] = []

    def stopped() -> bool:
        [found] = aws.client.describe_tasks(cluster=aws.name, tasks=[task["taskArn"]])["tasks"]
        seen.append(found["lastStatus"])
        return seen[-1] == "STOPPED"

    await_true(stopped, "stopped")
    assert "RUNNING" in seen
    [found] = aws.client.describe_tasks(cluster=aws.name, tasks=[task["taskArn"]])["tasks"]
    assert (found["stopCode"], found["containers"][0]["exitCode"]) == ("EssentialContainerExited", 1)
    listed = aws.client.list_tasks(cluster=aws.name, startedBy="deployer", desiredStatus="STOPPED")["taskArns"]
    assert listed == [task["taskArn"]]
    aws.client.deregister_task_definition(taskDefinition=definition)
    assert refusal(aws.client.run_task, **given | {"clientToken": "again"})[1] == "TaskDefinition is inactive"


def test_boto3_waits_for_services_and_tasks(aws: Cluster) -> None:
    name = aws.create(aws.family(), 1)
    quick = {"Delay": 1, "MaxAttempts": 10}
    aws.client.get_waiter("services_stable").wait(cluster=aws.name, services=[name], WaiterConfig=quick)
    arns = [task["taskArn"] for task in aws.tasks(name)]
    aws.client.get_waiter("tasks_running").wait(cluster=aws.name, tasks=arns, WaiterConfig=quick)
    aws.client.delete_service(cluster=aws.name, service=name, force=True)
    aws.client.get_waiter("tasks_stopped").wait(cluster=aws.name, tasks=arns, WaiterConfig=quick)
    aws.client.get_waiter("services_inactive").wait(cluster=aws.name, services=[name], WaiterConfig=quick)


def test_a_task_is_stopped(aws: Cluster) -> None:
    name = aws.create(aws.family(), 1)
    aws.await_status(name, "SUCCESSFUL")
    [task] = aws.tasks(name)
    stopped = aws.client.stop_task(cluster=aws.name, task=task["taskArn"], reason="drill")["task"]
    assert (stopped["desiredStatus"], stopped["stopCode"], stopped["stoppedReason"]) == (
        "STOPPED",
        "UserInitiated",
        "drill",
    )
    await_true(lambda: aws.service(name)["runningCount"] == 1, "another task")
    assert [item["taskArn"] for item in aws.tasks(name)] != [task["taskArn"]]
    missing = refusal(aws.client.stop_task, cluster=aws.name, task="0" * 32)
    assert missing == ("InvalidParameterException", "The referenced task was not found.")
    described = aws.client.describe_tasks(cluster=aws.name, tasks=["0" * 32])
    assert [failure["reason"] for failure in described["failures"]] == ["MISSING"]


def test_exec_needs_to_be_on(aws: Cluster) -> None:
    definition = aws.family()
    off, on = aws.create(definition, 1), aws.create(definition, 1, enableExecuteCommand=True)
    for name in (off, on):
        aws.await_status(name, "SUCCESSFUL")
    command = {"cluster": aws.name, "command": "sh", "interactive": True}
    code, message = refusal(aws.client.execute_command, **command, task=aws.tasks(off)[0]["taskArn"])
    assert code == "InvalidParameterException"
    assert message.startswith(
        "The execute command failed because execute command was not enabled when the task was run"
    )
    [task] = aws.tasks(on)
    assert task["enableExecuteCommand"]
    assert task["containers"][0]["managedAgents"][0]["lastStatus"] == "RUNNING"
    session = aws.client.execute_command(**command, task=task["taskArn"])
    assert session["containerName"] == "main" and session["session"]["streamUrl"].startswith("wss://")


def test_clusters_and_scalable_targets_of_moto_know_the_services(aws: Cluster) -> None:
    name = aws.create(aws.family(), 1)
    aws.await_status(name, "SUCCESSFUL")
    [cluster] = aws.client.describe_clusters(clusters=[aws.name], include=["SETTINGS"])["clusters"]
    assert cluster["runningTasksCount"] >= 1 and cluster["activeServicesCount"] >= 1
    assert (cluster["capacityProviders"], cluster["tags"]) == ([], [])
    insights = [{"name": "containerInsights", "value": "enabled"}]
    changed = aws.client.update_cluster_settings(cluster=aws.name, settings=insights)["cluster"]
    assert changed["settings"] == insights
    assert cluster["clusterArn"] == f"arn:aws:ecs:{REGION}:{ACCOUNT}:cluster/{aws.name}"
    assert cluster["clusterArn"] in aws.client.list_clusters()["clusterArns"]
    scaling = aws.endpoint.client("application-autoscaling")
    target = {
        "ServiceNamespace": "ecs",
        "ResourceId": f"service/{aws.name}/{name}",
        "ScalableDimension": "ecs:service:DesiredCount",
    }
    scaling.register_scalable_target(**target, MinCapacity=1, MaxCapacity=4)
    refused = refusal(aws.client.delete_cluster, cluster=aws.name)
    assert refused[0] == "ClusterContainsServicesException"
    arn = aws.service(name)["serviceArn"]
    aws.client.tag_resource(resourceArn=arn, tags=[{"key": "a", "value": "1"}])
    aws.client.untag_resource(resourceArn=arn, tagKeys=["b"])
    tagged = aws.client.describe_services(cluster=aws.name, services=[name], include=["TAGS"])["services"]
    assert tagged[0]["tags"] == [{"key": "a", "value": "1"}]


def test_writes_are_recorded(aws: Cluster) -> None:
    aws.ecs.writes.clear()
    aws.client.describe_clusters(clusters=[aws.name])
    assert aws.ecs.writes == []
    aws.family()
    aws.client.create_cluster(clusterName=aws.name)
    assert [action for action, _given in aws.ecs.writes] == ["RegisterTaskDefinition", "CreateCluster"]
