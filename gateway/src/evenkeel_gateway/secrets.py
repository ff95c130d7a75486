# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The application's secrets and the database's address, from AWS Secrets Manager or from the environment."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from psycopg.conninfo import conninfo_to_dict, make_conninfo

if TYPE_CHECKING:
    from evenkeel_gateway.logs import Redactor
    from evenkeel_gateway.settings import Settings

# Read where they are set, whether or not they are required.
SECRET_NAMES = ("JWT_SECRET", "JWT_SECRETS")
_HINTS = {
    "AccessDeniedException": "the role needs secretsmanager:GetSecretValue on it (and kms:Decrypt on its key)",
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
    app_arn, database_arn = settings.aws_secret_arn, settings.aws_db_secret_arn
    manager = _Manager(settings.aws_region) if app_arn or database_arn else None
    if manager and app_arn:
        stored = manager.read("AWS_SECRET_ARN", app_arn)
        values = {key: value if isinstance(value, str) else json.dumps(value) for key, value in stored.items()}
    else:
        values = {name: os.environ[name] for name in (*settings.wanted_secrets, *SECRET_NAMES) if os.environ.get(name)}
    redactor.learn(*values.values())
    conninfo = environment_conninfo(settings)
    if manager and database_arn:
        stored = manager.read("AWS_DB_SECRET_ARN", database_arn)
        redactor.learn(str(stored.get("password", "")))
        conninfo = _stored_conninfo(settings, stored)
    if conninfo:
        redactor.learn(str(conninfo_to_dict(conninfo).get("password") or ""))
    return Secrets(values, app_arn or "the environment", settings.wanted_secrets, conninfo)


class _Manager:
    def __init__(self, region: str | None) -> None:
        config = Config(connect_timeout=3, read_timeout=5, retries={"total_max_attempts": 2, "mode": "standard"})
        self._client = botocore.session.get_session().create_client("secretsmanager", region_name=region, config=config)

    def read(self, variable: str, arn: str) -> dict[str, Any]:
        try:
            answer = self._client.get_secret_value(SecretId=arn)
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "unknown")
            raise SecretError(f"{variable}={arn}: {code}: {_HINTS.get(code, 'Secrets Manager refused')}") from None
        except BotoCoreError as error:
            raise SecretError(f"{variable}={arn}: {error}") from None
        try:
            values = json.loads(answer["SecretString"])
        except (KeyError, ValueError):
            values = None  # json's own error would quote the secret
        if not isinstance(values, dict):
            raise SecretError(f"{variable}={arn}: its value is not a JSON object")
        return values


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
