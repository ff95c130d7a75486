# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rate limits of clients and users, and of failed logins."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator
from pydantic_settings import NoDecode

from evenkeel_gateway.settings.part import Network, check_each, networks, words
from evenkeel_gateway.settings.redis import RedisSettings

Kind = Literal["client", "user", "login"]

_PATH = re.compile(r"(/[A-Za-z0-9._-]+)+")
_SWITCHES_ON = ("rate_limit_client", "rate_limit_user", "rate_limit_login")


@dataclass(frozen=True)
class Limit:
    """At most `most` requests (or failed logins) in each window of `seconds`."""

    kind: Kind
    most: int
    seconds: int

    @property
    def table(self) -> str:
        """The name of its stick table."""
        return f"limit_{self.kind}"


def _login_path(path: str) -> None:
    if not _PATH.fullmatch(path):
        raise ValueError(f"{path!r} is not a path like /api/auth/login (letters, digits, '.', '_', '-')")


class LimitSettings(RedisSettings):
    rate_limit_enabled: bool | None = None
    rate_limit_client: int = Field(default=100, ge=0, le=1_000_000_000)
    rate_limit_client_seconds: int = Field(default=900, ge=1, le=86_400)
    rate_limit_user: int = Field(default=1000, ge=0, le=1_000_000_000)
    rate_limit_user_seconds: int = Field(default=900, ge=1, le=86_400)
    rate_limit_login: int = Field(default=5, ge=0, le=10_000)
    rate_limit_login_seconds: int = Field(default=900, ge=1, le=86_400)
    rate_limit_exempt: Annotated[tuple[Network, ...], NoDecode, BeforeValidator(networks)] = ()
    rate_limit_table_size: int = Field(default=100_000, ge=1_000, le=10_000_000)
    login_paths: Annotated[tuple[str, ...], NoDecode, BeforeValidator(words)] = ("/api/auth/login",)
    login_failed_status: Annotated[tuple[int, ...], NoDecode, BeforeValidator(words)] = (401, 403)

    @field_validator("login_paths")
    @classmethod
    def _check_paths(cls, paths: tuple[str, ...]) -> tuple[str, ...]:
        check_each(paths, _login_path)
        return paths

    @field_validator("login_failed_status")
    @classmethod
    def _check_status(cls, codes: tuple[int, ...]) -> tuple[int, ...]:
        if not codes or not all(400 <= code <= 499 for code in codes):  # noqa: PLR2004
            raise ValueError("set the status codes of a failed login, one or more of 400 to 499, like 401,403")
        return codes

    @property
    def limits(self) -> tuple[Limit, ...]:
        """The enabled limits. By default they are enabled when Redis or a limit is configured."""
        enabled = self.rate_limit_enabled
        if enabled is None:
            enabled = self.redis is not None or any(name in self.model_fields_set for name in _SWITCHES_ON)
        if not enabled:
            return ()
        limits = (
            Limit("client", self.rate_limit_client, self.rate_limit_client_seconds),
            Limit("user", self.rate_limit_user, self.rate_limit_user_seconds),
            Limit("login", self.rate_limit_login, self.rate_limit_login_seconds),
        )
        return tuple(limit for limit in limits if limit.most)
