# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets Manager and SSM Parameter Store, with errors that name the remedy."""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from evenkeel_gateway.secrets import SecretError

if TYPE_CHECKING:
    from collections.abc import Iterator

_HINTS = {
    "AccessDeniedException": "the role needs {permission} on it (and kms:Decrypt on its key)",
    "ResourceNotFoundException": "no such secret in this region and account",
    "ExpiredTokenException": "the credentials have expired",
    "UnrecognizedClientException": "the credentials are not valid",
}


class Aws:
    def __init__(self, region: str | None) -> None:
        self._region = region
        self._config = Config(connect_timeout=3, read_timeout=5, retries={"total_max_attempts": 2, "mode": "standard"})
        self._session = botocore.session.get_session()

    def _client(self, service: str) -> Any:
        return self._session.create_client(service, region_name=self._region, config=self._config)

    def secret(self, variable: str, arn: str) -> dict[str, Any]:
        with _named(variable, arn, "secretsmanager:GetSecretValue"):
            answer = self._client("secretsmanager").get_secret_value(SecretId=arn)
        try:
            values = json.loads(answer["SecretString"])
        except (KeyError, ValueError):
            values = None  # the error of json would quote the secret
        if not isinstance(values, dict):
            raise SecretError(f"{variable}={arn}: its value is not a JSON object")
        return values

    def parameters(self, variable: str, prefix: str) -> dict[str, str]:
        """Return the parameters below the prefix: /prefix/redis/url is REDIS_URL."""
        prefix = prefix.rstrip("/")
        with _named(variable, prefix, "ssm:GetParametersByPath"):
            pages = self._client("ssm").get_paginator("get_parameters_by_path")
            found = [
                parameter
                for page in pages.paginate(Path=prefix, Recursive=True, WithDecryption=True)
                for parameter in page["Parameters"]
            ]
        names = (re.sub(r"[/.-]+", "_", parameter["Name"][len(prefix) + 1 :]).upper() for parameter in found)
        return dict(zip(names, (str(parameter["Value"]) for parameter in found), strict=True))


@contextmanager
def _named(variable: str, name: str, permission: str) -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "unknown")
        hint = _HINTS.get(code, "AWS refused").format(permission=permission)
        raise SecretError(f"{variable}={name}: {code}: {hint}") from None
    except BotoCoreError as error:
        raise SecretError(f"{variable}={name}: {error}") from None
