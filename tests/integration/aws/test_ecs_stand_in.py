# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Amazon ECS of the endpoint as clients see it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from testbed.services.aws.ecs import pretended
from testbed.services.aws.ecs.pretended import Behaviour
from tests.integration.aws.ecs import NETWORK, Cluster, refusal
from tests.integration.support import await_true

BREAKER = {"deploymentCircuitBreaker": {"enable": True, "rollback": True}}


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


def messages(aws: Cluster, service: str) -> list[str]:
    return [event["message"] for event in aws.service(service)["events"]]


def test_a_service_keeps_what_was_declared(aws: Cluster) -> None:
    definition = aws.family()
    family = definition.rpartition("/")[2].partition(":")[0]
    name = aws.create(
        family,
        1,
        enableExecuteCommand=True,
        healthCheckGracePeriodSeconds=30,
        availabilityZoneRebalancing="DISABLED",
        propagateTags="SERVICE",
        enableECSManagedTags=True,
        tags=[{"key": "team", "value": "core"}],
        deploymentConfiguration={**BREAKER, "maximumPercent": 150},
    )
    service = aws.service(name)
    assert service["taskDefinition"] == definition
    assert service["deploymentConfiguration"] == {
        "deploymentCircuitBreaker": {
            "enable": True,
            "rollback": True,
            "resetOnHealthyTask": True,
            "thresholdConfiguration": {"type": "BOUNDED_PERCENT", "value": 50},
        },
        "maximumPercent": 150,
        "minimumHealthyPercent": 100,
        "strategy": "ROLLING",
        "bakeTimeInMinutes": 0,
    }
    expected = {
        "enableExecuteCommand": True,
        "healthCheckGracePeriodSeconds": 30,
        "availabilityZoneRebalancing": "DISABLED",
        "propagateTags": "SERVICE",
        "enableECSManagedTags": True,
        "launchType": "FARGATE",
        "platformVersion": "LATEST",
        "schedulingStrategy": "REPLICA",
        "status": "ACTIVE",
        "networkConfiguration": {
            "awsvpcConfiguration": {**NETWORK["awsvpcConfiguration"], "assignPublicIp": "DISABLED"}
        },
    }
    assert {key: service[key] for key in expected} == expected
    assert "tags" not in service
    again = refusal(
        aws.client.create_service, cluster=aws.name, serviceName=name, taskDefinition=family, desiredCount=1
    )
    assert again == ("InvalidParameterException", "Creation of service was not idempotent.")
    assert service["serviceArn"] in aws.client.list_services(cluster=aws.name, maxResults=100)["serviceArns"]
    tags = aws.client.list_tags_for_resource(resourceArn=service["serviceArn"])["tags"]
    assert tags == [{"key": "team", "value": "core"}]


def test_which_updates_start_a_deployment(aws: Cluster) -> None:
    definition = aws.family()
    family = definition.rpartition("/")[2].partition(":")[0]
    name = aws.create(definition, 1)
    aws.await_status(name, "SUCCESSFUL")
    for same in (
        {"desiredCount": 2},
        {"taskDefinition": definition},
        {"taskDefinition": family},
        {"taskDefinition": f"{family}:1"},
        {"networkConfiguration": NETWORK},
        {"deploymentConfiguration": {"minimumHealthyPercent": 50}},
        {"enableExecuteCommand": True, "healthCheckGracePeriodSeconds": 5},
    ):
        assert len(aws.update(name, **same)["deployments"]) == 1, same
    assert aws.service(name)["deploymentConfiguration"]["maximumPercent"] == 200
    other = {"awsvpcConfiguration": {"subnets": ["subnet-2"]}}
    for different in (
        {"forceNewDeployment": True},
        {"networkConfiguration": other},
        {"taskDefinition": aws.family(family=family)},
    ):
        aws.await_status(name, "SUCCESSFUL")
        assert len(aws.update(name, **different)["deployments"]) == 2, different
    assert len(aws.deployments(name)) == 4


def test_refused_updates(aws: Cluster) -> None:
    name = aws.create(aws.family(), 0)
    update = aws.client.update_service
    unknown = refusal(update, cluster=aws.name, service=name, taskDefinition="nosuch:1")
    assert unknown == ("ClientException", "TaskDefinition not found.")
    inactive = aws.family()
    aws.client.deregister_task_definition(taskDefinition=inactive)
    assert refusal(update, cluster=aws.name, service=name, taskDefinition=inactive) == (
        "ClientException",
        "TaskDefinition is inactive",
    )
    assert refusal(update, cluster=aws.name, service="nosuch") == ("ServiceNotFoundException", "Service not found.")
    assert refusal(update, cluster="nosuch", service=name) == ("ClusterNotFoundException", "Cluster not found.")
    balancer = {"targetGroupArn": "arn:none", "containerName": "main", "containerPort": 81}
    code, message = refusal(update, cluster=aws.name, service=name, loadBalancers=[balancer])
    assert (code, message) == (
        "InvalidParameterException",
        "The container main did not have a container port 81 defined.",
    )


def test_a_deployment_from_its_start_to_its_end(aws: Cluster) -> None:
    first = aws.family()
    name = aws.create(first, 2)
    begun = aws.deployments(name)[0]
    assert begun["status"] in ("PENDING", "IN_PROGRESS")
    assert begun["sourceServiceRevisions"] == []
    ended = aws.await_status(name, "SUCCESSFUL")
    assert (ended["targetServiceRevision"]["runningTaskCount"], "statusReason" in ended) == (2, False)
    assert ended["deploymentCircuitBreaker"]["status"] == "DISABLED"

    second = aws.family("better", family=first.rpartition("/")[2].partition(":")[0])
    updated = aws.update(name, taskDefinition=second)
    assert [item["status"] for item in updated["deployments"]] == ["PRIMARY", "ACTIVE"]
    assert updated["deployments"][0]["rolloutState"] == "IN_PROGRESS"
    ended = aws.await_status(name, "SUCCESSFUL")
    [source] = ended["sourceServiceRevisions"]
    [only] = aws.service(name)["deployments"]
    assert (only["taskDefinition"], only["rolloutState"], only["runningCount"]) == (second, "COMPLETED", 2)
    assert only["rolloutStateReason"] == f"ECS deployment {only['id']} completed."
    assert messages(aws, name)[:2] == [
        f"(service {name}) has reached a steady state.",
        f"(service {name}) (deployment {only['id']}) deployment completed.",
    ]
    arns = [ended["targetServiceRevision"]["arn"], source["arn"], "arn:missing"]
    described = aws.client.describe_service_revisions(serviceRevisionArns=arns)
    assert [item["taskDefinition"] for item in described["serviceRevisions"]] == [second, first]
    [image] = described["serviceRevisions"][0]["containerImages"]
    assert image["image"] == "better" and image["imageDigest"].startswith("sha256:")
    assert described["failures"] == [{"arn": "arn:missing", "reason": "MISSING"}]
    listed = aws.client.list_service_deployments(cluster=aws.name, service=name, status=["SUCCESSFUL"], maxResults=1)
    assert len(listed["serviceDeployments"]) == 1 and listed["nextToken"]


@pytest.mark.parametrize(
    ("behaviour", "code", "reason", "container"),
    [
        (pretended.crashes(code=3), "EssentialContainerExited", "Essential container", {"exitCode": 3}),
        (
            pretended.out_of_memory(),
            "EssentialContainerExited",
            "Essential container",
            {"exitCode": 137, "reason": "OutOfMemoryError: Container killed due to memory usage"},
        ),
        (pretended.no_image("bad"), "TaskFailedToStart", "CannotPullContainerError: bad", {}),
        (pretended.no_secret("db"), "TaskFailedToStart", "ResourceInitializationError: unable to pull secrets", {}),
    ],
)
def test_a_broken_image_is_rolled_back(
    aws: Cluster, behaviour: Behaviour, code: str, reason: str, container: dict[str, Any]
) -> None:
    aws.agent.behaviours["bad"] = behaviour
    good = aws.family()
    name = aws.create(good, 1, deploymentConfiguration=BREAKER)
    aws.await_status(name, "SUCCESSFUL")
    [before] = aws.service(name)["deployments"]
    bad = aws.family("bad", family=good.rpartition("/")[2].partition(":")[0])
    failed_id = aws.update(name, taskDefinition=bad)["deployments"][0]["id"]
    ended = aws.await_status(name, "ROLLBACK_SUCCESSFUL", "ROLLBACK_FAILED")
    assert (ended["status"], ended["deploymentCircuitBreaker"]["status"]) == ("ROLLBACK_SUCCESSFUL", "TRIGGERED")
    assert (ended["deploymentCircuitBreaker"]["threshold"], ended["targetServiceRevision"]["runningTaskCount"]) == (
        3,
        0,
    )
    assert ended["rollback"]["serviceRevisionArn"] == ended["sourceServiceRevisions"][0]["arn"]
    assert ended["rollback"]["reason"] == ended["statusReason"]
    service = aws.service(name)
    assert service["taskDefinition"] == good
    [after] = service["deployments"]
    assert (after["id"], after["rolloutState"]) == (before["id"], "COMPLETED")
    told = messages(aws, name)
    assert f"(service {name}) (deployment {failed_id}) deployment failed: tasks failed to start." in told
    assert f"(service {name}) rolling back to deployment {before['id']}." in told
    stopped = [task for task in aws.tasks(name, "STOPPED") if task["taskDefinitionArn"] == bad]
    task = stopped[0]
    assert task["startedBy"] == failed_id and task["group"] == f"service:{name}"
    assert (task["stopCode"], task["lastStatus"]) == (code, "STOPPED")
    assert task["stoppedReason"].startswith(reason)
    [described] = task["containers"]
    assert {key: described[key] for key in container} == container


def test_the_threshold_of_the_breaker_is_a_setting(aws: Cluster) -> None:
    aws.agent.behaviours["bad"] = pretended.crashes()
    switch = {"enable": True, "rollback": False, "thresholdConfiguration": {"type": "COUNT", "value": 1}}
    name = aws.create(aws.family("bad"), 1, deploymentConfiguration={"deploymentCircuitBreaker": switch})
    ended = aws.await_status(name, "STOPPED")
    assert ended["deploymentCircuitBreaker"] == {"status": "TRIGGERED", "failureCount": 1, "threshold": 1}
    [only] = aws.service(name)["deployments"]
    assert (only["rolloutState"], only["failedTasks"]) == ("FAILED", 1)
    assert only["rolloutStateReason"] == "ECS deployment circuit breaker: tasks failed to start."


def test_tasks_of_a_capacity_provider(aws: Cluster) -> None:
    definition = aws.family()
    wanted: dict[str, Any] = {"cluster": aws.name, "taskDefinition": definition, "networkConfiguration": NETWORK}
    strategy = [{"capacityProvider": "FARGATE_SPOT", "weight": 1}]
    both = refusal(aws.client.run_task, **wanted, capacityProviderStrategy=strategy, launchType="FARGATE")
    assert both[0] == "InvalidParameterException"
    aws.client.create_service(serviceName="spot", desiredCount=1, capacityProviderStrategy=strategy, **wanted)
    aws.await_status("spot", "SUCCESSFUL")
    service = aws.service("spot")
    assert "launchType" not in service and service["capacityProviderStrategy"] == strategy
    [task] = aws.tasks("spot")
    assert (task["launchType"], task["capacityProviderName"]) == ("FARGATE", "FARGATE_SPOT")


def test_a_call_without_permission_changes_nothing(aws: Cluster) -> None:
    name = aws.create(aws.family(), 1)
    aws.endpoint.faults.denied["ecs:UpdateService"] = ""
    code, message = refusal(aws.client.update_service, cluster=aws.name, service=name, desiredCount=2)
    assert code == "AccessDeniedException" and "ecs:UpdateService" in message
    assert aws.service(name)["desiredCount"] == 1


def test_a_newer_deployment_replaces_one_that_runs(aws: Cluster) -> None:
    aws.agent.behaviours["slow"] = Behaviour(starts_after=60)
    good = aws.family()
    name = aws.create(good, 1)
    aws.await_status(name, "SUCCESSFUL")
    aws.update(name, taskDefinition=aws.family("slow"))
    aws.await_status(name, "IN_PROGRESS")
    aws.update(name, taskDefinition=aws.family("better"))
    aws.await_status(name, "SUCCESSFUL")
    newest, replaced, _first = aws.deployments(name)
    assert (replaced["status"], replaced["statusReason"]) == ("STOPPED", "Replaced by a new service deployment.")
    assert replaced["stoppedAt"] and "finishedAt" not in replaced
    assert len(newest["sourceServiceRevisions"]) == 2


def test_a_deployment_is_stopped_once(aws: Cluster) -> None:
    aws.agent.behaviours["slow"] = Behaviour(starts_after=60)
    name = aws.create(aws.family(), 1)
    aws.await_status(name, "SUCCESSFUL")
    aws.update(name, taskDefinition=aws.family("slow"))
    arn = aws.await_status(name, "IN_PROGRESS")["serviceDeploymentArn"]
    assert aws.client.stop_service_deployment(serviceDeploymentArn=arn)["serviceDeploymentArn"] == arn
    ended = aws.await_status(name, "ROLLBACK_SUCCESSFUL")
    assert ended["rollback"]["reason"] == "Service deployment rolled back by user."
    assert refusal(aws.client.stop_service_deployment, serviceDeploymentArn=arn)[0] == "ConflictException"
    missing = refusal(aws.client.stop_service_deployment, serviceDeploymentArn=f"{arn}x")
    assert missing[0] == "ServiceDeploymentNotFoundException"


def test_targets_are_registered_and_gate_the_deployment(aws: Cluster) -> None:
    _name, group = aws.endpoint.group(kind="ip")
    balancer = {"targetGroupArn": group, "containerName": "main", "containerPort": 8080}
    aws.endpoint.states.registering = 60.0
    name = aws.create(aws.family(), 1, loadBalancers=[balancer], healthCheckGracePeriodSeconds=10)
    await_true(lambda: aws.service(name)["runningCount"] == 1, "a running task")
    assert set(aws.endpoint.standings(group).values()) == {"initial"}
    assert aws.deployments(name)[0]["status"] == "IN_PROGRESS"
    aws.endpoint.states.registering = 0.0
    aws.await_status(name, "SUCCESSFUL")
    [task] = aws.tasks(name)
    [interface] = task["containers"][0]["networkInterfaces"]
    assert aws.endpoint.standings(group) == {f"{interface['privateIpv4Address']}:8080": "healthy"}
    aws.update(name, taskDefinition=aws.family("better"))
    aws.await_status(name, "SUCCESSFUL")
    assert len(aws.endpoint.standings(group)) == 1


def test_alarms_of_cloudwatch_fail_a_deployment(aws: Cluster) -> None:
    cloudwatch = aws.endpoint.client("cloudwatch")
    metric = {"MetricName": "5xx", "Namespace": "web", "Period": 60, "Statistic": "Sum", "Threshold": 1.0}
    cloudwatch.put_metric_alarm(
        AlarmName="5xx", EvaluationPeriods=1, ComparisonOperator="GreaterThanThreshold", **metric
    )
    alarms = {"alarms": {"alarmNames": ["5xx"], "enable": True, "rollback": True}}
    name = aws.create(aws.family(), 1, deploymentConfiguration=alarms)
    aws.await_status(name, "SUCCESSFUL")
    aws.agent.behaviours["slow"] = Behaviour(starts_after=60)
    aws.update(name, taskDefinition=aws.family("slow"))
    cloudwatch.set_alarm_state(AlarmName="5xx", StateValue="ALARM", StateReason="test")
    ended = aws.await_status(name, "ROLLBACK_SUCCESSFUL")
    assert ended["alarms"] == {"status": "TRIGGERED", "alarmNames": ["5xx"], "triggeredAlarmNames": ["5xx"]}


def test_blue_green_pauses_until_it_is_told_to_go_on(aws: Cluster) -> None:
    hook = {"targetType": "PAUSE", "lifecycleStages": ["PRE_PRODUCTION_TRAFFIC_SHIFT"]}
    strategy = {"strategy": "BLUE_GREEN", "bakeTimeInMinutes": 1, "lifecycleHooks": [hook]}
    name = aws.create(aws.family(), 1)
    aws.await_status(name, "SUCCESSFUL")
    aws.update(name, deploymentConfiguration=strategy, taskDefinition=aws.family("better"))
    await_true(lambda: "lifecycleHookDetails" in aws.deployments(name)[0], "a hook")
    waiting = aws.deployments(name)[0]
    assert waiting["lifecycleStage"] == "PRODUCTION_TRAFFIC_SHIFT"
    assert waiting["targetServiceRevision"]["requestedTestTrafficWeight"] == 100.0
    assert waiting["targetServiceRevision"]["requestedProductionTrafficWeight"] == 0.0
    assert waiting["sourceServiceRevisions"][0]["requestedProductionTrafficWeight"] == 100.0
    [detail] = waiting["lifecycleHookDetails"]
    assert (detail["status"], detail["timeoutAction"]) == ("AWAITING_ACTION", "ROLLBACK")
    identifiers = {"serviceDeploymentArn": waiting["serviceDeploymentArn"], "hookId": detail["hookId"]}
    aws.client.continue_service_deployment(**identifiers)
    assert aws.await_status(name, "SUCCESSFUL")["targetServiceRevision"]["requestedProductionTrafficWeight"] == 100.0
    assert refusal(aws.client.continue_service_deployment, **identifiers)[0] == "InvalidParameterException"


def test_a_protected_task_outlives_a_deployment(aws: Cluster) -> None:
    name = aws.create(aws.family(), 1)
    aws.await_status(name, "SUCCESSFUL")
    [task] = aws.tasks(name)
    named: dict[str, Any] = {"cluster": aws.name, "tasks": [task["taskArn"]]}
    [protected] = aws.client.update_task_protection(**named, protectionEnabled=True)["protectedTasks"]
    assert protected["protectionEnabled"] and protected["expirationDate"]
    aws.update(name, forceNewDeployment=True)
    await_true(lambda: any("under protection" in text for text in messages(aws, name)), "an event")
    assert aws.client.get_task_protection(**named)["protectedTasks"][0]["protectionEnabled"]
    aws.client.update_task_protection(**named, protectionEnabled=False)
    aws.await_status(name, "SUCCESSFUL")


def test_a_service_is_deleted(aws: Cluster) -> None:
    name = aws.create(aws.family(), 1)
    aws.await_status(name, "SUCCESSFUL")
    refused = refusal(aws.client.delete_service, cluster=aws.name, service=name)
    assert refused == ("InvalidParameterException", "The service cannot be stopped while it is scaled above 0.")
    deleted = aws.client.delete_service(cluster=aws.name, service=name, force=True)["service"]
    assert (deleted["status"], deleted["desiredCount"]) == ("DRAINING", 0)
    await_true(lambda: aws.service(name)["status"] == "INACTIVE", "inactive")
    gone = refusal(aws.client.update_service, cluster=aws.name, service=name, desiredCount=1)
    assert gone == ("ServiceNotActiveException", "Service was not ACTIVE.")
    described = aws.client.describe_services(cluster=aws.name, services=["nosuch"])
    assert [failure["reason"] for failure in described["failures"]] == ["MISSING"]
