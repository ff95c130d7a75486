# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Renders HAProxy's configuration and maps."""

from __future__ import annotations

import resource
import socket
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, partial
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from evenkeel_gateway.haproxy import routing
from evenkeel_gateway.haproxy.authentication import authentication
from evenkeel_gateway.haproxy.limits import LimitsView
from evenkeel_gateway.haproxy.paths import PLAIN_PATH
from evenkeel_gateway.haproxy.processors import processors
from evenkeel_gateway.haproxy.slots import servers
from evenkeel_gateway.tokens import Keys

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from evenkeel_gateway.haproxy.slots import Slots
    from evenkeel_gateway.settings import Route, Settings
    from evenkeel_gateway.settings.routes import Upstream

CONTROL_PATHS = (
    "/",
    "/api/health",
    "/api/health/aggregate",
    "/api/about-me",
    "/api/gateway-info",
    "/health",
    "/health/detailed",
    "/metrics",
    "/api-docs",
    "/api-docs.json",
)
# The most trusted proxies between a client and the gateway.
MAX_HOPS = 4
KEEP_ALIVE_SECONDS = 75.0
_MIB = 1024 * 1024
# For the control plane, two HAProxy processes during a reload, and their tables.
_RESERVED = 160 * _MIB
# Memory of a connection without its buffers.
_CONNECTION = 12 * 1024
_MEMORY_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
_NO_MEMORY_LIMIT = 1 << 60
# For a control plane that takes over, so that it need not read the keys first.
KEYS = "keys.json"
_CA_FILE = "ca-certificates.crt"


@dataclass(frozen=True)
class Inputs:
    """Everything that HAProxy's configuration depends on; `Haproxy.reload(part=...)` changes it."""

    settings: Settings
    runtime: Path
    folder: Path
    """The directory of this configuration and of its process's socket."""
    addresses: Mapping[str, Slots] = field(default_factory=dict)
    draining: bool = False
    keys: Keys = field(default_factory=Keys, repr=False)


def render(inputs: Inputs) -> dict[str, str]:
    """Return the files of the directory by name."""
    settings = inputs.settings
    return {
        "haproxy.cfg": configuration(inputs),
        **routing.maps(settings.routes),
        "trusted.lst": _lines(settings.trusted_proxies),
        "origins.lst": _lines(settings.allowed_origins),
        "hop_by_hop.lua": (files("evenkeel_gateway.haproxy") / "lua" / "hop_by_hop.lua").read_text(),
        **inputs.keys.files,
        KEYS: inputs.keys.dumps(),
    }


@cache
def _template() -> Template:
    """Return the template; compiling it takes longer than the rest of a reload."""
    environment = Environment(
        loader=PackageLoader("evenkeel_gateway.haproxy"),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # noqa: S701  # not HTML
    )
    return environment.get_template("haproxy.cfg.j2")


def configuration(inputs: Inputs) -> str:
    settings = inputs.settings
    return _template().render(
        access_log=settings.access_log,
        addresses=inputs.addresses,
        auth=authentication(settings, inputs.keys, inputs.folder),
        capitals=any(route.prefix != route.prefix.lower() for route in settings.routes),
        # It also limits idle keep-alive connections, where it is the shorter one.
        client_ms=_ms(max(_longest_read(settings), KEEP_ALIVE_SECONDS)),
        keep_alive_ms=_ms(KEEP_ALIVE_SECONDS),
        control_paths=CONTROL_PATHS,
        crossing=routing.CROSSING,
        crossings=any(route.methods for route in settings.routes),
        control_socket=inputs.runtime / "control.sock",
        draining=inputs.draining,
        folder=inputs.folder,
        grace_ms=_ms(max(settings.reload_grace_seconds, settings.shutdown_grace_seconds)) + 1000,
        hops=MAX_HOPS,
        hosts=any(route.host for route in settings.routes),
        ipv6=_ipv6(),
        limits=LimitsView(settings, inputs.runtime),
        maxconn=_maxconn(settings),
        ms=_ms,
        plain_path=PLAIN_PATH,
        port=settings.port,
        servers=servers,
        settings=settings,
        threads=settings.proxy_threads or _threads(processors()),
        tls=partial(_tls, settings),
    )


def _lines(values: Iterable[object]) -> str:
    return "".join(f"{value}\n" for value in values)


def _ipv6() -> bool:
    """Return whether the kernel has IPv6: without it HAProxy would not start with an IPv6 address."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM):
            return True
    except OSError:
        return False


def _longest_read(settings: Settings) -> float:
    """Return the longest read time-out of all routes: clients wait as long as that."""
    return max([settings.proxy_timeout_read_seconds, *(route.timeout_read_seconds or 0 for route in settings.routes)])


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _tls(settings: Settings, route: Route, upstream: Upstream) -> str:
    if not upstream.tls:
        return ""
    host, authorities = upstream.host, settings.authorities_of(route) or _CA_FILE
    return f" ssl verify required ca-file {authorities} sni str({host}) check-sni {host} verifyhost {host}"


def _threads(available: int) -> int:
    """Return half of them, rounded up: the host has other work, and each thread makes a request more expensive.

    Threads wake each other up and share upstream connections under locks, which costs a tenth of a request's time; one
    serves 10,000 requests/s and more.
    """
    return (available + 1) // 2


def _maxconn(settings: Settings) -> int:
    """Limit the connections by descriptors, two for each, without which HAProxy does not start, and by memory."""
    wanted = settings.max_connections
    descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if descriptors != resource.RLIM_INFINITY:
        wanted = min(wanted, (descriptors - 200) // 2)
    memory = memory_limit()
    if memory is not None:
        cache = settings.cache_size_mb * _MIB if settings.cache_enabled else 0
        wanted = min(wanted, (memory - _RESERVED - cache) // connection_bytes(settings))
    return max(10, wanted)


def connection_bytes(settings: Settings) -> int:
    """Return the maximum memory of a connection: a buffer for each side and one between, if a client does not read."""
    return 3 * settings.proxy_stream_chunk_size + _CONNECTION


def memory_limit() -> int | None:
    """Return the memory limit of the container in bytes."""
    for path in _MEMORY_LIMITS:
        with suppress(OSError, ValueError):
            limit = int(path.read_text())
            # cgroup v1 has no limit as a number larger than any machine's memory.
            return limit if limit < _NO_MEMORY_LIMIT else None
    return None
