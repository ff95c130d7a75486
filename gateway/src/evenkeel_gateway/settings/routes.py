# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where requests go."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pydantic import BaseModel, field_validator

from evenkeel_gateway.settings.auth import Auth  # noqa: TC001  # pydantic reads the annotations

if TYPE_CHECKING:
    from collections.abc import Mapping

# HAProxy's configuration is made of these values: nothing passes that could start a line or an argument of its own.
_PREFIX = re.compile(r"/|(/[A-Za-z0-9._-]+)+")
_HOST = re.compile(r"[A-Za-z0-9.-]+|[0-9A-Fa-f:.]+")
_PATH = re.compile(r"/[A-Za-z0-9._/-]*")
_SCOPE = re.compile(r"[!#-\[\]-~]{1,128}")
_SERVICE_URL = re.compile(r"([A-Z][A-Z0-9_]*)_SERVICE_URL")


class Route(BaseModel, frozen=True, extra="forbid"):
    """Requests below `prefix` go to `upstream`, their path unchanged."""

    prefix: str
    upstream: str
    health: str = "/health"
    auth: Auth | None = None
    """Whether a token is asked for; without it AUTH_DEFAULT decides."""
    scopes: tuple[str, ...] = ()
    """What a token must be good for, all of them."""

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

    @field_validator("scopes")
    @classmethod
    def _check_scopes(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for scope in value:
            if not _SCOPE.fullmatch(scope):
                raise ValueError(f"{scope!r} is not a scope like users:read (visible ASCII without quote or backslash)")
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


def service_url_routes(environment: Mapping[str, str]) -> list[dict[str, str]]:
    routes = []
    for key in sorted(environment):
        match = _SERVICE_URL.fullmatch(key)
        if match and environment[key]:
            routes.append({"prefix": "/api/" + match[1].lower().replace("_", "-"), "upstream": environment[key]})
    return routes
