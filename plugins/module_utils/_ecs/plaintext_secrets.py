# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets that stand as plain text in task definitions that run: find them, store them, and refer to them.

No value leaves this module but to the store.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .._aws.api import Api, RefusedError
from .._aws.partitions import partition_of
from .._common.progress import OperationError, Progress
from .._common.secrecy import is_secret
from .revisions import Wanted, ensure

NO_PARAMETER, NO_SECRET = "ParameterNotFound", "ResourceNotFoundException"
NO_POLICY = "NoSuchEntity"
# What DescribeTaskDefinition has, and RegisterTaskDefinition does not take.
READ_ONLY = (
    "taskDefinitionArn",
    "revision",
    "status",
    "requiresAttributes",
    "compatibilities",
    "registeredAt",
    "registeredBy",
    "deregisteredAt",
)
POLICY_NAME = "evenkeel-moved-secrets"
Clients = Callable[[str], Api]


@dataclass(frozen=True)
class SecretsWish:
    """store: ssm or secretsmanager. path: what the names begin with. moved and kept are variables."""

    cluster: str
    account: str
    region: str
    store: str
    path: str
    moved: Sequence[str] = ()
    kept: Sequence[str] = ()
    kms_key: str = ""


@dataclass(frozen=True)
class PlaintextSecret:
    """A variable of a container that is a secret. `value` is never shown."""

    service: str
    container: str
    variable: str
    name: str
    value: str = field(repr=False)


@dataclass
class SecretsReport(Progress):
    """The result of a call so far."""

    changed: bool = False
    secrets: list[dict[str, str]] = field(default_factory=list)
    task_definitions: dict[str, str] = field(default_factory=dict)

    def result(self) -> dict[str, Any]:
        return {
            "changed": self.changed,
            "secrets": self.secrets,
            "task_definitions": self.task_definitions,
            "progress": self.progress,
        }


def plaintext(service: str, definition: Mapping[str, Any], wish: SecretsWish) -> Iterator[PlaintextSecret]:
    """The secrets among the environment variables of all containers."""
    for container in definition["containerDefinitions"]:
        for pair in container.get("environment") or []:
            name, value = str(pair["name"]), str(pair.get("value") or "")
            if value and name not in wish.kept and (name in wish.moved or is_secret(name, value)):
                yield PlaintextSecret(service, container["name"], name, f"{wish.path}/{service}/{name}", value)


def without(definition: Mapping[str, Any], arns: Mapping[tuple[str, str], str]) -> dict[str, Any]:
    """The definition with references in place of values; `arns` by container and variable."""
    found = {key: value for key, value in definition.items() if key not in READ_ONLY}
    found["containerDefinitions"] = [_referring(container, arns) for container in definition["containerDefinitions"]]
    return found


def _referring(container: Mapping[str, Any], arns: Mapping[tuple[str, str], str]) -> dict[str, Any]:
    ours = {variable: arn for (name, variable), arn in arns.items() if name == container["name"]}
    if not ours:
        return dict(container)
    plain = [pair for pair in container.get("environment") or [] if pair["name"] not in ours]
    stored = [*(container.get("secrets") or []), *({"name": name, "valueFrom": arn} for name, arn in ours.items())]
    return {**container, "environment": plain, "secrets": stored}


class Store:
    """Parameters of SSM or secrets of Secrets Manager, by their names."""

    def __init__(self, clients: Clients, wish: SecretsWish) -> None:
        self._wish = wish
        self._ssm = wish.store == "ssm"
        self._api = clients(wish.store)

    def arn(self, name: str) -> str:
        """The ARN that containers refer to; of a secret, "" where it does not exist."""
        if self._ssm:
            place = f"{self._wish.region}:{self._wish.account}"
            return f"arn:{partition_of(self._wish.region)}:ssm:{place}:parameter/{name.lstrip('/')}"
        try:
            return str(self._api.call("DescribeSecret", f"the secret {name}", SecretId=name)["ARN"])
        except RefusedError as error:
            if error.code == NO_SECRET:
                return ""
            raise

    def value(self, name: str) -> str | None:
        """None where there is none of this name."""
        try:
            if self._ssm:
                said = self._api.call("GetParameter", f"the parameter {name}", Name=name, WithDecryption=True)
                return str(said["Parameter"]["Value"])
            return str(self._api.call("GetSecretValue", f"the secret {name}", SecretId=name).get("SecretString", ""))
        except RefusedError as error:
            if error.code in (NO_PARAMETER, NO_SECRET):
                return None
            raise

    def put(self, name: str, value: str) -> str:
        """Create it; the ARN. It overwrites nothing."""
        key = {"KeyId" if self._ssm else "KmsKeyId": self._wish.kms_key} if self._wish.kms_key else {}
        if self._ssm:
            about = f"the parameter {name}"
            self._api.call("PutParameter", about, Name=name, Value=value, Type="SecureString", Overwrite=False, **key)
            return self.arn(name)
        return str(self._api.call("CreateSecret", f"the secret {name}", Name=name, SecretString=value, **key)["ARN"])


def move(
    definitions: Mapping[str, Mapping[str, Any]],
    wish: SecretsWish,
    clients: Clients,
    report: SecretsReport,
    check: bool,
) -> None:
    """Store the secrets of the definitions, by service, and register revisions that refer to them.

    OperationError before anything changes, where one of the names has another value already.
    """
    found = {name: list(plaintext(name, definition, wish)) for name, definition in definitions.items()}
    secrets = [one for some in found.values() for one in some]
    if not secrets:
        return
    store = Store(clients, wish)
    stored = {one.name: store.value(one.name) for one in secrets}
    _refuse_two_values(secrets, stored)
    _refuse_no_execution_role([name for name, some in found.items() if some], definitions)
    for one in secrets:
        if stored[one.name] is None:
            report.changed = True
            if not check:
                store.put(one.name, one.value)
                stored[one.name] = one.value
            report.note(f"{one.service}: {one.variable} is stored as {one.name}")
    for name, some in found.items():
        if not some:
            continue
        arns = {(one.container, one.variable): store.arn(one.name) or one.name for one in some}
        report.secrets += [
            {"service": name, "container": container, "variable": variable, "value_from": arn}
            for (container, variable), arn in arns.items()
        ]
        _allow(clients, definitions[name]["executionRoleArn"], sorted(set(arns.values())), wish, report, check)
        _register(clients("ecs"), name, without(definitions[name], arns), report, check)


def _refuse_two_values(secrets: Sequence[PlaintextSecret], stored: Mapping[str, str | None]) -> None:
    values: dict[str, str] = {}
    wrong = []
    for one in secrets:
        there = stored[one.name]
        if (there is not None and there != one.value) or values.setdefault(one.name, one.value) != one.value:
            wrong.append(one.name)
    if wrong:
        raise OperationError(
            f"Nothing was changed: {', '.join(dict.fromkeys(wrong))} has another value than the task definition. "
            "Delete it, or set another path."
        )


def _refuse_no_execution_role(names: Sequence[str], definitions: Mapping[str, Mapping[str, Any]]) -> None:
    without_role = [name for name in names if not definitions[name].get("executionRoleArn")]
    if without_role:
        raise OperationError(
            f"Nothing was changed: the task definition of {', '.join(without_role)} has no execution role, which reads "
            "the secrets. Declare executionRoleArn, and deploy that first."
        )


def _allow(
    clients: Clients, role: str, arns: Sequence[str], wish: SecretsWish, report: SecretsReport, check: bool
) -> None:
    """The execution role may read these, and what this policy allowed before."""
    name = role.rpartition("/")[2]
    about = f"the role {name}"
    iam = clients("iam")
    try:
        before = iam.call("GetRolePolicy", about, RoleName=name, PolicyName=POLICY_NAME)["PolicyDocument"]
    except RefusedError as error:
        if error.code != NO_POLICY:
            raise
        before = {}
    document = policy(arns, wish, before if isinstance(before, Mapping) else json.loads(before))
    if document == before:
        return
    report.changed = True
    report.note(f"the role {name} may read {len(arns)} of them")
    if not check:
        iam.call("PutRolePolicy", about, RoleName=name, PolicyName=POLICY_NAME, PolicyDocument=json.dumps(document))


def policy(arns: Sequence[str], wish: SecretsWish, before: Mapping[str, Any]) -> dict[str, Any]:
    """The policy with these ARNs, and the ones that it has."""
    had = {resource for one in before.get("Statement", []) if one["Sid"] != "Decrypt" for resource in one["Resource"]}
    both = sorted({*had, *arns})
    kinds = {
        "ReadParameters": ("ssm:GetParameters", [arn for arn in both if ":ssm:" in arn]),
        "ReadSecrets": ("secretsmanager:GetSecretValue", [arn for arn in both if ":secretsmanager:" in arn]),
        "Decrypt": ("kms:Decrypt", [wish.kms_key] if wish.kms_key.startswith("arn:") else _keys(before)),
    }
    return {
        "Version": "2012-10-17",
        "Statement": [
            {"Sid": sid, "Effect": "Allow", "Action": [action], "Resource": resources}
            for sid, (action, resources) in kinds.items()
            if resources
        ],
    }


def _keys(before: Mapping[str, Any]) -> list[str]:
    return [key for one in before.get("Statement", []) if one["Sid"] == "Decrypt" for key in one["Resource"]]


def _register(ecs: Api, service: str, definition: dict[str, Any], report: SecretsReport, check: bool) -> None:
    outcome = ensure(ecs, Wanted(definition), check)
    report.task_definitions[service] = outcome.arn
    report.changed = report.changed or outcome.changed
    if outcome.registered:
        report.note(f"{service}: {outcome.arn.rpartition('/')[2] or 'a revision'} refers to them")
