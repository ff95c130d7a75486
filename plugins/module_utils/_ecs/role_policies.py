# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Least-privilege IAM policies of the roles around services on ECS, made from the declared services.

A declared service has `name`, `task` and `service` with AWS's names, `images` by container, `scaling`, `build`,
`legacy` and `upstreams`, and `access` of its task role.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .deployer_policy import (
    SecretsPlace,
    allow_canary,
    allow_cutover,
    allow_deployment,
    allow_moving_secrets,
    allow_setting_urls,
)
from .policy_statements import (
    ROLE_SETTINGS,
    TASKS,
    VERSION,
    ClusterPlace,
    Service,
    Statements,
    log_groups_of,
    repositories_of,
    secrets_of,
)

POLICY = "evenkeel-ecs"


@dataclass
class ManagedRole:
    """A role that is created and kept; `services` use it."""

    name: str
    path: str
    trust: dict[str, Any]
    statements: Statements = field(default_factory=Statements)
    services: list[str] = field(default_factory=list)

    def result(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "path": self.path,
            "trust": self.trust,
            "policy_name": POLICY,
            "policy": self.statements.document(),
        }


def managed_roles(
    services: Sequence[Service],
    place: ClusterPlace,
    deployer: str = "",
    deployer_trust: Mapping[str, Any] | None = None,
    kms_keys: Sequence[str] = (),
    secrets: SecretsPlace | None = None,
    canary: str = "",
    urls_parameter: str = "",
) -> list[dict[str, Any]]:
    """The execution and task roles that services declare as their own in `roles`, and the deployer's.

    With `secrets`, the deployer may also move secrets there, for which it changes policies of execution roles. `canary`
    is the load balancer whose weights it may set, `urls_parameter` that in which it sets the URLs of gateways on EC2.
    """
    roles: dict[str, ManagedRole] = {}
    for service in services:
        for kind in service.get("roles") or []:
            arn = str((service.get("task") or {}).get(ROLE_SETTINGS[kind], ""))
            path, name = path_and_name(arn)
            role = roles.setdefault(name, ManagedRole(name, path, tasks_trust(place)))
            role.services.append(str(service["name"]))
            if kind == "execution":
                allow_execution(role.statements, service, place, kms_keys)
            else:
                allow_task(role.statements, service, place, kms_keys)
    if deployer:
        role = ManagedRole(deployer, "/", dict(deployer_trust or {}) or account_trust(place))
        for service in services:
            allow_deployment(role.statements, service, place, deployer)
        allow_cutover(role.statements, services, place)
        allow_canary(role.statements, services, place, canary)
        allow_setting_urls(role.statements, urls_parameter, place)
        if secrets:
            allow_moving_secrets(role.statements, services, place, secrets)
        roles[deployer] = role
    return [role.result() for role in roles.values()]


def path_and_name(role: str) -> tuple[str, str]:
    """Of a role that is given by its ARN or its name."""
    resource = role.rpartition(":role")[2] if role.startswith("arn:") else f"/{role}"
    path, _slash, name = resource.rpartition("/")
    return f"{path}/", name


def tasks_trust(place: ClusterPlace) -> dict[str, Any]:
    """Only tasks of this account and region may use the role."""
    return {
        "Version": VERSION,
        "Statement": [
            {
                "Effect": "Allow",
                "Action": "sts:AssumeRole",
                "Principal": {"Service": TASKS},
                "Condition": {
                    "StringEquals": {"aws:SourceAccount": place.account},
                    "ArnLike": {"aws:SourceArn": place.arn("ecs", "*")},
                },
            }
        ],
    }


def account_trust(place: ClusterPlace) -> dict[str, Any]:
    """Users and roles of the account that are allowed to assume the role."""
    root = place.arn("iam", "root", region="")
    return {
        "Version": VERSION,
        "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": root}}],
    }


def allow_execution(allowed: Statements, service: Service, place: ClusterPlace, kms_keys: Sequence[str]) -> None:
    """What ECS does before the task's containers run: pull, log, and read secrets."""
    repositories = list(repositories_of(service))
    allowed.allow("LogInToRegistries", ["ecr:GetAuthorizationToken"], ["*"] if repositories else [])
    allowed.allow("PullImages", ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"], repositories)
    streams = [f"{arn}:log-stream:*" for arn in log_groups_of(service, place)]
    allowed.allow("WriteLogs", ["logs:CreateLogStream", "logs:PutLogEvents"], streams)
    creating = log_groups_of(service, place, creating=True)
    allowed.allow("CreateLogGroups", ["logs:CreateLogGroup"], creating)
    secrets, parameters = secrets_of(service, place)
    allowed.allow("ReadSecrets", ["secretsmanager:GetSecretValue"], secrets)
    allowed.allow("ReadParameters", ["ssm:GetParameters"], parameters)
    allowed.allow("DecryptSecrets", ["kms:Decrypt"], kms_keys if secrets or parameters else [])


def allow_task(allowed: Statements, service: Service, place: ClusterPlace, kms_keys: Sequence[str]) -> None:
    """What the containers themselves do."""
    access: Mapping[str, Any] = service.get("access") or {}
    queues = [place.named("sqs", name) for name in access.get("consumes") or []]
    topics = [place.named("sns", name) for name in access.get("publishes") or []]
    allowed.allow(
        "ConsumeQueues",
        ["sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"],
        queues,
    )
    allowed.allow("PublishToTopics", ["sns:Publish"], topics)
    allowed.allow("UseKeys", ["kms:Decrypt", "kms:GenerateDataKey"], kms_keys if queues or topics else [])
    allowed.add(access.get("statements") or [])
    exec_enabled = bool((service.get("service") or {}).get("enableExecuteCommand"))
    allowed.allow(
        "RunCommands",
        [
            "ssmmessages:CreateControlChannel",
            "ssmmessages:CreateDataChannel",
            "ssmmessages:OpenControlChannel",
            "ssmmessages:OpenDataChannel",
        ],
        ["*"] if exec_enabled else [],
    )
