# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The application's secrets and the database's address: from AWS (Secrets Manager, SSM), or from the settings."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from evenkeel_gateway.secrets import SecretError, Secrets

if TYPE_CHECKING:
    from evenkeel_gateway.redaction import Redactor
    from evenkeel_gateway.settings import Settings

# Read when they are set, whether required or not.
SECRET_NAMES = ("JWT_SECRET", "JWT_SECRETS")


def load(settings: Settings, redactor: Redactor) -> Secrets:
    """Blocks for a few seconds at most; raises SecretError."""
    app_arn, database_arn, prefix = settings.aws_secret_arn, settings.aws_db_secret_arn, settings.aws_ssm_prefix
    aws = None
    if app_arn or database_arn or prefix:
        from evenkeel_gateway.aws import Aws  # noqa: PLC0415  # importing botocore takes a quarter of a second, and memory

        aws = Aws(settings.aws_region)
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


def _stored_conninfo(settings: Settings, stored: dict[str, Any]) -> str:
    missing = [key for key in ("host", "username", "password") if not stored.get(key)]
    if missing:
        raise SecretError(f"AWS_DB_SECRET_ARN={settings.aws_db_secret_arn}: missing {', '.join(missing)}")
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
    """Return the connection string that bypasses a pooler, for LISTEN."""
    direct = {"host": settings.db_direct_host, "port": settings.db_direct_port}
    return make_conninfo(conninfo, **{key: value for key, value in direct.items() if value})


def _conninfo(settings: Settings, **parts: str | None) -> str:
    return make_conninfo("", sslmode=settings.db_sslmode, sslrootcert=settings.db_sslrootcert, **parts)
