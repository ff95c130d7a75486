# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The application's secrets and the database's address: from AWS (Secrets Manager, SSM), or from the settings."""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from psycopg.conninfo import conninfo_to_dict, make_conninfo

if TYPE_CHECKING:
    from collections.abc import Iterator

    from evenkeel_gateway.logs import Redactor
    from evenkeel_gateway.settings import Settings

# Read where they are set, whether or not they are required.
SECRET_NAMES = ("JWT_SECRET", "JWT_SECRETS")
_HINTS = {
    "AccessDeniedException": "the role needs {permission} on it (and kms:Decrypt on its key)",
    "ResourceNotFoundException": "no such secret in this region and account",
    "ExpiredTokenException": "the credentials have expired",
    "UnrecognizedClientException": "the credentials are not valid",
}


class SecretError(Exception):
    """A secret that could not be had; the text names it and never holds its value."""


@dataclass(frozen=True)
class Secrets:
    values: dict[str, str] = field(repr=False)
    source: str
    wanted: tuple[str, ...] = ()
    conninfo: str | None = field(default=None, repr=False)

    @property
    def missing(self) -> list[str]:
        return [name for name in self.wanted if not self.values.get(name)]


def load(settings: Settings, redactor: Redactor) -> Secrets:
    """Blocks for a few seconds at most; raises SecretError."""
    app_arn, database_arn, prefix = settings.aws_secret_arn, settings.aws_db_secret_arn, settings.aws_ssm_prefix
    aws = _Aws(settings.aws_region) if app_arn or database_arn or prefix else None
    values: dict[str, str] = {}
    if aws and prefix:
        values |= aws.parameters("AWS_SSM_PREFIX", prefix)
    if aws and app_arn:
        stored = aws.secret("AWS_SECRET_ARN", app_arn)
        values |= {key: value if isinstance(value, str) else json.dumps(value) for key, value in stored.items()}
    if not prefix and not app_arn:
        given = settings.layers.values
        values = {name: given[name] for name in (*settings.wanted_secrets, *SECRET_NAMES) if given.get(name)}
    redactor.learn(*values.values())
    conninfo = environment_conninfo(settings)
    if aws and database_arn:
        stored = aws.secret("AWS_DB_SECRET_ARN", database_arn)
        redactor.learn(str(stored.get("password", "")))
        conninfo = _stored_conninfo(settings, stored)
    if conninfo:
        redactor.learn(str(conninfo_to_dict(conninfo).get("password") or ""))
    source = " and ".join(name for name in (app_arn, prefix) if name) or "the environment"
    return Secrets(values, source, settings.wanted_secrets, conninfo)


class _Aws:
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
            values = None  # json's own error would quote the secret
        if not isinstance(values, dict):
            raise SecretError(f"{variable}={arn}: its value is not a JSON object")
        return values

    def parameters(self, variable: str, prefix: str) -> dict[str, str]:
        """Return what is below the prefix: /prefix/redis/url is REDIS_URL."""
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


def _stored_conninfo(settings: Settings, stored: dict[str, Any]) -> str:
    missing = [key for key in ("host", "username", "password") if not stored.get(key)]
    if missing:
        raise SecretError(f"AWS_DB_SECRET_ARN={settings.aws_db_secret_arn}: lacks {', '.join(missing)}")
    return _conninfo(
        settings,
        host=str(stored["host"]),
        port=str(stored.get("port") or 5432),
        user=str(stored["username"]),
        password=str(stored["password"]),
        dbname=str(stored.get("dbname") or settings.db_name or "postgres"),
    )


def environment_conninfo(settings: Settings) -> str | None:
    if settings.database_url:
        return make_conninfo(_conninfo(settings), **conninfo_to_dict(settings.database_url))
    if settings.db_host:
        return _conninfo(
            settings,
            host=settings.db_host,
            port=str(settings.db_port),
            user=settings.db_username,
            password=settings.db_password,
            dbname=settings.db_name or "postgres",
        )
    return None


def direct_conninfo(settings: Settings, conninfo: str) -> str:
    """Return the way round a pooler, for LISTEN."""
    direct = {"host": settings.db_direct_host, "port": settings.db_direct_port}
    return make_conninfo(conninfo, **{key: value for key, value in direct.items() if value})


def _conninfo(settings: Settings, **parts: str | None) -> str:
    return make_conninfo("", sslmode=settings.db_sslmode, sslrootcert=settings.db_sslrootcert, **parts)
