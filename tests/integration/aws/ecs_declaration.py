# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A task definition and a service with all that they need: image, secrets, roles, logs, load balancer and network."""

from __future__ import annotations

import copy
import hashlib
import json
from typing import Any
from weakref import WeakKeyDictionary

from werkzeug.wrappers import Request, Response

from testbed.services.aws import query
from testbed.services.aws.calls import Call, parameters
from tests.integration.aws.stage import network
from tests.integration.endpoint import ACCOUNT, REGION, Endpoint

REGISTRY = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com"
TRUST = {
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "ecs-tasks.amazonaws.com"}, "Action": "sts:AssumeRole"}]
}
FOREIGN = {
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}]
}
VALUE = "planted-value"
_made: WeakKeyDictionary[Endpoint, dict[str, Any]] = WeakKeyDictionary()


def policy_simulator(call: Call, request: Request) -> Response | None:
    """IAM's, which moto lacks: all roles may be passed but those with `kept` in their names."""
    if (call.service, call.action) != ("iam", "SimulatePrincipalPolicy"):
        return None
    role = parameters(request)["ResourceArns.member.1"]
    decision = "implicitDeny" if "kept" in role else "allowed"
    value = {"EvaluationResults": [{"EvalActionName": "iam:PassRole", "EvalDecision": decision}]}
    return query.answer(query.model("iam"), call.action, value)


def declaration(endpoint: Endpoint) -> dict[str, Any]:
    """A declaration with all that it needs, which is made once for an endpoint."""
    if endpoint not in _made:
        _made[endpoint] = _declared(endpoint)
    return copy.deepcopy(_made[endpoint])


def _declared(endpoint: Endpoint) -> dict[str, Any]:
    """A declaration with all that it needs."""
    iam, ec2, elb = (endpoint.client(name) for name in ("iam", "ec2", "elbv2"))
    for name, policy in (("execution", TRUST), ("foreign", FOREIGN), ("kept", TRUST)):
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(policy))
    endpoint.client("logs").create_log_group(logGroupName="/ecs/permissions")
    endpoint.client("ssm").put_parameter(Name="/permissions/database", Value=VALUE, Type="SecureString")
    secret = endpoint.client("secretsmanager").create_secret(Name="redis", SecretString=json.dumps({"token": VALUE}))[
        "ARN"
    ]
    push(endpoint, "permissions", "1.0", "amd64")
    push(endpoint, "permissions", "arm", "arm64")
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


def push(endpoint: Endpoint, repository: str, tag: str, architecture: str) -> None:
    ecr = endpoint.client("ecr")
    if repository not in [one["repositoryName"] for one in ecr.describe_repositories()["repositories"]]:
        ecr.create_repository(repositoryName=repository)
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [
            {
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "digest": f"sha256:{hashlib.sha256(f'{tag} {architecture}'.encode()).hexdigest()}",
                "size": 1,
                "platform": {"os": "linux", "architecture": architecture},
            }
        ],
    }
    ecr.put_image(repositoryName=repository, imageManifest=json.dumps(manifest), imageTag=tag)
