# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything that the environment decides, typed and validated in one place."""

from __future__ import annotations

import json
import os
import re
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AliasChoices, BaseModel, BeforeValidator, Field, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from evenkeel_gateway import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping

# HAProxy's configuration is made of these values: nothing passes that could start a line or an argument of its own.
_PREFIX = re.compile(r"/|(/[A-Za-z0-9._-]+)+")
_HOST = re.compile(r"[A-Za-z0-9.-]+|[0-9A-Fa-f:.]+")
_PATH = re.compile(r"/[A-Za-z0-9._/-]*")
_SERVICE_URL = re.compile(r"([A-Z][A-Z0-9_]*)_SERVICE_URL")


def _words(value: object) -> object:
    return tuple(value.replace(",", " ").split()) if isinstance(value, str) else value


class Route(BaseModel, frozen=True, extra="forbid"):
    """Requests below `prefix` go to `upstream`, their path unchanged."""

    prefix: str
    upstream: str
    health: str = "/health"

    @field_validator("prefix")
    @classmethod
    def _check_prefix(cls, value: str) -> str:
        value = value.rstrip("/") or "/"
        if not _PREFIX.fullmatch(value):
            raise ValueError(f"{value!r} is not a path prefix like /api/users (letters, digits, '.', '_', '-')")
        return value

    @field_validator("health")
    @classmethod
    def _check_health(cls, value: str) -> str:
        if not _PATH.fullmatch(value):
            raise ValueError(f"{value!r} is not a path like /health")
        return value

    @field_validator("upstream")
    @classmethod
    def _check_upstream(cls, value: str) -> str:
        url = urlsplit(value)
        if url.scheme not in ("http", "https") or not _HOST.fullmatch(url.hostname or ""):
            raise ValueError("an upstream is http://host:port or https://host:port")
        if url.username or url.password:
            raise ValueError("an upstream carries no user or password")
        if url.path.strip("/") or url.query or url.fragment:
            raise ValueError("an upstream has no path: the request's own path is passed on unchanged")
        if url.port == 0:  # reading it also refuses what is no port
            raise ValueError("an upstream's port is 1 to 65535")
        return value.rstrip("/")

    @property
    def name(self) -> str:
        """The name of its HAProxy backend."""
        return "route:" + self.prefix.strip("/").replace("/", ":")

    @property
    def host(self) -> str:
        return urlsplit(self.upstream).hostname or ""

    @property
    def port(self) -> int:
        return urlsplit(self.upstream).port or (443 if self.tls else 80)

    @property
    def tls(self) -> bool:
        return self.upstream.startswith("https:")


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_ignore_empty=True, extra="ignore", frozen=True, hide_input_in_errors=True)

    node_env: str = "local"
    is_local: bool = False
    port: int = Field(default=3000, ge=1, le=65535)
    service_name: str = "bk-gateway-api"
    gateway_version: str = __version__
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    access_log: bool = True

    aws_region: str | None = None
    aws_secret_arn: str | None = None
    aws_db_secret_arn: str | None = None
    required_secrets: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_words)] = ()

    aws_ec2_metadata_disabled: bool = False
    aws_ec2_metadata_service_endpoint: str = "http://169.254.169.254"
    instance_id: str | None = None
    private_ip: str | None = None
    public_ip: str | None = None
    launched_at: datetime | None = None

    database_url: str | None = Field(default=None, repr=False)
    db_host: str | None = None
    db_port: int = Field(default=5432, ge=1, le=65535)
    db_username: str | None = None
    db_password: str | None = Field(default=None, repr=False)
    db_name: str | None = None
    db_sslmode: Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] = "require"
    db_sslrootcert: str | None = None
    db_direct_host: str | None = None
    db_direct_port: int | None = Field(default=None, ge=1, le=65535)
    db_listen: bool = True

    force_leader: bool = False
    stale_instance_threshold_seconds: float = Field(
        default=15.0,
        gt=0,
        # The misspelling is what running fleets set.
        validation_alias=AliasChoices("stale_instance_threshold_seconds", "stale_instance_threshol_seconds"),
    )
    lease_ttl_seconds: float = Field(default=15.0, gt=0)
    lease_margin_seconds: float = Field(default=2.0, ge=0.1)
    election_tick_seconds: float = Field(default=5.0, gt=0)

    routes: Annotated[tuple[Route, ...], NoDecode] = ()
    proxy_timeout_connect_seconds: float = Field(default=3.0, gt=0)
    proxy_timeout_read_seconds: float = Field(default=60.0, gt=0)
    max_connections: int = Field(default=4096, ge=10)

    shutdown_delay_seconds: float = Field(default=1.0, ge=0)
    shutdown_grace_seconds: float = Field(default=25.0, gt=0)
    runtime_dir: str | None = None
    haproxy_binary: str = "haproxy"

    @model_validator(mode="before")
    @classmethod
    def _service_urls(cls, values: dict[str, object]) -> dict[str, object]:
        """Read `USERS_SERVICE_URL=http://users:8080` as a route of the prefix /api/users."""
        routes = values.get("routes") or ()
        if isinstance(routes, str):
            try:
                routes = json.loads(routes)
            except ValueError:
                routes = None
        if not isinstance(routes, (list, tuple)):
            raise ValueError('ROUTES: not a JSON list like [{"prefix": "/api/users", "upstream": "http://users:8080"}]')
        return values | {"routes": (*routes, *service_url_routes(os.environ))}

    @model_validator(mode="after")
    def _check(self) -> Settings:
        problems = []
        prefixes = [route.prefix for route in self.routes]
        problems += [
            f"ROUTES: the prefix {prefix} is set more than once (ROUTES and <NAME>_SERVICE_URL together)"
            for prefix in sorted({prefix for prefix in prefixes if prefixes.count(prefix) > 1})
        ]
        if self.lease_margin_seconds * 2 > self.lease_ttl_seconds:
            problems.append("LEASE_MARGIN_SECONDS: must be at most half of LEASE_TTL_SECONDS")
        if self.election_tick_seconds >= self.lease_ttl_seconds - self.lease_margin_seconds:
            problems.append(
                "ELECTION_TICK_SECONDS: must be below LEASE_TTL_SECONDS - LEASE_MARGIN_SECONDS, "
                "or every leader steps down between two renewals"
            )
        if self.election_tick_seconds >= self.stale_instance_threshold_seconds:
            problems.append(
                "STALE_INSTANCE_THRESHOLD_SECONDS: must be above ELECTION_TICK_SECONDS, or live instances are removed"
            )
        if (self.aws_secret_arn or self.aws_db_secret_arn) and not self.aws_region:
            problems.append("AWS_REGION: must be set where AWS_SECRET_ARN or AWS_DB_SECRET_ARN is")
        if not self.laptop and not self.has_database:
            problems.append(
                "AWS_DB_SECRET_ARN: not set, and neither DATABASE_URL nor DB_HOST is. Without a database each instance "
                "would lead on its own; set IS_LOCAL=true if this is a single instance on a laptop"
            )
        if not self.database_url and not self.aws_db_secret_arn and self.db_host and not self.db_username:
            problems.append("DB_USERNAME: must be set where DB_HOST is")
        if problems:
            raise ValueError("\n".join(problems))
        return self

    @property
    def laptop(self) -> bool:
        return self.is_local or self.node_env != "production"

    @property
    def has_database(self) -> bool:
        return bool(self.aws_db_secret_arn or self.database_url or self.db_host)

    @property
    def wanted_secrets(self) -> tuple[str, ...]:
        if self.required_secrets:
            return self.required_secrets
        return ("JWT_SECRET",) if self.aws_secret_arn or not self.laptop else ()


def service_url_routes(environment: Mapping[str, str]) -> list[dict[str, str]]:
    routes = []
    for key in sorted(environment):
        match = _SERVICE_URL.fullmatch(key)
        if match and environment[key]:
            routes.append({"prefix": "/api/" + match[1].lower().replace("_", "-"), "upstream": environment[key]})
    return routes
