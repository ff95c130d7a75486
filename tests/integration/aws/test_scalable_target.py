# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""scalable_target, against moto with tags of scalable targets."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from testbed.services.aws.scaling_tags import ScalingTags
from tests.integration.aws.stage import call
from tests.integration.endpoint import ACCOUNT, REGION, Endpoint

BALANCER = f"arn:aws:elasticloadbalancing:{REGION}:{ACCOUNT}:loadbalancer/app/gateways/0123456789abcdef"
GROUP = f"arn:aws:elasticloadbalancing:{REGION}:{ACCOUNT}:targetgroup/api/fedcba9876543210"
CPU = {"name": "cpu", "metric": "ECSServiceAverageCPUUtilization", "target_value": 60}
REQUESTS = {
    "name": "requests",
    "metric": "ALBRequestCountPerTarget",
    "target_value": 1000,
    "load_balancer_arn": BALANCER,
    "target_group_arn": GROUP,
    "scale_in_cooldown": 120,
}
CALLS = (
    "DescribeScalableTargets",
    "RegisterScalableTarget",
    "DescribeScalingPolicies",
    "ListTagsForResource",
    "TagResource",
    "PutScalingPolicy",
    "DeleteScalingPolicy",
)
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def served() -> Iterator[Endpoint]:
    with Endpoint(ScalingTags().answer) as endpoint:
        yield endpoint


@pytest.fixture
def aws(served: Endpoint) -> Endpoint:
    return served.at_its_best()


@pytest.fixture
def service(aws: Endpoint) -> dict[str, str]:
    ecs = aws.client("ecs")
    name = f"scaled-{next(_numbers)}"
    containers = [{"name": "api", "image": "api:1", "memory": 128}]
    ecs.register_task_definition(family=name, containerDefinitions=containers)
    ecs.create_cluster(clusterName=name)
    ecs.create_service(cluster=name, serviceName="api", taskDefinition=name, desiredCount=2)
    return {"cluster": name, "service": "api"}


def writes(aws: Endpoint) -> list[str]:
    """The calls since the last run that change something."""
    found = [name.partition(":")[2] for name in aws.faults.calls]
    return [name for name in found if not name.startswith(("Describe", "List"))]


def run(aws: Endpoint, service: dict[str, str], *, check: bool = False, **options: Any) -> dict[str, Any]:
    aws.faults.calls.clear()
    return call(aws, "scalable_target", {**service, **options}, check=check)


def both(aws: Endpoint, service: dict[str, str], **options: Any) -> list[str]:
    """The calls that wrote. Check mode writes nothing and predicts the run; the next run changes nothing."""
    expected = run(aws, service, check=True, **options)
    assert expected["changed"] and writes(aws) == [], expected
    result = run(aws, service, **options)
    written = writes(aws)
    assert (result["failed"], result["changed"], result["diff"]) == (False, True, expected["diff"])
    for check in (True, False):
        again = run(aws, service, check=check, **options)
        assert (again["failed"], again["changed"], writes(aws)) == (False, False, [])
        assert again["diff"]["before"] == again["diff"]["after"]
    return written


def target(aws: Endpoint, service: dict[str, str]) -> dict[str, Any]:
    resources = [f"service/{service['cluster']}/api"]
    found = aws.client("application-autoscaling").describe_scalable_targets(
        ServiceNamespace="ecs", ResourceIds=resources
    )
    return dict(found["ScalableTargets"][0]) if found["ScalableTargets"] else {}


def policies(aws: Endpoint, service: dict[str, str]) -> dict[str, dict[str, Any]]:
    found = aws.client("application-autoscaling").describe_scaling_policies(
        ServiceNamespace="ecs", ResourceId=f"service/{service['cluster']}/api"
    )
    return {policy["PolicyName"]: policy for policy in found["ScalingPolicies"]}


def theirs(aws: Endpoint, service: dict[str, str], name: str) -> None:
    """A policy of another tool."""
    steps = {"AdjustmentType": "ChangeInCapacity", "StepAdjustments": [{"ScalingAdjustment": 1}]}
    aws.client("application-autoscaling").put_scaling_policy(
        PolicyName=name,
        ServiceNamespace="ecs",
        ResourceId=f"service/{service['cluster']}/api",
        ScalableDimension="ecs:service:DesiredCount",
        PolicyType="StepScaling",
        StepScalingPolicyConfiguration=steps,
    )


def test_a_target_with_policies(aws: Endpoint, service: dict[str, str]) -> None:
    options: dict[str, Any] = {"min_capacity": 2, "max_capacity": 10, "policies": [CPU, REQUESTS]}
    written = both(aws, service, **options)
    assert written == ["RegisterScalableTarget", "TagResource", "PutScalingPolicy", "PutScalingPolicy"]
    found = target(aws, service)
    assert (found["MinCapacity"], found["MaxCapacity"]) == (2, 10)
    tracked = {name: each["TargetTrackingScalingPolicyConfiguration"] for name, each in policies(aws, service).items()}
    assert tracked["cpu"]["TargetValue"] == 60.0
    assert tracked["requests"] == {
        "TargetValue": 1000.0,
        "PredefinedMetricSpecification": {
            "PredefinedMetricType": "ALBRequestCountPerTarget",
            "ResourceLabel": "app/gateways/0123456789abcdef/targetgroup/api/fedcba9876543210",
        },
        "ScaleOutCooldown": 300,
        "ScaleInCooldown": 120,
        "DisableScaleIn": False,
    }


@pytest.mark.parametrize(
    ("change", "written"),
    [
        ({"min_capacity": 3}, ["RegisterScalableTarget"]),
        ({"max_capacity": 4}, ["RegisterScalableTarget"]),
        ({"suspended": {"dynamic_scaling_in": True}}, ["RegisterScalableTarget"]),
        ({"policies": [{**CPU, "target_value": 61}]}, ["PutScalingPolicy"]),
        ({"policies": [{**CPU, "metric": "ECSServiceAverageMemoryUtilization"}]}, ["PutScalingPolicy"]),
        ({"policies": [{**CPU, "disable_scale_in": True}]}, ["PutScalingPolicy"]),
        ({"policies": [CPU, REQUESTS]}, ["TagResource", "PutScalingPolicy"]),
        ({"policies": []}, ["DeleteScalingPolicy", "UntagResource"]),
    ],
)
def test_a_change_writes_that_alone(
    aws: Endpoint, service: dict[str, str], change: dict[str, Any], written: list[str]
) -> None:
    options: dict[str, Any] = {"min_capacity": 2, "max_capacity": 10, "policies": [CPU]}
    run(aws, service, **options)
    assert both(aws, service, **{**options, **change}) == written


def test_what_is_not_declared_is_left_alone(aws: Endpoint, service: dict[str, str]) -> None:
    run(aws, service, min_capacity=2, max_capacity=10, policies=[CPU])
    assert both(aws, service, suspended={"dynamic_scaling_in": True, "scheduled": True}) == ["RegisterScalableTarget"]
    assert both(aws, service, suspended={"scheduled": False}) == ["RegisterScalableTarget"]
    found = target(aws, service)
    assert (found["MinCapacity"], found["MaxCapacity"]) == (2, 10)
    assert found["SuspendedState"] == {
        "DynamicScalingInSuspended": True,
        "DynamicScalingOutSuspended": False,
        "ScheduledScalingSuspended": False,
    }
    assert both(aws, service, max_capacity=20) == ["RegisterScalableTarget"]
    assert target(aws, service)["SuspendedState"] == found["SuspendedState"]
    assert list(policies(aws, service)) == ["cpu"]


def test_policies_of_others_stay(aws: Endpoint, service: dict[str, str]) -> None:
    options: dict[str, Any] = {"min_capacity": 2, "max_capacity": 10}
    run(aws, service, **options, policies=[CPU, REQUESTS])
    theirs(aws, service, "steps")
    assert both(aws, service, **options, policies=[REQUESTS]) == ["DeleteScalingPolicy", "TagResource"]
    assert sorted(policies(aws, service)) == ["requests", "steps"]
    refused = run(aws, service, **options, policies=[{**CPU, "name": "steps"}])
    assert "the policy steps of service/" in refused["msg"] and "is of the type StepScaling" in refused["msg"]
    assert writes(aws) == []


def test_an_interrupted_run_is_completed(aws: Endpoint, service: dict[str, str]) -> None:
    options: dict[str, Any] = {"min_capacity": 2, "max_capacity": 10}
    aws.faults.denied["application-autoscaling:PutScalingPolicy"] = "requests"
    result = run(aws, service, **options, policies=[CPU, REQUESTS])
    assert "needs application-autoscaling:PutScalingPolicy on the policy requests" in result["msg"]
    aws.faults.denied.clear()
    # Also what the interrupted run set is this module's to delete.
    assert both(aws, service, **options, policies=[REQUESTS])[-2:] == ["DeleteScalingPolicy", "TagResource"]
    assert list(policies(aws, service)) == ["requests"]


@pytest.mark.parametrize("denied", CALLS)
def test_a_denied_call_is_named_and_the_next_run_goes_on(aws: Endpoint, service: dict[str, str], denied: str) -> None:
    run(aws, service, min_capacity=1, max_capacity=10, policies=[CPU])
    options: dict[str, Any] = {"min_capacity": 2, "max_capacity": 10, "policies": [REQUESTS]}
    aws.faults.denied[f"application-autoscaling:{denied}"] = ""
    result = run(aws, service, **options)
    assert f"the role or user needs application-autoscaling:{denied} on the " in result["msg"]
    assert f"service/{service['cluster']}/api" in result["msg"]
    aws.faults.denied.clear()
    both(aws, service, **options)
    assert list(policies(aws, service)) == ["requests"] and target(aws, service)["MinCapacity"] == 2


def test_it_is_removed_with_its_policies(aws: Endpoint, service: dict[str, str]) -> None:
    run(aws, service, min_capacity=2, max_capacity=10, policies=[CPU])
    theirs(aws, service, "steps")
    written = both(aws, service, state="absent")
    assert written == ["DeleteScalingPolicy", "DeleteScalingPolicy", "DeregisterScalableTarget"]
    assert (target(aws, service), policies(aws, service)) == ({}, {})
    count = aws.client("ecs").describe_services(cluster=service["cluster"], services=["api"])["services"][0]
    assert count["desiredCount"] == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_capacity": 4}, "to register it, set min_capacity, too."),
        ({"min_capacity": 5, "max_capacity": 4}, "min_capacity 5 is above max_capacity 4"),
        (
            {"min_capacity": 1, "max_capacity": 4, "policies": [{**REQUESTS, "target_group_arn": None}]},
            "the policy requests counts requests and needs load_balancer_arn and target_group_arn",
        ),
        (
            {"min_capacity": 1, "max_capacity": 4, "policies": [{**CPU, "target_group_arn": GROUP}]},
            "the policy cpu has target_group_arn, which only ALBRequestCountPerTarget takes",
        ),
        ({"min_capacity": 1, "max_capacity": 4, "policies": [CPU, CPU]}, "two policies are called cpu"),
        (
            {"min_capacity": 1, "max_capacity": 4, "policies": [{**REQUESTS, "load_balancer_arn": GROUP}]},
            "needs the ARNs of an Application Load Balancer and of its target group",
        ),
    ],
)
def test_what_can_not_be_is_refused(
    aws: Endpoint, service: dict[str, str], options: dict[str, Any], words: str
) -> None:
    for check in (True, False):
        result = run(aws, service, check=check, **options)
        assert words in result["msg"] and writes(aws) == []


def test_a_service_that_does_not_exist_is_named(aws: Endpoint, service: dict[str, str]) -> None:
    result = run(aws, {**service, "service": "none"}, min_capacity=1, max_capacity=2)
    assert f"ECS service doesn't exist: service/{service['cluster']}/none" in result["msg"]
