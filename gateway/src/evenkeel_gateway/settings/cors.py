# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cross-origin requests (CORS)."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_settings import NoDecode

from evenkeel_gateway.settings.part import Part, check_each, words

ANY = "*"
_ORIGIN = re.compile(r"https?://([a-z0-9.-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")
_TOKEN = re.compile(r"[A-Za-z0-9-]+")


def _origins(values: tuple[str, ...]) -> tuple[str, ...]:
    origins = tuple(value.lower() for value in values)
    check_each(origins, _origin)
    return origins


def _origin(origin: str) -> None:
    if origin != ANY and not _ORIGIN.fullmatch(origin):
        raise ValueError(f"{origin!r} is neither an origin like https://app.example.com (without a path) nor '*'")


def _tokens(values: tuple[str, ...]) -> tuple[str, ...]:
    check_each(values, _token)
    return values


def _token(value: str) -> None:
    if not _TOKEN.fullmatch(value):
        raise ValueError(f"{value!r} is not the name of a method or a header")


Tokens = Annotated[tuple[str, ...], NoDecode, BeforeValidator(words), AfterValidator(_tokens)]


class CorsSettings(Part):
    allowed_origins: Annotated[tuple[str, ...], NoDecode, BeforeValidator(words), AfterValidator(_origins)] = ()
    cors_allow_credentials: bool | None = None
    """None: true, unless ALLOWED_ORIGINS is *."""
    cors_allow_methods: Tokens = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
    cors_allow_headers: Tokens = ("Authorization", "Content-Type", "If-None-Match", "X-Request-Id", "X-Requested-With")
    cors_expose_headers: Tokens = (
        "ETag",
        "Location",
        "RateLimit-Limit",
        "RateLimit-Remaining",
        "RateLimit-Reset",
        "Retry-After",
        "X-Request-Id",
    )
    cors_max_age_seconds: int = Field(default=600, ge=0, le=86400)

    @property
    def any_origin(self) -> bool:
        return ANY in self.allowed_origins

    @property
    def credentials(self) -> bool:
        return not self.any_origin if self.cors_allow_credentials is None else self.cors_allow_credentials

    def problems(self) -> list[str]:
        problems = []
        if self.any_origin and self.allowed_origins != (ANY,):
            problems.append("ALLOWED_ORIGINS: set either '*' or a list of origins, not both")
        if self.any_origin and self.cors_allow_credentials:
            problems.append(
                "CORS_ALLOW_CREDENTIALS: not allowed with ALLOWED_ORIGINS=*, as any page could act on behalf of its "
                "visitors; list the origins"
            )
        return problems
