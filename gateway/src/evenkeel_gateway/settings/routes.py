# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The routes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, Field, field_validator, model_validator

from evenkeel_gateway.settings.authentication import Auth  # noqa: TC001  # pydantic reads the annotations
from evenkeel_gateway.settings.part import check_each, file_path, words

if TYPE_CHECKING:
    from collections.abc import Mapping

# These values are written into HAProxy's configuration: none may start a line or an argument of its own.
_PREFIX = re.compile(r"/|(/[A-Za-z0-9._-]+)+")
_HOST = re.compile(r"[A-Za-z0-9.-]+|[0-9A-Fa-f:.]+")
_REQUEST_HOST = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")
_HOST_HEADER = re.compile(r"[A-Za-z0-9._-]+(:[0-9]{1,5})?")
_OF_UPSTREAM = "upstream"
_METHOD = re.compile(r"[A-Z]+")
_PATH = re.compile(r"/[A-Za-z0-9._/-]*")
_SCOPE = re.compile(r"[!#-\[\]-~]{1,128}")
_SERVICE_URL = re.compile(r"([A-Z][A-Z0-9_]*)_SERVICE_URL")


class Upstream(NamedTuple):
    """A server of a route."""

    name: str
    """The name of the server in HAProxy's backend."""
    url: str

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""

    @property
    def authority(self) -> str:
        return urlsplit(self.url).netloc

    @property
    def port(self) -> int:
        return urlsplit(self.url).port or (443 if self.tls else 80)

    @property
    def tls(self) -> bool:
        return self.url.startswith("https:")


class Route(BaseModel, frozen=True, extra="forbid"):
    """Forwards requests below `prefix`, with this `host` and these `methods` if set, to `upstream`."""

    prefix: str
    upstream: Annotated[tuple[str, ...], BeforeValidator(words), Field(min_length=1)]
    health: str = "/health"
    auth: Auth | None = None
    """Whether a token is required; None: see AUTH_DEFAULT."""
    scopes: tuple[str, ...] = ()
    """The scopes that a token must have, all of them."""
    host: str | None = None
    methods: Annotated[tuple[str, ...], BeforeValidator(words)] = ()
    strip_prefix: bool = False
    rewrite: str | None = None
    """The path that replaces the prefix."""
    balance: Literal["roundrobin", "leastconn"] = "roundrobin"
    timeout_connect_seconds: float | None = Field(default=None, gt=0)
    timeout_read_seconds: float | None = Field(default=None, gt=0)
    timeout_queue_seconds: float | None = Field(default=None, gt=0)
    retries: int | None = Field(default=None, ge=0, le=5)
    max_body_bytes: int | None = Field(default=None, ge=0)
    max_connections: int | None = Field(default=None, ge=1)
    stream: bool = True
    """False: wait for the request's body, up to a buffer, before using a connection."""
    cache: bool | None = None
    """None: cache responses with an explicit lifetime; true: also those without; false: none."""
    login: bool = False
    """Each request is a login attempt; RATE_LIMIT_LOGIN limits the failed ones."""
    rate_limit: bool = True
    host_header: str | None = None
    """The Host sent upstream: `upstream` for the upstream's own, a text, or None for the client's."""
    ca_file: str | None = None
    """The CA certificates for https upstreams; None: see PROXY_CA_FILE."""

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
    def _check_upstream(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        check_each(value, _upstream)
        return tuple(_upstream(one) for one in value)

    @field_validator("host")
    @classmethod
    def _check_host(cls, value: str | None) -> str | None:
        value = value.lower() if value else None
        if value and not _REQUEST_HOST.fullmatch(value):
            raise ValueError(f"{value!r} is not a host like api.example.com (without a port, without '*')")
        return value

    @field_validator("methods")
    @classmethod
    def _check_methods(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for method in value:
            if not _METHOD.fullmatch(method):
                raise ValueError(f"{method!r} is not a method like GET")
        # A route with GET also serves HEAD.
        return tuple(sorted({*value, "HEAD"} if "GET" in value else set(value)))

    @field_validator("rewrite")
    @classmethod
    def _check_rewrite(cls, value: str | None) -> str | None:
        if value is not None and not _PREFIX.fullmatch(value.rstrip("/") or "/"):
            raise ValueError(f"{value!r} is not a path prefix like /v2/users")
        return value

    @field_validator("host_header")
    @classmethod
    def _check_host_header(cls, value: str | None) -> str | None:
        if value is not None and not _HOST_HEADER.fullmatch(value):
            raise ValueError(f"{value!r} is neither `upstream` nor a host like api.example.com or api.example.com:8080")
        return value

    @field_validator("ca_file")
    @classmethod
    def _check_ca_file(cls, value: str | None) -> str | None:
        return None if value is None else file_path(value)

    @model_validator(mode="after")
    def _check_one_host(self) -> Route:
        if self.host_header == _OF_UPSTREAM and len({upstream.authority for upstream in self.upstreams}) > 1:
            raise ValueError(
                "host_header: the upstreams have different hosts; set the host name that all of them expect"
            )
        return self

    @model_validator(mode="after")
    def _check_rewriting(self) -> Route:
        if self.strip_prefix and self.rewrite is not None:
            raise ValueError('strip_prefix is the same as "rewrite": "/"; set only one of them')
        return self

    @property
    def name(self) -> str:
        """The name of its HAProxy backend; no prefix has an empty segment, so `::` only occurs after it."""
        name = "route:" + self.prefix.strip("/").replace("/", ":")
        if self.methods:
            return f"{name}::{self.host or ''}::{'.'.join(self.methods)}"
        return f"{name}::{self.host}" if self.host else name

    @property
    def title(self) -> str:
        """The route as users know it: the prefix, with the host and the methods if set."""
        methods = f"{','.join(self.methods)} " if self.methods else ""
        return f"{methods}{self.host or ''}{self.prefix}"

    @property
    def upstreams(self) -> tuple[Upstream, ...]:
        names = ("upstream", *(f"upstream-{number}" for number in range(2, len(self.upstream) + 1)))
        return tuple(Upstream(name, url) for name, url in zip(names, self.upstream, strict=True))

    @property
    def sent_host(self) -> str | None:
        """The Host sent upstream; None: the client's."""
        return self.upstreams[0].authority if self.host_header == _OF_UPSTREAM else self.host_header

    @property
    def replacement(self) -> str | None:
        """The path that replaces the prefix upstream, without a trailing slash."""
        if self.strip_prefix:
            return ""
        return None if self.rewrite is None else self.rewrite.rstrip("/")


def _upstream(value: str) -> str:
    url = urlsplit(value)  # it ignores line ends
    if value.split() != [value] or url.scheme not in ("http", "https") or not _HOST.fullmatch(url.hostname or ""):
        # Do not quote a value that may hold a password.
        shown = f"{value!r} is not" if "@" not in value else "an upstream is"
        raise ValueError(f"{shown} like http://host:port or https://host:port")
    if url.username or url.password:
        raise ValueError("an upstream must not contain a user or password")
    if url.path.strip("/") or url.query or url.fragment:
        raise ValueError("an upstream must not have a path; use the route's rewrite")
    if url.port == 0:  # reading it raises ValueError for other texts
        raise ValueError("an upstream's port must be 1 to 65535")
    return value.rstrip("/")


def _service_urls(environment: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """Return each variable, its route's prefix and its value; variables may be in lower case."""
    found = []
    for name in sorted(environment):
        match = _SERVICE_URL.fullmatch(name.upper())
        if match and environment[name]:
            found.append((name, "/api/" + match[1].lower().replace("_", "-"), environment[name]))
    return found


def _service_url_problem(value: str) -> str | None:
    upstreams = words(value)
    try:
        check_each(upstreams if isinstance(upstreams, tuple) else (), _upstream)
    except ValueError as error:
        return str(error)
    return None


def service_url_routes(environment: Mapping[str, str]) -> list[dict[str, str]]:
    return [
        {"prefix": prefix, "upstream": value}
        for _, prefix, value in _service_urls(environment)
        if _service_url_problem(value) is None
    ]


def service_url_problems(environment: Mapping[str, str]) -> list[str]:
    """Return the problems by variable; the routes made of them would not name it."""
    problems = ((name, _service_url_problem(value)) for name, _, value in _service_urls(environment))
    return [f"{name}: {line}" for name, problem in problems if problem for line in problem.splitlines()]


def clashes(routes: tuple[Route, ...]) -> list[str]:
    """Return the conflicts between routes."""
    seen: set[tuple[str | None, str, str]] = set()
    problems = []
    for route in routes:
        keys = {(route.host, route.prefix, method) for method in route.methods or ("",)}
        if keys & seen:
            problems.append(
                f"ROUTES: the prefix {route.title} is set more than once (ROUTES and <NAME>_SERVICE_URL together)"
            )
        seen |= keys
    prefixes = {route.prefix for route in routes}
    for folded in sorted({prefix.lower() for prefix in prefixes}):
        alike = sorted(prefix for prefix in prefixes if prefix.lower() == folded)
        if len(alike) > 1:
            problems.append(f"ROUTES: the prefixes {', '.join(alike)} differ only in case, which some backends ignore")
    return problems
