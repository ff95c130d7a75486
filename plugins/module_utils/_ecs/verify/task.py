# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the images, the secrets, the log groups and the roles of a task definition exist."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from ..._aws.api import RefusedError
from ..images import LATEST, Reference, images_of, tags_there
from .findings import Clients, Declared, Finding

ARCHITECTURES = {"X86_64": "amd64", "ARM64": "arm64"}
INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
MANIFESTS = (
    *INDEXES,
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
# arn:aws:secretsmanager:region:account:secret:name-6chars[:json-key:version-stage:version-id]
SECRET = re.compile(r"(arn:[\w-]+:secretsmanager:([\w-]+):\d+:secret:[^:]+)(?::([^:]*))?")
PARAMETER = re.compile(r"arn:[\w-]+:ssm:([\w-]+):\d+:parameter(/.+)")
TASKS = "ecs-tasks.amazonaws.com"


def containers(declared: Declared) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = declared["task"].get("containerDefinitions", [])
    return found


def images(declared: Declared, clients: Clients) -> Iterator[Finding]:
    """Of images in ECR, whether they exist and, of those for several platforms, whether one fits."""
    wanted = ARCHITECTURES.get(declared["task"].get("runtimePlatform", {}).get("cpuArchitecture", "X86_64"), "")
    for container, image in images_of(declared["task"], {}).items():
        reference = Reference.of(image)
        if not reference.in_ecr:
            continue
        by = {"imageDigest": reference.digest} if reference.digest else {"imageTag": reference.tag or LATEST}
        try:
            said = clients("ecr", reference.region).call(
                "BatchGetImage",
                f"the repository {reference.path}",
                registryId=reference.account,
                repositoryName=reference.path,
                imageIds=[by],
                acceptedMediaTypes=list(MANIFESTS),
            )
        except RefusedError as error:
            if error.code != "RepositoryNotFoundException":
                raise
            yield Finding(f"container {container}", f"there is no repository {reference.path}", "Create it.")
            continue
        if not said["images"]:
            yield Finding(
                f"container {container}",
                f"the image {image} does not exist",
                f"Push it, or correct its name.{tags_there(clients('ecr', reference.region), reference)}",
                missing=f"image {image}",
            )
            continue
        platforms = _platforms(said["images"][0].get("imageManifest", ""))
        if platforms and wanted and f"linux/{wanted}" not in platforms:
            yield Finding(
                f"container {container}",
                f"the image {image} is for {', '.join(sorted(platforms))}, and the task runs on linux/{wanted}",
                "Build it for that platform too, or set runtimePlatform.cpuArchitecture.",
            )


def _platforms(manifest: str) -> set[str]:
    """The platforms of an index; empty for a single manifest, which does not name its own."""
    described = json.loads(manifest) if manifest else {}
    if described.get("mediaType") not in INDEXES and "manifests" not in described:
        return set()
    found = (one.get("platform", {}) for one in described["manifests"])
    return {f"{one.get('os')}/{one.get('architecture')}" for one in found if one.get("os") != "unknown"}


def secrets(declared: Declared, clients: Clients) -> Iterator[Finding]:
    """Whether each secret and parameter exists, with the JSON key that is asked of it. No value is kept or shown."""
    for container in containers(declared):
        logged = container.get("logConfiguration", {}).get("secretOptions", [])
        for secret in (*container.get("secrets", []), *logged):
            subject = f"container {container['name']}, secret {secret['name']}"
            match = SECRET.match(secret.get("valueFrom", ""))
            if match:
                yield from _secret(subject, match[1], match[2], match[3] or "", clients)
            else:
                yield from _parameter(subject, secret.get("valueFrom", ""), clients)


def _secret(subject: str, arn: str, region: str, key: str, clients: Clients) -> Iterator[Finding]:
    api = clients("secretsmanager", region)
    try:
        described = api.call("DescribeSecret", arn, SecretId=arn)
        if described.get("DeletedDate"):
            yield Finding(subject, f"{arn} is scheduled for deletion", "Restore it with RestoreSecret.")
            return
        text = api.call("GetSecretValue", arn, SecretId=arn).get("SecretString", "") if key else ""
    except RefusedError as error:
        if error.code != "ResourceNotFoundException":
            raise
        yield Finding(subject, f"the secret {arn} does not exist, or has no value", "Create it, or correct valueFrom.")
        return
    if not key:
        return
    try:
        there = json.loads(text)
    except ValueError:
        there = None
    if not isinstance(there, dict) or key not in there:
        yield Finding(subject, f"the secret {arn} has no JSON key {key}", "Add the key, or correct valueFrom.")


def _parameter(subject: str, name: str, clients: Clients) -> Iterator[Finding]:
    match = PARAMETER.fullmatch(name)
    api = clients("ssm", match[1] if match else "")
    # The ARN of a parameter without a path has a slash that its name does not have.
    plain = (match[2] if match[2].count("/") > 1 else match[2][1:]) if match else name
    if api.call("GetParameters", plain, Names=[plain], WithDecryption=False)["InvalidParameters"]:
        yield Finding(subject, f"the parameter {plain} does not exist", "Create it, or correct valueFrom.")


def log_groups(declared: Declared, clients: Clients) -> Iterator[Finding]:
    for container in containers(declared):
        configuration = container.get("logConfiguration", {})
        options = configuration.get("options", {})
        if configuration.get("logDriver") != "awslogs" or str(options.get("awslogs-create-group")).lower() == "true":
            continue
        group = options.get("awslogs-group", "")
        listed = clients("logs", options.get("awslogs-region", "")).pages(
            "DescribeLogGroups", f"the log group {group}", "logGroups", logGroupNamePrefix=group
        )
        if group not in [one["logGroupName"] for one in listed]:
            yield Finding(
                f"container {container['name']}",
                f"the log group {group} does not exist",
                "Create it with log_group.",
                missing=f"log group {group}",
            )


def roles(declared: Declared, clients: Clients) -> Iterator[Finding]:
    """Whether the roles exist, trust ECS tasks, and may be passed by these credentials."""
    given = {name: declared["task"].get(name) for name in ("executionRoleArn", "taskRoleArn")}
    for subject, arn in given.items():
        if not arn:
            continue
        name = arn.rpartition("/")[2]
        try:
            role = clients("iam").call("GetRole", arn, RoleName=name)["Role"]
        except RefusedError as error:
            if error.code != "NoSuchEntity":
                raise
            yield Finding(subject, f"the role {arn} does not exist", "Create it, or correct the name.")
            continue
        if not _trusts(role.get("AssumeRolePolicyDocument", {})):
            yield Finding(subject, f"the role {name} does not trust {TASKS}", "Add it to the role's trust policy.")
        if not _may_pass(role["Arn"], clients):
            yield Finding(
                subject, f"these credentials may not pass the role {name}", f"Allow iam:PassRole on {role['Arn']}."
            )


def _trusts(policy: Mapping[str, Any]) -> bool:
    statements = policy.get("Statement", [])
    for statement in [statements] if isinstance(statements, dict) else statements:
        principal = statement.get("Principal", {})
        services = principal.get("Service", []) if isinstance(principal, dict) else principal
        if statement.get("Effect") == "Allow" and (
            TASKS in services if isinstance(services, list) else services == TASKS
        ):
            return True
    return False


def _may_pass(role: str, clients: Clients) -> bool:
    """By the policy simulator. Of a session, its role is asked."""
    caller = clients("sts").call("GetCallerIdentity", "these credentials")["Arn"]
    if caller.endswith(":root"):
        return True
    session = re.fullmatch(r"arn:[\w-]+:sts::\d+:assumed-role/([^/]+)/.*", caller)
    # The role's path is not in the ARN of a session.
    source = clients("iam").call("GetRole", session[1], RoleName=session[1])["Role"]["Arn"] if session else caller
    said = clients("iam").call(
        "SimulatePrincipalPolicy",
        source,
        PolicySourceArn=source,
        ActionNames=["iam:PassRole"],
        ResourceArns=[role],
        ContextEntries=[
            {"ContextKeyName": "iam:PassedToService", "ContextKeyValues": [TASKS], "ContextKeyType": "string"}
        ],
    )
    return all(one["EvalDecision"] == "allowed" for one in said["EvaluationResults"])
