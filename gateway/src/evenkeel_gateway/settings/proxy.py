# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The data plane: routes, timeouts, limits of connections."""

from __future__ import annotations

import json
from typing import Annotated

from pydantic import Field, model_validator
from pydantic_settings import NoDecode

from evenkeel_gateway.settings.layers import Layers
from evenkeel_gateway.settings.part import Part
from evenkeel_gateway.settings.routes import Route, service_url_routes


class ProxySettings(Part):
    routes: Annotated[tuple[Route, ...], NoDecode] = ()
    proxy_timeout_connect_seconds: float = Field(default=3.0, gt=0)
    proxy_timeout_read_seconds: float = Field(default=60.0, gt=0)
    max_connections: int = Field(default=4096, ge=10)
    access_log: bool = True
    haproxy_binary: str = "haproxy"

    @model_validator(mode="before")
    @classmethod
    def _service_urls(cls, values: dict[str, object]) -> dict[str, object]:
        """Read `USERS_SERVICE_URL=http://users:8080` as a route of the prefix /api/users."""
        layers, routes = values.get("layers"), values.get("routes") or ()
        assert isinstance(layers, Layers)  # noqa: S101  # the source of the settings adds it
        if isinstance(routes, str):
            try:
                routes = json.loads(routes)
            except ValueError:
                routes = None
        if not isinstance(routes, (list, tuple)):
            raise ValueError('ROUTES: not a JSON list like [{"prefix": "/api/users", "upstream": "http://users:8080"}]')
        return values | {"routes": (*routes, *service_url_routes(layers.values))}

    def problems(self) -> list[str]:
        prefixes = [route.prefix for route in self.routes]
        return [
            f"ROUTES: the prefix {prefix} is set more than once (ROUTES and <NAME>_SERVICE_URL together)"
            for prefix in sorted({prefix for prefix in prefixes if prefixes.count(prefix) > 1})
        ]
