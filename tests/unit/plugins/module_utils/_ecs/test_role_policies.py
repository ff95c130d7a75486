# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy
from typing import Any

import pytest

from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.deployer_policy import SecretsPlace
from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.policy_statements import ClusterPlace
from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.role_policies import managed_roles

PLACE = ClusterPlace("production", "eu-central-1", "123456789012")
ARN = "arn:aws:{}:eu-central-1:123456789012:{}"
ROLE = "arn:aws:iam::123456789012:role/"
SECRET = ARN.format("secretsmanager", "secret:redis-AbCdEf")


def service(name: str = "permissions", **more: Any) -> dict[str, Any]:
    options = {"awslogs-group": f"/ecs/{name}", "awslogs-region": "eu-central-1"}
    container = {
        "name": "api",
        "image": "123456789012.dkr.ecr.eu-central-1.amazonaws.com/team/permissions:1",
        "secrets": [
            {"name": "TOKEN", "valueFrom": f"{SECRET}:token::"},
            {"name": "URL", "valueFrom": "/permissions/url"},
            {"name": "KEY", "valueFrom": ARN.format("secretsmanager", "secret:key-AbCdEf")},
        ],
        "logConfiguration": {"logDriver": "awslogs", "options": options},
    }
    task = {
        "executionRoleArn": f"{ROLE}apps/{name}-execution",
        "taskRoleArn": f"{ROLE}{name}-task",
        "containerDefinitions": [container],
    }
    return {"name": name, "task": task, "roles": ["execution", "task"], **more}


def policies(*services: dict[str, Any], **more: Any) -> dict[str, dict[str, dict[str, Any]]]:
    """Statements by role and Sid."""
    roles = managed_roles(list(services), PLACE, **more)
    return {role["name"]: {one["Sid"]: one for one in role["policy"]["Statement"]} for role in roles}


def test_the_execution_role_pulls_logs_and_reads_what_is_declared_and_no_more() -> None:
    allowed = policies(service())["permissions-execution"]
    assert allowed["PullImages"]["Resource"] == [ARN.format("ecr", "repository/team/permissions")]
    assert allowed["WriteLogs"]["Resource"] == [ARN.format("logs", "log-group:/ecs/permissions:log-stream:*")]
    assert allowed["ReadSecrets"]["Resource"] == [SECRET, ARN.format("secretsmanager", "secret:key-AbCdEf")]
    assert allowed["ReadParameters"]["Resource"] == [ARN.format("ssm", "parameter/permissions/url")]
    assert set(allowed) == {"LogInToRegistries", "PullImages", "WriteLogs", "ReadSecrets", "ReadParameters"}
    assert policies(service(), kms_keys=["arn:key"])["permissions-execution"]["DecryptSecrets"]["Resource"] == [
        "arn:key"
    ]


def test_an_image_that_replaces_the_declared_one_is_the_one_to_pull() -> None:
    other = "210987654321.dkr.ecr.eu-west-1.amazonaws.com/other:2"
    allowed = policies(service(images={"api": other}))["permissions-execution"]
    assert allowed["PullImages"]["Resource"] == ["arn:aws:ecr:eu-west-1:210987654321:repository/other"]
    assert "PullImages" not in policies(service(images={"api": "docker.io/nginx"}))["permissions-execution"]


def test_the_task_role_may_do_what_access_declares() -> None:
    own = {"Sid": "Files", "Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::files/*"}
    access = {"consumes": ["audit"], "publishes": [ARN.format("sns", "audit")], "statements": [own]}
    allowed = policies(service(access=access))["permissions-task"]
    assert allowed["ConsumeQueues"]["Resource"] == [ARN.format("sqs", "audit")]
    assert allowed["PublishToTopics"]["Resource"] == [ARN.format("sns", "audit")]
    assert allowed["Files"] == own
    assert set(allowed) == {"ConsumeQueues", "PublishToTopics", "Files"}
    assert policies(service())["permissions-task"] == {}
    shell = policies(service(service={"enableExecuteCommand": True}))["permissions-task"]
    assert set(shell) == {"RunCommands"}


def test_only_roles_that_are_declared_as_own_are_managed() -> None:
    assert list(policies(service(roles=[]), service("other", roles=["task"]))) == ["other-task"]
    (role, _task) = managed_roles([service()], PLACE)
    assert (role["name"], role["path"]) == ("permissions-execution", "/apps/")
    (statement,) = role["trust"]["Statement"]
    assert statement["Principal"] == {"Service": "ecs-tasks.amazonaws.com"}
    assert statement["Condition"]["StringEquals"] == {"aws:SourceAccount": "123456789012"}


def test_services_that_share_a_role_have_one_policy() -> None:
    other = service("worker")
    other["task"]["executionRoleArn"] = service()["task"]["executionRoleArn"]
    allowed = policies(service(), other)
    assert set(allowed) == {"permissions-execution", "permissions-task", "worker-task"}
    assert allowed["permissions-execution"]["WriteLogs"]["Resource"] == [
        ARN.format("logs", f"log-group:/ecs/{name}:log-stream:*") for name in ("permissions", "worker")
    ]
    assert len(allowed["permissions-execution"]["PullImages"]["Resource"]) == 1


def test_the_deployer_passes_the_declared_roles_to_tasks_alone() -> None:
    # Also roles that others manage.
    allowed = policies(service(roles=[]), service("worker"), deployer="deployer")["deployer"]
    passed = allowed["PassRoles"]
    assert passed["Resource"] == [
        f"{ROLE}{name}" for one in ("permissions", "worker") for name in (f"apps/{one}-execution", f"{one}-task")
    ]
    assert passed["Condition"] == {"StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}}
    services = [ARN.format("ecs", f"service/production/{one}") for one in ("permissions", "worker")]
    assert allowed["ChangeServices"]["Resource"] == services
    assert allowed["ReadKeysOfSecrets"]["Resource"] == [SECRET]
    assert "PushImages" not in allowed
    built = policies(service(build={"path": "."}), deployer="deployer")["deployer"]
    assert built["PushImages"]["Resource"] == [ARN.format("ecr", "repository/team/permissions")]


def test_the_deployer_retires_the_services_that_are_replaced_and_no_others() -> None:
    moved = service("users-nlb", legacy={"service": "users"})
    gateway = service("gateway", upstreams=["users-nlb"])
    allowed = policies(moved, gateway, deployer="deployer")["deployer"]
    assert allowed["RetireServices"]["Resource"] == [ARN.format("ecs", "service/production/users")]
    assert allowed["RunTasks"]["Resource"][-1] == ARN.format("ecs", "task-definition/gateway-probe:*")
    usual = policies(service("users-nlb"), gateway, deployer="deployer")["deployer"]
    assert set(allowed) - set(usual) == {"RetireServices", "SuspendScaling", "LookAtTargets", "WatchRequests"}
    assert ARN.format("ecs", "task-definition/gateway-probe:*") not in usual["RunTasks"]["Resource"]


@pytest.mark.parametrize(
    ("store", "sid", "resource"),
    [
        ("ssm", "StoreParameters", ARN.format("ssm", "parameter/shop/permissions/*")),
        ("secretsmanager", "StoreSecrets", ARN.format("secretsmanager", "secret:shop/permissions/*")),
    ],
)
def test_the_deployer_moves_secrets_to_the_declared_place(store: str, sid: str, resource: str) -> None:
    key = ARN.format("kms", "key/1234")
    usual = policies(service(), deployer="deployer")["deployer"]
    allowed = policies(service(), deployer="deployer", secrets=SecretsPlace(store, "/shop", key))["deployer"]
    assert set(allowed) - set(usual) == {sid, "EncryptSecrets", "LetRolesReadSecrets"}
    assert allowed[sid]["Resource"] == [resource]
    assert allowed["EncryptSecrets"]["Resource"] == [key]
    assert allowed["LetRolesReadSecrets"]["Resource"] == [f"{ROLE}apps/permissions-execution"]
    without = policies(service(), deployer="deployer", secrets=SecretsPlace(store, "/shop"))["deployer"]
    assert "EncryptSecrets" not in without


def test_the_deployer_sets_the_urls_of_gateways_in_their_parameter_alone() -> None:
    usual = policies(service(), deployer="deployer")["deployer"]
    allowed = policies(service(), deployer="deployer", urls_parameter="/shop/gateway-urls")["deployer"]
    assert set(allowed) - set(usual) == {"SetGatewayUrls"}
    assert allowed["SetGatewayUrls"]["Resource"] == [ARN.format("ssm", "parameter/shop/gateway-urls")]
    assert allowed["SetGatewayUrls"]["Action"] == ["ssm:GetParameter", "ssm:PutParameter"]


def test_the_deployer_is_assumed_by_the_account_or_as_declared() -> None:
    (role,) = managed_roles([service(roles=[])], PLACE, "deployer")
    assert role["trust"]["Statement"][0]["Principal"] == {"AWS": "arn:aws:iam::123456789012:root"}
    trust = {"Version": "2012-10-17", "Statement": []}
    assert managed_roles([], PLACE, "deployer", trust)[0]["trust"] == trust


@pytest.mark.parametrize(("region", "partition"), [("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov")])
def test_arns_are_of_the_region_s_partition(region: str, partition: str) -> None:
    roles = managed_roles([service()], ClusterPlace("production", region, "123456789012"), "deployer")
    written = [
        resource
        for role in roles
        for one in role["policy"]["Statement"]
        for resource in one["Resource"]
        if f":{region}:" in resource
    ]
    assert written and all(resource.startswith(f"arn:{partition}:") for resource in written)


def test_the_declaration_is_left_as_it_is() -> None:
    declared = service(access={"statements": [{"Sid": "One"}]})
    before = copy.deepcopy(declared)
    managed_roles([declared, service("other")], PLACE, "deployer")
    assert declared == before
