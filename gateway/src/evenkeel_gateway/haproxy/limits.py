# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The limits in HAProxy's configuration, and the files that HAProxy shares with the control plane."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from evenkeel_gateway import files

if TYPE_CHECKING:
    from evenkeel_gateway.settings import Settings
    from evenkeel_gateway.settings.limits import Limit
    from evenkeel_gateway.settings.redis import RedisAddress

_PACKAGE = Path(__file__).parents[1]
_UNRESOLVED = "192.0.2.1"
_SYSTEM_CA = "ca-certificates.crt"


@dataclass(frozen=True)
class LimitFiles:
    """The shared files in the runtime directory."""

    runtime: Path

    @property
    def map(self) -> Path:
        """The map that requests read: whether to ask Redis, its epoch, how many requests need no question."""
        return self.runtime / "limits.map"

    @property
    def hello(self) -> Path:
        """The commands that open a connection to Redis, with the password."""
        return self.runtime / "limits.hello"

    @property
    def socket(self) -> Path:
        return self.runtime / "limits.sock"

    @property
    def address(self) -> Path:
        """The last known address of Redis, for a new HAProxy."""
        return self.runtime / "limits.address"

    def prepare(self, settings: Settings) -> None:
        """Write what HAProxy needs to start; existing files are newer and stay."""
        if settings.limits and settings.redis:
            if not self.map.exists():
                files.write(self.map, map_text(fresh_map()))
            if not self.hello.exists():
                files.write(self.hello, hello(settings.redis, settings.redis.password))


def fresh_map() -> dict[str, int]:
    """Return the map for the time before the shared counts are known: Redis is not asked."""
    return {"shared": 0, "epoch": 0, "client": 1, "user": 1}


def map_text(values: dict[str, int]) -> str:
    return "".join(f"{key} {value}\n" for key, value in values.items())


def read_map(path: Path) -> dict[str, int] | None:
    try:
        return {key: int(value) for key, value in (line.split() for line in path.read_text().splitlines())}
    except (OSError, ValueError):
        return None


def hello(redis: RedisAddress, password: str | None) -> bytes:
    """Return the number of replies, and the commands that open a connection."""
    commands: list[list[str]] = []
    if password:
        commands.append(["AUTH", redis.username, password] if redis.username else ["AUTH", password])
    if redis.database:
        commands.append(["SELECT", str(redis.database)])
    return b"%d\n" % len(commands) + b"".join(_encode(command) for command in commands)


def _encode(words: list[str]) -> bytes:
    encoded = [word.encode() for word in words]
    return b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in encoded)


class LimitsView:
    """The limits, as the template needs them."""

    def __init__(self, settings: Settings, runtime: Path) -> None:
        files = LimitFiles(runtime)
        redis = settings.redis
        self.all: tuple[Limit, ...] = settings.limits
        # The user's first: an authenticated request counts against its user.
        self.requests = sorted(
            (limit for limit in self.all if limit.kind != "login"), key=lambda limit: limit.kind != "user"
        )
        self.login = next((limit for limit in self.all if limit.kind == "login"), None)
        self.login_paths = _path_pattern(settings.login_paths)
        self.login_routes = [route.name for route in settings.routes if route.login]
        self.login_failed = settings.login_failed_status
        if not (self.login_paths or self.login_routes):
            self.login = None
        self.exempt = settings.rate_limit_exempt
        self.off = [route.name for route in settings.routes if not route.rate_limit]
        self.table_size = settings.rate_limit_table_size
        self.shared = bool(self.all and redis)
        self.map = files.map
        self.socket = files.socket
        self.hello = files.hello
        self.prefix = settings.redis_prefix
        self.timeout = settings.redis_timeout_seconds
        self.login_timeout = settings.redis_login_timeout_seconds
        self.timeout_ms = max(1, round(settings.redis_login_timeout_seconds * 1000))
        self.scripts = _PACKAGE / "limits" / "scripts"
        self.lua = _PACKAGE / "haproxy" / "lua" / "limits.lua"
        self.redis = _server(redis, files) if redis else ""
        self.tls = _tls(redis, settings.redis_ca_file) if redis and redis.tls else ""


def _path_pattern(paths: tuple[str, ...]) -> str:
    """Match all spellings of the paths that a backend may accept: double and trailing slashes, parameters."""
    if not paths:
        return ""
    alternatives = "|".join(path.replace(".", r"\.").replace("/", "/+") for path in paths)
    return f"'^({alternatives})/*(;.*)?$'"


def _server(redis: RedisAddress, files: LimitFiles) -> str:
    address = redis.host if is_address(redis.host) else _read(files.address)
    if not address:
        return f"{_UNRESOLVED}:{redis.port} disabled"
    return f"[{address}]:{redis.port}" if ":" in address else f"{address}:{redis.port}"


def _tls(redis: RedisAddress, ca_file: str | None) -> str:
    name = "" if is_address(redis.host) else f" sni str({redis.host}) verifyhost {redis.host}"
    return f" ssl verify required ca-file {ca_file or _SYSTEM_CA}{name}"


def is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _read(path: Path) -> str:
    try:
        text = path.read_text()
    except OSError:
        return ""
    return text if re.fullmatch(r"[0-9A-Fa-f.:]+", text) else ""
