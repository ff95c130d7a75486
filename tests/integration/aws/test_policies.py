# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Policies that roles make of their variables; those of the role iam are checked where they are written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.deployer_policy import SecretsPlace
from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.plaintext_secrets import SecretsWish, policy
from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.policy_statements import ClusterPlace
from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.role_policies import managed_roles
from tests.policies import NEWER_THAN_THE_DATA, ON_EVERYTHING, findings

ROLES = Path(__file__).parents[3] / "roles"
PLACE = ClusterPlace("production", "eu-central-1", "123456789012")
REGISTRY = "123456789012.dkr.ecr.eu-central-1.amazonaws.com"
ARN = "arn:aws:{}:eu-central-1:123456789012:{}"
KEY = ARN.format("kms", "key/12345678-1234-1234-1234-123456789012")


def everything(store: str = "ssm") -> list[dict[str, Any]]:
    """A service whose roles have all statements that are made of declarations."""
    options = {"awslogs-group": "/ecs/vault", "awslogs-region": "eu-central-1"}
    secrets = [ARN.format("secretsmanager", "secret:vault-AbCdEf"), "/vault/url"]
    container = {
        "name": "api",
        "image": f"{REGISTRY}/vault:1",
        "secrets": [{"name": f"SECRET_{number}", "valueFrom": value} for number, value in enumerate(secrets)],
        "logConfiguration": {"logDriver": "awslogs", "options": options},
    }
    role = "arn:aws:iam::123456789012:role/vault-"
    task = {"executionRoleArn": f"{role}execution", "taskRoleArn": f"{role}task", "containerDefinitions": [container]}
    declared = {
        "name": "vault",
        "task": task,
        "service": {
            "launchType": "FARGATE",
            "enableExecuteCommand": True,
            "networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-1"]}},
            "loadBalancers": [{"targetGroupArn": ARN.format("elasticloadbalancing", "targetgroup/vault/0123")}],
        },
        "port": 8080,
        "legacy": {"service": "old-vault"},
        "upstreams": ["vault"],
        "roles": ["execution", "task"],
        "access": {"consumes": ["audit"], "publishes": [ARN.format("sns", "audit")]},
        "scaling": {"min": 1, "max": 2},
        "build": {"path": "."},
    }
    place = SecretsPlace(store, "/shop", KEY)
    return managed_roles(
        [declared], PLACE, "deployer", kms_keys=[KEY], secrets=place, canary="inside", urls_parameter="/shop/urls"
    )


@pytest.mark.parametrize("name", ["vault-execution", "vault-task", "deployer"])
def test_policies_of_the_role_ecs(name: str) -> None:
    (role,) = [role for role in everything() if role["name"] == name]
    assert role["policy"]["Statement"]
    assert findings(role["policy"]) == []


def test_the_deployer_that_moves_secrets_to_secrets_manager() -> None:
    (role,) = [role for role in everything("secretsmanager") if role["name"] == "deployer"]
    assert "StoreSecrets" in [each["Sid"] for each in role["policy"]["Statement"]]
    assert findings(role["policy"]) == []


def test_each_exception_is_needed() -> None:
    used = {action for role in everything() for each in role["policy"]["Statement"] for action in each["Action"]}
    assert {*NEWER_THAN_THE_DATA, *ON_EVERYTHING} <= used


def test_the_policy_for_secrets_that_were_moved() -> None:
    wish = SecretsWish(PLACE.cluster, PLACE.account, PLACE.region, "ssm", "/shop", kms_key=KEY)
    arns = [ARN.format("ssm", "parameter/shop/url"), ARN.format("secretsmanager", "secret:shop-AbCdEf")]
    document = policy(arns, wish, {})
    assert {action for each in document["Statement"] for action in each["Action"]} == {
        "kms:Decrypt",
        "secretsmanager:GetSecretValue",
        "ssm:GetParameters",
    }
    assert findings(document) == []


def test_the_policy_of_the_role_queue() -> None:
    known = yaml.safe_load((ROLES / "queue/vars/main.yml").read_text())["_queue_from_topic"]
    queue, topic = ARN.format("sqs", "audit"), ARN.format("sns", "audit")
    statements = json.loads(
        json.dumps(known).replace("{{ _queue_arn }}", queue).replace("{{ _queue_topic_arn }}", topic)
    )
    assert "{{" not in str(statements)
    assert findings({"Version": "2012-10-17", "Statement": statements}) == []


def test_what_is_wrong_is_found() -> None:
    wide = {"Effect": "Allow", "Action": ["sqs:SendMessage", "ec2:DescribeVpcs"], "Resource": "*"}
    wrong = {"Effect": "Allow", "Action": "sqs:SendMesage", "Resource": ARN.format("sqs", "audit")}
    found = findings({"Version": "2012-10-17", "Statement": [wide, wrong]})
    assert "sqs:SendMessage on *, and AWS knows a narrower resource" in found
    assert any("UNKNOWN_ACTION" in each and "SendMesage" in each for each in found)
    assert not any("DescribeVpcs" in each for each in found)
