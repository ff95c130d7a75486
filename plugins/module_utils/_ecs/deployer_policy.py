# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role of the deployer may call, made from the declared services: what the playbooks call, and no more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .policy_statements import (
    ROLE_SETTINGS,
    TASKS,
    ClusterPlace,
    Service,
    Statements,
    log_groups_of,
    repositories_of,
    roles_of,
    secrets_of,
)
from .probe import family_of
from .shorthand import group_name, legacy_group


@dataclass(frozen=True)
class SecretsPlace:
    """Where secrets go: store is `ssm` or `secretsmanager`, path what the names begin with, kms_key an ARN or ""."""

    store: str
    path: str
    kms_key: str = ""


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


def allow_cutover(allowed: Statements, services: Sequence[Service], place: ClusterPlace) -> None:
    """What ecs_cutover.yml does beside deployments, where services declare the ones that they replace."""
    replaced = [str((one.get("legacy") or {}).get("service") or "") for one in services]
    legacy = [place.arn("ecs", f"service/{place.cluster}/{name}") for name in replaced if name]
    if not legacy:
        return
    allowed.allow("RetireServices", ["ecs:TagResource", "ecs:UntagResource", "ecs:UpdateService"], legacy)
    targets = [place.arn("application-autoscaling", "scalable-target/*")]
    allowed.allow("SuspendScaling", ["application-autoscaling:RegisterScalableTarget"], targets)
    probes = [family_of(str(one["name"])) for one in services if one.get("upstreams")]
    allowed.allow("RunTasks", ["ecs:RunTask"], [place.arn("ecs", f"task-definition/{family}:*") for family in probes])
    allowed.allow("LookAtTargets", ["elasticloadbalancing:DescribeTargetHealth"], ["*"])
    # With a narrower resource, AWS hides composite alarms.
    allowed.allow("WatchRequests", ["cloudwatch:DescribeAlarms", "cloudwatch:GetMetricData"], ["*"])


def allow_canary(allowed: Statements, services: Sequence[Service], place: ClusterPlace, balancer: str) -> None:
    """What ecs_cutover.yml does with weights: the listeners of `balancer`, and target groups of legacy services."""
    names = [legacy_group(group_name(one, "")) for one in services if (one.get("legacy") or {}).get("service")]
    if not names or not balancer:
        return
    allowed.allow(
        "SplitConnections",
        ["elasticloadbalancing:ModifyListener"],
        [place.arn("elasticloadbalancing", f"listener/net/{balancer}/*/*")],
    )
    allowed.allow(
        "ChangeLegacyTargetGroups",
        [
            f"elasticloadbalancing:{name}"
            for name in (
                "AddTags",
                "CreateTargetGroup",
                "DeleteTargetGroup",
                "DeregisterTargets",
                "ModifyTargetGroup",
                "ModifyTargetGroupAttributes",
                "RegisterTargets",
                "RemoveTags",
            )
        ],
        [place.arn("elasticloadbalancing", f"targetgroup/{name}/*") for name in names],
    )
    looks = ["elasticloadbalancing:DescribeTags", "elasticloadbalancing:DescribeTargetGroupAttributes"]
    allowed.allow("LookAtLegacyTargetGroups", looks, ["*"])


def allow_setting_urls(allowed: Statements, parameter: str, place: ClusterPlace) -> None:
    """What ecs_cutover.yml does for gateways on EC2, beside their rollout, which the operators' policy allows."""
    arn = place.arn("ssm", f"parameter/{parameter.removeprefix('/')}")
    allowed.allow("SetGatewayUrls", ["ssm:GetParameter", "ssm:PutParameter"], [arn] if parameter else [])


def allow_moving_secrets(
    allowed: Statements, services: Sequence[Service], place: ClusterPlace, secrets: SecretsPlace
) -> None:
    """What ecs_secrets.yml does with the declared services."""
    names = [f"{secrets.path.strip('/')}/{one['name']}/*" for one in services]
    if secrets.store == "ssm":
        parameters = [place.arn("ssm", f"parameter/{name}") for name in names]
        allowed.allow("StoreParameters", ["ssm:GetParameter", "ssm:PutParameter"], parameters)
        uses = ["kms:Decrypt", "kms:Encrypt"]
    else:
        actions = [f"secretsmanager:{name}" for name in ("CreateSecret", "DescribeSecret", "GetSecretValue")]
        allowed.allow("StoreSecrets", actions, [place.arn("secretsmanager", f"secret:{name}") for name in names])
        uses = ["kms:Decrypt", "kms:GenerateDataKey"]
    allowed.allow("EncryptSecrets", uses, [secrets.kms_key] if secrets.kms_key else [])
    executing = [str((one.get("task") or {}).get(ROLE_SETTINGS["execution"]) or "") for one in services]
    roles = [place.role(name) for name in executing if name]
    allowed.allow("LetRolesReadSecrets", ["iam:GetRolePolicy", "iam:PutRolePolicy"], roles)


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
    balanced = bool(settings.get("loadBalancers"))
    allowed.allow(
        "LookAtTargetGroups",
        ["elasticloadbalancing:DescribeLoadBalancers", "elasticloadbalancing:DescribeTargetGroups"],
        everywhere if balanced else [],
    )
    # A service with a port is behind the internal load balancer.
    internal = balanced and service.get("port")
    allowed.allow("LookAtListeners", ["elasticloadbalancing:DescribeListeners"], everywhere if internal else [])
    allowed.allow(
        "LookAtScaling",
        ["application-autoscaling:DescribeScalableTargets", "application-autoscaling:DescribeScalingPolicies"],
        everywhere,
    )
