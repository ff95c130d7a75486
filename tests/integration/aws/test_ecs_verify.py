# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ecs_verify finds all that would make a deployment fail, and nothing where all is well."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterator
from typing import Any

import pytest
from werkzeug.wrappers import Request, Response

from testbed.services.aws import query
from testbed.services.aws.calls import Call, parameters
from tests.integration.aws.stage import call, network
from tests.integration.endpoint import ACCOUNT, REGION, Endpoint

CLUSTER = "production"
REGISTRY = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com"
TRUST = {
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "ecs-tasks.amazonaws.com"}, "Action": "sts:AssumeRole"}]
}
FOREIGN = {
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}]
}
VALUE = "planted-value"


def policy_simulator(call: Call, request: Request) -> Response | None:
    """IAM's, which moto lacks: all roles may be passed but those with `kept` in their names."""
    if (call.service, call.action) != ("iam", "SimulatePrincipalPolicy"):
        return None
    role = parameters(request)["ResourceArns.member.1"]
    decision = "implicitDeny" if "kept" in role else "allowed"
    value = {"EvaluationResults": [{"EvalActionName": "iam:PassRole", "EvalDecision": decision}]}
    return query.answer(query.model("iam"), call.action, value)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Endpoint]:
    with Endpoint(policy_simulator) as served:
        yield served


@pytest.fixture(scope="module")
def sound(endpoint: Endpoint) -> dict[str, Any]:
    """A declaration with all that it needs."""
    ecs, iam, ec2, elb = (endpoint.client(name) for name in ("ecs", "iam", "ec2", "elbv2"))
    ecs.create_cluster(clusterName=CLUSTER)
    for name, policy in (("execution", TRUST), ("foreign", FOREIGN), ("kept", TRUST)):
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(policy))
    endpoint.client("logs").create_log_group(logGroupName="/ecs/permissions")
    endpoint.client("ssm").put_parameter(Name="/permissions/database", Value=VALUE, Type="SecureString")
    secret = endpoint.client("secretsmanager").create_secret(Name="redis", SecretString=json.dumps({"token": VALUE}))[
        "ARN"
    ]
    _push(endpoint, "permissions", "1.0", "amd64")
    _push(endpoint, "permissions", "arm", "arm64")
    place = network(endpoint)
    balancer = elb.create_load_balancer(
        Name="front", Subnets=place["subnets"], SecurityGroups=place["security_groups"], Scheme="internal"
    )["LoadBalancers"][0]["LoadBalancerArn"]
    groups = {}
    for name, kind in (("api", "ip"), ("hosts", "instance"), ("alone", "ip")):
        groups[name] = elb.create_target_group(
            Name=name, Protocol="HTTP", Port=8080, VpcId=place["vpc_id"], TargetType=kind,
            HealthCheckIntervalSeconds=10, HealthyThresholdCount=3,
        )["TargetGroups"][0]["TargetGroupArn"]  # fmt: skip
    for port, name in ((80, "api"), (81, "hosts")):
        forward = [{"Type": "forward", "TargetGroupArn": groups[name]}]
        elb.create_listener(LoadBalancerArn=balancer, Port=port, Protocol="HTTP", DefaultActions=forward)
    tasks = ec2.create_security_group(GroupName="tasks", Description="tasks", VpcId=place["vpc_id"])["GroupId"]
    source = [{"GroupId": place["security_groups"][0]}]
    rule = {"IpProtocol": "tcp", "FromPort": 8080, "ToPort": 8080, "UserIdGroupPairs": source}
    ec2.authorize_security_group_ingress(GroupId=tasks, IpPermissions=[rule])
    closed = ec2.create_security_group(GroupName="closed", Description="closed", VpcId=place["vpc_id"])["GroupId"]
    nat = ec2.create_nat_gateway(SubnetId=place["subnets"][0], ConnectivityType="private")["NatGateway"]["NatGatewayId"]
    table = ec2.create_route_table(VpcId=place["vpc_id"])["RouteTable"]["RouteTableId"]
    ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", NatGatewayId=nat)
    for subnet in place["subnets"]:
        ec2.associate_route_table(RouteTableId=table, SubnetId=subnet)
    lonely = ec2.create_subnet(VpcId=place["vpc_id"], CidrBlock="10.0.9.0/24")["Subnet"]["SubnetId"]
    log = {
        "logDriver": "awslogs",
        "options": {"awslogs-group": "/ecs/permissions", "awslogs-region": REGION, "awslogs-stream-prefix": "ecs"},
    }
    container = {
        "name": "api",
        "image": f"{REGISTRY}/permissions:1.0",
        "essential": True,
        "portMappings": [{"containerPort": 8080}],
        "secrets": [
            {"name": "DATABASE_URL", "valueFrom": f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/permissions/database"},
            {"name": "REDIS_TOKEN", "valueFrom": f"{secret}:token::"},
        ],
        "logConfiguration": log,
    }
    return {
        "task": {
            "family": "permissions",
            "networkMode": "awsvpc",
            "requiresCompatibilities": ["FARGATE"],
            "cpu": "512",
            "memory": "1024",
            "executionRoleArn": f"arn:aws:iam::{ACCOUNT}:role/execution",
            "containerDefinitions": [container],
        },
        "definition": {
            "networkConfiguration": {"awsvpcConfiguration": {"subnets": place["subnets"], "securityGroups": [tasks]}},
            "loadBalancers": [{"targetGroupArn": groups["api"], "containerName": "api", "containerPort": 8080}],
            "healthCheckGracePeriodSeconds": 60,
        },
        "others": {"groups": groups, "closed": closed, "lonely": lonely, "secret": secret},
    }


def _push(endpoint: Endpoint, repository: str, tag: str, architecture: str) -> None:
    ecr = endpoint.client("ecr")
    if repository not in [one["repositoryName"] for one in ecr.describe_repositories()["repositories"]]:
        ecr.create_repository(repositoryName=repository)
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [
            {
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "digest": f"sha256:{hashlib.sha256(architecture.encode()).hexdigest()}",
                "size": 1,
                "platform": {"os": "linux", "architecture": architecture},
            }
        ],
    }
    ecr.put_image(repositoryName=repository, imageManifest=json.dumps(manifest), imageTag=tag)


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
