# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The data plane: routes, time-outs, retries, pools, sizes, trusted proxies."""

from __future__ import annotations

import json
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, TypeAdapter, field_validator, model_validator
from pydantic_settings import NoDecode

from evenkeel_gateway.settings.aliases import names_of
from evenkeel_gateway.settings.layers import Layers
from evenkeel_gateway.settings.part import Network, Part, authorities_problem, file_path, networks, words
from evenkeel_gateway.settings.routes import Route, clashes, service_url_problems, service_url_routes

RetryOn = Literal["conn-failure", "empty-response", "0rtt-rejected", "502", "503", "504"]

# An AWS load balancer has a private address and appends the client's. Without loopback: no proxy runs beside the
# gateway in its container.
PRIVATE_NETWORKS = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")
# Space in a buffer that HAProxy reserves for added headers.
REWRITE_BYTES = 2048


def _networks(value: object) -> object:
    names = words(value)
    if names == ("none",):
        return ()
    return PRIVATE_NETWORKS if names == ("private",) else networks(names)


def _listed(routes: object) -> list[object] | tuple[object, ...] | None:
    """Return the routes of a variable or of a call; None if they are not a list."""
    if isinstance(routes, str) and routes:
        try:
            routes = json.loads(routes)
        except ValueError:
            return None
    if not routes and not isinstance(routes, dict):
        return ()
    return routes if isinstance(routes, (list, tuple)) else None


class ProxySettings(Part):
    routes: Annotated[tuple[Route, ...], NoDecode] = ()
    proxy_timeout_connect_seconds: float = Field(
        default=3.0, gt=0, validation_alias=names_of("PROXY_TIMEOUT_CONNECT_SECONDS")
    )
    proxy_timeout_read_seconds: float = Field(
        default=60.0, gt=0, validation_alias=names_of("PROXY_TIMEOUT_READ_SECONDS")
    )
    proxy_timeout_queue_seconds: float = Field(
        default=5.0, gt=0, validation_alias=names_of("PROXY_TIMEOUT_QUEUE_SECONDS")
    )
    proxy_timeout_tunnel_seconds: float = Field(
        default=3600.0, gt=0, validation_alias=names_of("PROXY_TIMEOUT_TUNNEL_SECONDS")
    )
    proxy_retries: int = Field(default=2, ge=0, le=5)
    proxy_retry_on: Annotated[tuple[RetryOn, ...], NoDecode, BeforeValidator(words)] = (
        "conn-failure",
        "empty-response",
        "0rtt-rejected",
    )
    proxy_retry_budget_percent: int = Field(default=20, ge=0, le=100)
    proxy_pool_connections: int = Field(default=128, ge=0)
    proxy_pool_maxsize: int | None = Field(default=None, ge=1)
    proxy_pool_block: bool = True
    proxy_stream_upstream: bool = True
    proxy_stream_chunk_size: int = Field(default=16384, ge=16384, le=1024 * 1024)
    proxy_max_url_bytes: int = Field(default=8192, ge=256, validation_alias=names_of("PROXY_MAX_URL_BYTES"))
    proxy_max_header_bytes: int = Field(default=12288, ge=1024)
    proxy_max_headers: int = Field(default=100, ge=10, le=1000, validation_alias=names_of("PROXY_MAX_HEADERS"))
    proxy_max_body_bytes: int | None = Field(default=None, ge=0)
    trusted_proxies: Annotated[tuple[Network, ...], NoDecode, BeforeValidator(_networks)] = tuple(
        TypeAdapter(tuple[Network, ...]).validate_python(PRIVATE_NETWORKS)
    )
    proxy_ca_file: str | None = None
    """The CA certificates for https upstreams; None: those of the system."""
    max_connections: int = Field(default=4096, ge=10, validation_alias=names_of("MAX_CONNECTIONS"))
    proxy_threads: int | None = Field(default=None, ge=1, le=64)
    access_log: bool = True
    haproxy_binary: str = "haproxy"

    @model_validator(mode="before")
    @classmethod
    def _service_urls(cls, values: dict[str, object]) -> dict[str, object]:
        """Read `USERS_SERVICE_URL=http://users:8080` as a route of the prefix /api/users."""
        layers, routes = values.get("layers"), _listed(values.get("routes"))
        assert isinstance(layers, Layers)  # noqa: S101  # set by _LayersSource
        return values | {"routes": (*(routes or ()), *service_url_routes(layers.values))}

    @field_validator("proxy_ca_file")
    @classmethod
    def _check_ca_file(cls, value: str | None) -> str | None:
        return None if value is None else file_path(value)

    def authorities_of(self, route: Route) -> str | None:
        return route.ca_file or self.proxy_ca_file

    def _authorities_problems(self) -> list[str]:
        named = {f"ROUTES: {route.title}: ca_file": route.ca_file for route in self.routes}
        files = {"PROXY_CA_FILE": self.proxy_ca_file} | named
        return [f"{name}: {problem}" for name, file in files.items() if file and (problem := authorities_problem(file))]

    def problems(self) -> list[str]:
        problems = [*clashes(self.routes), *self._authorities_problems(), *service_url_problems(self.layers.values)]
        if _listed(self.layers.values.get("ROUTES")) is None:
            problems.append('ROUTES: not a JSON list like [{"prefix": "/api/users", "upstream": "http://users:8080"}]')
        if not self.proxy_stream_upstream:
            problems.append(
                "PROXY_STREAM_UPSTREAM: false is not supported, HAProxy always streams responses; "
                'to buffer request bodies, set "stream": false in the route'
            )
        if self.proxy_max_header_bytes > self.proxy_stream_chunk_size - REWRITE_BYTES:
            most = self.proxy_stream_chunk_size - REWRITE_BYTES
            problems.append(
                f"PROXY_MAX_HEADER_BYTES: must be at most {most}, as a buffer of PROXY_STREAM_CHUNK_SIZE bytes holds "
                "all headers of a request; lower it or raise that"
            )
        if self.proxy_max_url_bytes > self.proxy_max_header_bytes:
            problems.append("PROXY_MAX_URL_BYTES: must be at most PROXY_MAX_HEADER_BYTES")
        return problems
