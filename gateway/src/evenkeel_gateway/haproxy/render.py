# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""HAProxy's configuration and maps, as text."""

from __future__ import annotations

import resource
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined

from evenkeel_gateway.tokens import Keys

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from evenkeel_gateway.settings import Route, Settings

CONTROL_PATHS = (
    "/",
    "/api/health",
    "/api/health/aggregate",
    "/api/about-me",
    "/api/gateway-info",
    "/health",
    "/health/detailed",
    "/metrics",
)
_CA_FILE = "ca-certificates.crt"


@dataclass(frozen=True)
class Inputs:
    """Everything that HAProxy's configuration is made from; whoever changes a part calls `Haproxy.reload(part=...)`."""

    settings: Settings
    runtime: Path
    folder: Path
    """The files of this configuration and the socket of the process that reads them."""
    addresses: Mapping[str, str] = field(default_factory=dict)
    draining: bool = False
    keys: Keys = field(default_factory=Keys, repr=False)


def render(inputs: Inputs) -> dict[str, str]:
    """Return the files of the folder by their names."""
    return {"haproxy.cfg": configuration(inputs), "routes.map": routes_map(inputs.settings)}


def configuration(inputs: Inputs) -> str:
    environment = Environment(
        loader=PackageLoader("evenkeel_gateway.haproxy"),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # noqa: S701  # not HTML
    )
    settings = inputs.settings
    return environment.get_template("haproxy.cfg.j2").render(
        access_log=settings.access_log,
        backends=[(route, inputs.addresses.get(route.host)) for route in settings.routes],
        connect_ms=_ms(settings.proxy_timeout_connect_seconds),
        control_paths=CONTROL_PATHS,
        control_socket=inputs.runtime / "control.sock",
        draining=inputs.draining,
        folder=inputs.folder,
        grace_ms=_ms(max(settings.reload_grace_seconds, settings.shutdown_grace_seconds)) + 1000,
        maxconn=_maxconn(settings),
        port=settings.port,
        read_ms=_ms(settings.proxy_timeout_read_seconds),
        settings=settings,
        tls=_tls,
    )


def routes_map(settings: Settings) -> str:
    return "".join(f"{route.prefix.rstrip('/')}/ {route.name}\n" for route in settings.routes)


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _tls(route: Route) -> str:
    return f" ssl verify required ca-file {_CA_FILE} sni str({route.host}) verifyhost {route.host}" if route.tls else ""


def _maxconn(settings: Settings) -> int:
    """A connection takes two descriptors; HAProxy refuses to start when it could not have them."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if limit == resource.RLIM_INFINITY:
        return settings.max_connections
    return max(10, min(settings.max_connections, (limit - 200) // 2))
