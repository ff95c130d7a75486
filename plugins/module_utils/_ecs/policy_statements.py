# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""IAM policies, made of statements by Sid, and the ARNs of what declared services use.

A declared service has `name`, `task` and `service` with AWS's names, and `images` by container. Which resources an
action takes is from the Service Authorization Reference of AWS.
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
