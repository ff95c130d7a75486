# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets of a container, from Secrets Manager and the Parameter Store."""

from __future__ import annotations

import json
import re
from typing import Any

from botocore.exceptions import ClientError

from .definition import CannotStartError, Definition
from .images import Clients

PULL = "ResourceInitializationError: unable to pull secrets or registry auth: "
SECRET = re.compile(r"(?P<arn>arn:aws:secretsmanager:[^:]+:\d{12}:secret:[^:]+)(?::(?P<rest>.*))?")
PARAMETER = re.compile(r"arn:aws:ssm:[^:]+:\d{12}:parameter(?P<path>/.+)")


def resolved(clients: Clients, container: Definition) -> dict[str, str]:
    """The container's secrets as environment variables. CannotStartError, without a value in it, for a missing one."""
    return {item["name"]: _value(clients, item["valueFrom"]) for item in container.get("secrets", [])}


def _value(clients: Clients, source: str) -> str:
    secret = SECRET.fullmatch(source)
    return _secret(clients, secret["arn"], secret["rest"] or "") if secret else _parameter(clients, source)


def _secret(clients: Clients, arn: str, rest: str) -> str:
    """rest: json-key:version-stage:version-id, each of which may be empty."""
    key, stage, version = (*rest.split(":"), "", "", "")[:3]
    wanted = {"VersionStage": stage, "VersionId": version}
    try:
        found = clients("secretsmanager").get_secret_value(
            SecretId=arn, **{name: value for name, value in wanted.items() if value}
        )
    except ClientError as error:
        raise CannotStartError(
            f"{PULL}execution resource retrieval failed: unable to retrieve secret from asm: service call has been "
            f"retried 1 time(s): failed to fetch secret {arn} from secrets manager: {_told(error)}"
        ) from None
    text = str(found["SecretString"])
    return text if not key else _member(text, key, arn)


def _member(text: str, key: str, arn: str) -> str:
    try:
        values: Any = json.loads(text)
    except ValueError:
        values = None
    if not isinstance(values, dict) or key not in values:
        raise CannotStartError(
            f"{PULL}execution resource retrieval failed: unable to retrieve secret from asm: service call has been "
            f"retried 1 time(s): retrieved secret from Secrets Manager did not contain json key {key} ({arn})"
        )
    return values[key] if isinstance(values[key], str) else json.dumps(values[key])


def _parameter(clients: Clients, source: str) -> str:
    """Of an ARN or a name. The ARN of a parameter without a path has a slash that its name does not have."""
    given = PARAMETER.fullmatch(source)
    name = (given["path"] if given["path"].count("/") > 1 else given["path"][1:]) if given else source
    failed = f"{PULL}execution resource retrieval failed: unable to retrieve secrets from ssm: "
    try:
        found = clients("ssm").get_parameters(Names=[name], WithDecryption=True)
    except ClientError as error:
        raise CannotStartError(f"{failed}service call has been retried 1 time(s): {_told(error)}") from None
    if not found["Parameters"]:
        raise CannotStartError(f"{failed}service call has been retried 1 time(s): invalid parameters: {name}")
    return str(found["Parameters"][0]["Value"])


def _told(error: ClientError) -> str:
    return f"{error.response['Error']['Code']}: {error.response['Error'].get('Message', '')}"
