# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The verification of tokens."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field
from pydantic_settings import NoDecode

from evenkeel_gateway.settings.part import Part, words
from evenkeel_gateway.tokens.jwks import Jwks
from evenkeel_gateway.tokens.keys import ALGORITHMS, KEY_NAMES, TokenKeyError, known_keys

Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(words)]
Auth = Literal["required", "optional", "none"]

_CLAIM = re.compile(r"https?://[A-Za-z0-9_:/.@~%-]+|[A-Za-z0-9_:/@-]+(\.[A-Za-z0-9_:/@-]+)*")
_HEADER = re.compile(r"[A-Za-z][A-Za-z0-9]*(-[A-Za-z0-9]+)*")
# Characters that a token contains without an escape.
_TEXT = re.compile(r"[!#-\[\]-~]{1,512}")
# Headers that define a request, its sender or its destination.
_TAKEN = re.compile(
    r"(?i)authorization|connection|content-.*|cookie|expect|forwarded|host|keep-alive|origin|proxy-.*|te|trailer"
    r"|transfer-encoding|upgrade|via|x-forwarded-.*|x-real-ip|x-request-id"
)


def _words_or_none(value: object) -> object:
    """An empty variable counts as not set; `none` means an empty list."""
    return () if value == "none" else words(value)


def _pairs(value: object) -> object:
    if not isinstance(value, str):
        return value
    if value == "none":
        return {}
    pairs = [word.rpartition("=") for word in value.replace(",", " ").split()]
    if not all(claim and header for claim, _, header in pairs):
        raise ValueError("not a list like sub=X-User-Id, roles=X-User-Roles")
    return {claim: header for claim, _, header in pairs}


class AuthSettings(Part):
    auth_default: Auth = "none"
    auth_issuers: Words = ()
    auth_audiences: Words = ()
    auth_algorithms: Words = ALGORITHMS
    auth_leeway_seconds: int = Field(default=30, ge=0, le=600)
    auth_required_claims: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_words_or_none)] = ("exp",)
    auth_user_claim: str = "sub"
    auth_claim_headers: Annotated[dict[str, str], NoDecode, BeforeValidator(_pairs)] = Field(
        default_factory=lambda: {"sub": "X-User-Id"}
    )
    auth_scope_claims: Words = ("scope", "scp")
    jwt_public_key: str | None = None
    jwt_public_keys: str | None = None
    jwks_url: str | None = None
    jwks_file: str | None = None
    jwks_refresh_seconds: float = Field(default=300.0, ge=1)
    jwks_cooldown_seconds: float = Field(default=10.0, ge=0.1)
    jwks_timeout_seconds: float = Field(default=5.0, gt=0, le=60)

    @property
    def jwks(self) -> Jwks:
        file = Path(self.jwks_file) if self.jwks_file else None
        return Jwks(self.jwks_url, file, self.jwks_timeout_seconds)

    def problems(self) -> list[str]:
        problems = [
            f"AUTH_ALGORITHMS: {name} is not one of {', '.join(ALGORITHMS)}"
            for name in self.auth_algorithms
            if name not in ALGORITHMS
        ]
        problems += [
            f"{variable}: {text!r} must be 1 to 512 visible ASCII characters without quote or backslash"
            for variable, texts in (("AUTH_ISSUERS", self.auth_issuers), ("AUTH_AUDIENCES", self.auth_audiences))
            for text in texts
            if not _TEXT.fullmatch(text)
        ]
        claims = {
            "AUTH_USER_CLAIM": (self.auth_user_claim,),
            "AUTH_REQUIRED_CLAIMS": self.auth_required_claims,
            "AUTH_SCOPE_CLAIMS": self.auth_scope_claims,
            "AUTH_CLAIM_HEADERS": tuple(self.auth_claim_headers),
        }
        problems += [
            f"{variable}: {claim!r} is not the name of a claim like sub, realm_access.roles or https://example.com/roles"
            for variable, names in claims.items()
            for claim in names
            if not _CLAIM.fullmatch(claim)
        ]
        return problems + self._header_problems() + self._source_problems()

    def _header_problems(self) -> list[str]:
        headers = [header.lower() for header in self.auth_claim_headers.values()]
        problems = [
            f"AUTH_CLAIM_HEADERS: {header!r} is not a custom header like X-User-Id"
            for header in self.auth_claim_headers.values()
            if not _HEADER.fullmatch(header) or _TAKEN.fullmatch(header)
        ]
        if len(set(headers)) < len(headers):
            problems.append("AUTH_CLAIM_HEADERS: a header is listed more than once")
        return problems

    def _source_problems(self) -> list[str]:
        url = urlsplit(self.jwks_url or "https://none")
        if url.scheme not in ("http", "https") or not url.hostname:
            return ["JWKS_URL: not a URL like https://issuer.example/.well-known/jwks.json"]
        return []

    def key_problems(self) -> list[str]:
        """Return the problems of the keys that are set directly, not in a secret store."""
        problems = []
        for name, value in {**self.layers.values, **self.public_keys}.items():
            if name in KEY_NAMES:
                try:
                    known_keys({name: value})
                except TokenKeyError as error:
                    problems.append(str(error))
        return problems

    @property
    def public_keys(self) -> dict[str, str]:
        """The public keys among the settings."""
        values = {"JWT_PUBLIC_KEY": self.jwt_public_key, "JWT_PUBLIC_KEYS": self.jwt_public_keys}
        return {name: value for name, value in values.items() if value}
