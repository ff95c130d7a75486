# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Least-privilege IAM policies of the roles around services on ECS, made from the declared services.

A declared service has `name`, `task` and `service` with AWS's names, `images` by container, `scaling`, `build`, and
`access` of its task role. Which resources an action takes is from the Service Authorization Reference of AWS.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .._aws.partitions import partition_of
from .images import Reference, images_of

Service = Mapping[str, Any]
VERSION = "2012-10-17"
TASKS = "ecs-tasks.amazonaws.com"
POLICY = "evenkeel-ecs"
# By the name of the entry in `roles` of a service.
ROLE_SETTINGS = {"execution": "executionRoleArn", "task": "taskRoleArn"}
# arn:aws:secretsmanager:region:account:secret:name-6chars[:json-key:version-stage:version-id]
SECRET = re.compile(r"(arn:[\w-]+:secretsmanager:[\w-]+:\d+:secret:[^:]+)(?::([^:]*))?")


@dataclass(frozen=True)
class ClusterPlace:
    """Where the services run: the names of the cluster and the region, and the account's twelve digits."""

    cluster: str
    region: str
    account: str

    def arn(self, service: str, resource: str, region: str | None = None) -> str:
        where = self.region if region is None else region
        return f"arn:{partition_of(self.region)}:{service}:{where}:{self.account}:{resource}"

    def named(self, service: str, name: str) -> str:
        """The ARN of what is given by its name or its ARN."""
        return name if name.startswith("arn:") else self.arn(service, name)

    def role(self, name: str) -> str:
        """The ARN of a role that is given by its name or its ARN."""
        return name if name.startswith("arn:") else self.arn("iam", f"role/{name}", region="")


@dataclass
class Statements:
    """Statements of a policy by Sid. Resources of one Sid are collected."""

    found: dict[str, dict[str, Any]] = field(default_factory=dict)

    def allow(
        self, sid: str, actions: Sequence[str], resources: Iterable[str], condition: Mapping[str, Any] | None = None
    ) -> None:
        """Nothing where there are no resources."""
        wanted = list(dict.fromkeys(resources))
        if not wanted:
            return
        statement = self.found.setdefault(sid, {"Sid": sid, "Effect": "Allow", "Action": list(actions), "Resource": []})
        statement["Resource"] += [resource for resource in wanted if resource not in statement["Resource"]]
        if condition:
            statement["Condition"] = dict(condition)

    def add(self, statements: Iterable[Mapping[str, Any]]) -> None:
        """Statements as IAM has them; each once."""
        for statement in statements:
            if statement not in self.found.values():
                self.found[f"own {len(self.found)}"] = dict(statement)

    def document(self) -> dict[str, Any]:
        return {"Version": VERSION, "Statement": list(self.found.values())}


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
) -> list[dict[str, Any]]:
    """The execution and task roles that services declare as their own in `roles`, and the deployer's."""
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


def allow_deployment(allowed: Statements, service: Service, place: ClusterPlace, deployer: str) -> None:
    """What the modules do that deploy the service, and no more."""
    _allow_reading(allowed, service, place, deployer)
    name = str(service["name"])
    task: Mapping[str, Any] = service.get("task") or {}
    family = str(task.get("family") or name)
    own = place.arn("ecs", f"service/{place.cluster}/{name}")
    tasks = place.arn("ecs", f"task/{place.cluster}/*")
    definitions = place.arn("ecs", f"task-definition/{family}:*")
    # AWS knows no narrower resource for these; iam:PassRole limits what can be registered.
    allowed.allow("RegisterTaskDefinitions", ["ecs:DeregisterTaskDefinition", "ecs:RegisterTaskDefinition"], ["*"])
    allowed.allow("ChangeServices", ["ecs:CreateService", "ecs:UpdateService"], [own])
    deployments = place.arn("ecs", f"service-deployment/{place.cluster}/{name}/*")
    allowed.allow("StopDeployments", ["ecs:StopServiceDeployment"], [deployments])
    allowed.allow("TagServices", ["ecs:TagResource", "ecs:UntagResource"], [own, definitions])
    allowed.allow("RunTasks", ["ecs:RunTask"], [definitions])
    allowed.allow("StopTasks", ["ecs:StopTask"], [tasks])
    passed = [place.role(name) for name in roles_of(service)]
    allowed.allow("PassRoles", ["iam:PassRole"], passed, {"StringEquals": {"iam:PassedToService": TASKS}})
    targets = [place.arn("application-autoscaling", "scalable-target/*")] if service.get("scaling") else []
    allowed.allow(
        "ScaleServices",
        [
            "application-autoscaling:DeleteScalingPolicy",
            "application-autoscaling:ListTagsForResource",
            "application-autoscaling:PutScalingPolicy",
            "application-autoscaling:RegisterScalableTarget",
            "application-autoscaling:TagResource",
            "application-autoscaling:UntagResource",
        ],
        targets,
    )
    groups = log_groups_of(service, place)
    allowed.allow(
        "ChangeLogGroups", ["logs:CreateLogGroup", "logs:DeleteRetentionPolicy", "logs:PutRetentionPolicy"], groups
    )
    if service.get("build"):
        repositories = list(repositories_of(service))
        allowed.allow("LogInToRegistries", ["ecr:GetAuthorizationToken"], ["*"] if repositories else [])
        allowed.allow(
            "PushImages",
            [
                "ecr:BatchCheckLayerAvailability",
                "ecr:CompleteLayerUpload",
                "ecr:InitiateLayerUpload",
                "ecr:PutImage",
                "ecr:UploadLayerPart",
            ],
            repositories,
        )


def _allow_reading(allowed: Statements, service: Service, place: ClusterPlace, deployer: str) -> None:
    name = str(service["name"])
    everywhere = ["*"]
    settings: Mapping[str, Any] = service.get("service") or {}
    allowed.allow(
        "LookAtTaskDefinitions",
        [
            "ecs:DescribeTaskDefinition",
            "ecs:ListClusters",
            "ecs:ListServices",
            "ecs:ListTaskDefinitions",
            "ecs:ListTasks",
        ],
        everywhere,
    )
    allowed.allow("LookAtClusters", ["ecs:DescribeClusters"], [place.arn("ecs", f"cluster/{place.cluster}")])
    # A revision is in use wherever a service or a task runs it.
    allowed.allow(
        "LookAtServices",
        ["ecs:DescribeServices", "ecs:DescribeTasks"],
        [place.arn("ecs", "service/*"), place.arn("ecs", "task/*")],
    )
    allowed.allow(
        "LookAtDeployments",
        ["ecs:DescribeServiceDeployments", "ecs:DescribeServiceRevisions", "ecs:ListServiceDeployments"],
        [
            place.arn("ecs", f"{kind}/{place.cluster}/{name}{rest}")
            for kind, rest in (("service", ""), ("service-deployment", "/*"), ("service-revision", "/*"))
        ],
    )
    allowed.allow("LookAtImages", ["ecr:BatchGetImage", "ecr:DescribeImages"], repositories_of(service))
    secrets, parameters = secrets_of(service, place)
    allowed.allow("LookAtSecrets", ["secretsmanager:DescribeSecret"], secrets)
    # To see whether the JSON keys exist that containers ask for.
    keyed, _none = secrets_of(service, place, keyed=True)
    allowed.allow("ReadKeysOfSecrets", ["secretsmanager:GetSecretValue"], keyed)
    allowed.allow("LookAtParameters", ["ssm:GetParameters"], parameters)
    groups = log_groups_of(service, place)
    allowed.allow("LookAtLogGroups", ["logs:DescribeLogGroups"], everywhere if groups else [])
    allowed.allow("ReadLogs", ["logs:GetLogEvents"], [f"{arn}:log-stream:*" for arn in groups])
    named = [place.role(name) for name in roles_of(service)]
    own = place.role(deployer)
    allowed.allow("LookAtRoles", ["iam:GetRole"], [*named, own] if named else [])
    allowed.allow("CheckPassRole", ["iam:SimulatePrincipalPolicy"], [own] if named else [])
    networked = settings.get("networkConfiguration") or {}
    allowed.allow(
        "LookAtNetwork",
        ["ec2:DescribeRouteTables", "ec2:DescribeSecurityGroups", "ec2:DescribeSubnets", "ec2:DescribeVpcEndpoints"],
        everywhere if networked else [],
    )
    allowed.allow(
        "LookAtTargetGroups",
        ["elasticloadbalancing:DescribeLoadBalancers", "elasticloadbalancing:DescribeTargetGroups"],
        everywhere if settings.get("loadBalancers") else [],
    )
    allowed.allow(
        "LookAtScaling",
        ["application-autoscaling:DescribeScalableTargets", "application-autoscaling:DescribeScalingPolicies"],
        everywhere,
    )


def repositories_of(service: Service) -> Iterator[str]:
    """ARNs of the repositories in Amazon ECR, also in other accounts and regions."""
    for image in images_of(service.get("task") or {}, service.get("images") or {}).values():
        reference = Reference.of(image)
        if reference.in_ecr:
            partition = partition_of(reference.region)
            yield f"arn:{partition}:ecr:{reference.region}:{reference.account}:repository/{reference.path}"


def roles_of(service: Service) -> list[str]:
    """The roles that the task definition names, by ARN or name."""
    task: Mapping[str, Any] = service.get("task") or {}
    return list(dict.fromkeys(str(task[key]) for key in ROLE_SETTINGS.values() if task.get(key)))


def log_options_of(service: Service) -> Iterator[Mapping[str, Any]]:
    """The options of the containers that log to CloudWatch Logs."""
    for container in (service.get("task") or {}).get("containerDefinitions") or []:
        configuration = container.get("logConfiguration") or {}
        options = configuration.get("options") or {}
        if configuration.get("logDriver") == "awslogs" and options.get("awslogs-group"):
            yield options


def log_groups_of(service: Service, place: ClusterPlace, creating: bool = False) -> list[str]:
    """ARNs of the log groups of the containers; `creating`: of those that they create themselves."""
    return [
        place.arn("logs", f"log-group:{options['awslogs-group']}", options.get("awslogs-region"))
        for options in log_options_of(service)
        if not creating or str(options.get("awslogs-create-group")).lower() == "true"
    ]


def secrets_of(service: Service, place: ClusterPlace, keyed: bool = False) -> tuple[list[str], list[str]]:
    """ARNs of secrets and of parameters that containers get; `keyed`: of secrets of which a JSON key is asked."""
    secrets, parameters = [], []
    for container in (service.get("task") or {}).get("containerDefinitions") or []:
        logged = (container.get("logConfiguration") or {}).get("secretOptions") or []
        for one in (*(container.get("secrets") or []), *logged):
            source = str(one.get("valueFrom", ""))
            match = SECRET.match(source)
            if match and (match[2] or not keyed):
                secrets.append(match[1])
            elif not match:
                parameters.append(source if source.startswith("arn:") else _parameter(source, place))
    return secrets, parameters


def _parameter(name: str, place: ClusterPlace) -> str:
    return place.arn("ssm", f"parameter/{name.lstrip('/')}")
