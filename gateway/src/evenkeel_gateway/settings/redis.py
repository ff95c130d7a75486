# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Redis that holds the shared counts."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from pydantic import Field, field_validator

from evenkeel_gateway.settings.part import Part

# These values are written into HAProxy's configuration.
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|[0-9A-Fa-f:.]+")
_PREFIX = re.compile(r"[A-Za-z0-9:._{}-]+")
_FILE = re.compile(r"/[A-Za-z0-9._/-]+")


@dataclass(frozen=True)
class RedisAddress:
    host: str
    port: int
    tls: bool = False
    database: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)


class RedisSettings(Part):
    redis_url: str | None = Field(default=None, repr=False)
    redis_host: str | None = None
    redis_port: int = Field(default=6379, ge=1, le=65535)
    redis_username: str | None = None
    redis_password: str | None = Field(default=None, repr=False)
    redis_tls: bool = False
    redis_ca_file: str | None = None
    redis_db: int = Field(default=0, ge=0)
    redis_prefix: str = "gateway:"
    redis_timeout_seconds: float = Field(default=0.05, gt=0, le=1)
    redis_login_timeout_seconds: float = Field(default=1.0, gt=0, le=5)

    @field_validator("redis_url")
    @classmethod
    def _check_url(cls, value: str | None) -> str | None:
        if value is not None:
            _parse(value)
        return value

    @field_validator("redis_host")
    @classmethod
    def _check_host(cls, value: str | None) -> str | None:
        if value is not None and not _HOST.fullmatch(value):
            raise ValueError("not a host name or an address")
        return value

    @field_validator("redis_prefix")
    @classmethod
    def _check_prefix(cls, value: str) -> str:
        if not _PREFIX.fullmatch(value):
            raise ValueError("only letters, digits and : . _ - { } are allowed")
        return value

    @field_validator("redis_ca_file")
    @classmethod
    def _check_file(cls, value: str | None) -> str | None:
        if value is not None and not _FILE.fullmatch(value):
            raise ValueError("not an absolute path of letters, digits and . _ / -")
        return value

    def problems(self) -> list[str]:
        if self.redis_url and self.redis_host:
            return ["REDIS_URL: set together with REDIS_HOST; set only one of them"]
        return []

    @property
    def redis(self) -> RedisAddress | None:
        """The address and the credentials, without a password from the secret store."""
        if self.redis_url:
            address = _parse(self.redis_url)
            return RedisAddress(
                address.host,
                address.port,
                address.tls or self.redis_tls,
                address.database or self.redis_db,
                address.username or self.redis_username,
                address.password or self.redis_password,
            )
        if self.redis_host:
            return RedisAddress(
                self.redis_host,
                self.redis_port,
                self.redis_tls,
                self.redis_db,
                self.redis_username,
                self.redis_password,
            )
        return None


def _parse(value: str) -> RedisAddress:
    """The errors do not quote the URL: it may hold a password."""
    url = urlsplit(value)
    if url.scheme not in ("redis", "rediss") or not _HOST.fullmatch(url.hostname or ""):
        raise ValueError("not like redis://user:password@host:6379/0 (or rediss:// for TLS)")
    try:
        port = url.port or 6379
    except ValueError:
        raise ValueError("the port is not a number from 1 to 65535") from None
    database = url.path.strip("/") or "0"
    if not database.isdecimal() or url.query or url.fragment:
        raise ValueError("only the database number may follow the host, like /0")
    return RedisAddress(
        url.hostname or "",
        port,
        url.scheme == "rediss",
        int(database),
        unquote(url.username) if url.username else None,
        unquote(url.password) if url.password else None,
    )
