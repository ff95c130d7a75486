# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The API: its address, cache, topics, and who may call it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Literal
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator
from pydantic_settings import NoDecode

from evenkeel_permissions.settings.common import CommonSettings

READ, WRITE = "permissions:read", "permissions:write"
Scope = Literal["permissions:read", "permissions:write"]
MIN_TOKEN = 24

_TOPIC = re.compile(r"arn:aws[a-z-]*:sns:[a-z0-9-]+:\d{12}:[A-Za-z0-9_-]+")
_HEADER = re.compile(r"[A-Za-z][A-Za-z0-9]*(-[A-Za-z0-9]+)*")
_PREFIX = re.compile(r"[A-Za-z0-9:._{}-]+")
_Network = IPv4Network | IPv6Network


def _networks(value: object) -> object:
    if not isinstance(value, str):
        return value
    found = []
    for text in value.replace(",", " ").split():
        try:
            found.append(ip_network(text))
        except ValueError:
            raise ValueError(f"{text!r} is not a network like 10.0.0.0/8, without host bits") from None
    return tuple(found)


def _json(value: object) -> object:
    """The error does not quote it: it holds tokens."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        raise ValueError('not JSON like [{"name": "billing", "token": "…", "scopes": ["permissions:read"]}]') from None


class Token(BaseModel):
    """A client that authenticates with a bearer token, and what it may do."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    name: str = Field(min_length=1, max_length=128)
    token: str = Field(min_length=MIN_TOKEN, repr=False)
    scopes: tuple[Scope, ...] = Field(min_length=1)


class ApiSettings(CommonSettings):
    host: str = Field(default="0.0.0.0", description="the address that the API listens on")  # noqa: S104
    port: int = Field(default=8080, ge=1, le=65535, description="the API's port")
    database_pool_size: int = Field(default=10, ge=1, le=200, description="connections to PostgreSQL at most")
    redis_url: str | None = Field(
        default=None,
        repr=False,
        description="the cache: `redis://…` or `rediss://…`, or `https://…` for Upstash's REST API; empty: no cache",
    )
    redis_token: str | None = Field(default=None, repr=False, description="the token of Upstash's REST API")
    redis_cache_prefix: str = Field(default="epr", description="what the keys begin with")
    redis_cache_ttl: int = Field(default=300, ge=1, le=86400, description="seconds that an answer is cached at most")
    redis_timeout_seconds: float = Field(
        default=0.2, gt=0, le=5, description="a cache that answers later is not used for a second"
    )
    audit_topic_arn: str | None = Field(
        default=None, description="the SNS topic of the audit events; empty: they stay in the outbox"
    )
    document_vault_topic_arn: str | None = Field(
        default=None, description="the SNS topic of the document-vault events; empty: none are written"
    )
    outbox_poll_seconds: float = Field(
        default=1.0, gt=0, le=60, description="how often the outbox is searched for events of other processes"
    )
    auth_trusted_peers: Annotated[tuple[_Network, ...], NoDecode, BeforeValidator(_networks)] = Field(
        default=(), description="networks of the gateways, whose claims headers are trusted: `10.0.0.0/16, 10.1.0.0/16`"
    )
    auth_user_header: str = Field(default="X-User-Id", description="the gateway's header with the user")
    auth_scopes_header: str = Field(default="X-User-Scopes", description="the gateway's header with the scopes")
    api_tokens: Annotated[tuple[Token, ...], NoDecode, BeforeValidator(_json)] = Field(
        default=(),
        repr=False,
        description="clients with bearer tokens, as JSON: "
        '`[{"name": "billing", "token": "…", "scopes": ["permissions:read"]}]`',
    )
    shutdown_grace_seconds: float = Field(
        default=20.0, gt=0, le=110, description="how long a stop waits for requests in progress"
    )

    @field_validator("redis_url")
    @classmethod
    def _check_redis(cls, value: str | None) -> str | None:
        """The error does not quote it: it may hold a password."""
        url = urlsplit(value or "")
        if value and (url.scheme not in ("redis", "rediss", "http", "https") or not url.hostname):
            raise ValueError("not like redis://host:6379/0, rediss://… or https://… (Upstash's REST API)")
        return value

    @field_validator("redis_cache_prefix")
    @classmethod
    def _check_prefix(cls, value: str) -> str:
        if not _PREFIX.fullmatch(value):
            raise ValueError(f"{value!r} has other characters than letters, digits and : . _ - {{ }}")
        return value

    @field_validator("audit_topic_arn", "document_vault_topic_arn")
    @classmethod
    def _check_topic(cls, value: str | None) -> str | None:
        if value and not _TOPIC.fullmatch(value):
            raise ValueError(f"{value!r} is not the ARN of an SNS topic like arn:aws:sns:eu-west-2:123456789012:name")
        return value

    @field_validator("auth_user_header", "auth_scopes_header")
    @classmethod
    def _check_header(cls, value: str) -> str:
        if not _HEADER.fullmatch(value):
            raise ValueError(f"{value!r} is not a header like X-User-Id")
        return value

    def problems(self) -> list[str]:
        problems = super().problems()
        if not self.auth_trusted_peers and not self.api_tokens:
            problems.append(
                "EPR_AUTH_TRUSTED_PEERS: neither it nor EPR_API_TOKENS is set, so every request would be refused"
            )
        if self.redis_rest and not self.redis_token:
            problems.append("EPR_REDIS_TOKEN: is not set; the REST API of EPR_REDIS_URL requires it")
        names = [token.name for token in self.api_tokens]
        if len(set(names)) < len(names) or len({token.token for token in self.api_tokens}) < len(names):
            problems.append("EPR_API_TOKENS: two clients have the same name or token")
        return problems

    @property
    def redis_rest(self) -> bool:
        return (self.redis_url or "").startswith("http")

    def secrets(self) -> Iterator[str]:
        yield from super().secrets()
        yield from (token.token for token in self.api_tokens)
        if self.redis_token:
            yield self.redis_token
        password = urlsplit(self.redis_url or "").password
        if password:
            yield from (password, unquote(password))
