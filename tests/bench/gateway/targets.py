# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gateways to compare, in front of the same upstream, each as a process of this machine."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import itertools
import json
import os
import secrets
import string
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.bench.gateway.machine import BenchError, Processes, free_port, install, program

HERE = Path(__file__).parent
CHECKOUT = HERE.parents[2]
CACHE = CHECKOUT / ".cache" / "bench-gateway"
PATH = "/api/bench/item"
WORKERS = 2
USERS = 4
KILOBYTE = json.dumps({"items": ["0123456789abcdef" * 4] * 14, "total": 14}).ljust(1024)
# No client reaches it: what is compared is the counting, not the refusing.
NO_END = 1_000_000_000
KEPT = ("PATH", "HOME", "LANG", "TMPDIR", "PYTHONPATH", "HAPROXY_BINARY")


@dataclass(frozen=True)
class Setup:
    """What a gateway is started with: the upstream's port, and the requests of each user in 15 minutes."""

    upstream: int
    limit: int = NO_END


@dataclass
class Target:
    """A gateway that runs; `processes` are the roots of what is counted as its own."""

    name: str
    port: int
    processes: list[int]
    running: subprocess.Popen[bytes] = field(repr=False)
    features: tuple[str, ...] = ()
    path: str = PATH
    tokens: tuple[str | None, ...] = field(default=(None,) * USERS, repr=False)
    folder: Path | None = None  # a gateway's configuration and sockets
    metrics: tuple[int, str] | None = None  # the port and the path
    log: Path | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.path}"

    def check(self) -> None:
        """Fails where it does not bring the upstream's answer, or accepts a request without a token."""
        status, body = ask(self.port, self.path, self.tokens[0])
        if status != 200 or body.strip() != KILOBYTE.strip():
            raise BenchError(f"{self.name} answers {self.path} with {status}: {body[:300]}")
        if "jwt" in self.features and ask(self.port, self.path)[0] != 401:
            raise BenchError(f"{self.name} accepts a request without a token")


def ask(port: int, path: str, token: str | None = None) -> tuple[int, str]:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}"} if token else {})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def healthy(port: int) -> bool:
    try:
        return ask(port, "/api/health")[0] == 200
    except (OSError, http.client.HTTPException):
        return False


def token(secret: str, user: str, lifetime: int = 86400) -> str:
    """A JWT of HS256; as a rule it outlives the benchmark."""

    def part(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    now = int(time.time())
    claims = {"sub": user, "iat": now, "exp": now + lifetime, "name": "A Person", "roles": ["reader", "writer"]}
    text = ".".join(part(json.dumps(each).encode()) for each in ({"alg": "HS256", "typ": "JWT"}, claims))
    return f"{text}.{part(hmac.new(secret.encode(), text.encode(), hashlib.sha256).digest())}"


class Bench:
    """The upstream, Redis, and the gateways before them."""

    def __init__(self, processes: Processes, folder: Path) -> None:
        self.processes = processes
        self.folder = folder
        self._numbers = itertools.count(1)
        self.secret = secrets.token_hex(32)
        self.tokens = tuple(token(self.secret, f"user-{number}") for number in range(USERS))
        self.upstream = free_port()
        config = self.config("upstream.nginx.conf", folder, port=self.upstream, body=KILOBYTE)
        self.upstream_pid = processes.serve("upstream", self.upstream, [program("nginx"), "-c", str(config)]).pid
        self.redis = free_port()
        argv = [program("redis-server"), "--port", str(self.redis), "--bind", "127.0.0.1", "--save", ""]
        self.redis_pid = processes.serve("redis", self.redis, argv).pid

    def stop(self, target: Target) -> None:
        self.processes.stop(target.running)

    def config(self, name: str, folder: Path, **values: object) -> Path:
        """The template of that name, filled in, in the folder."""
        source = HERE / name
        path = folder / source.name
        path.write_text(string.Template(source.read_text()).substitute(folder=folder, **values))
        return path

    def place(self, name: str) -> tuple[str, Path]:
        """A label of its own for one more instance, and an empty folder."""
        label = f"{name.replace(' ', '-').replace(',', '')}-{next(self._numbers)}"
        folder = self.folder / label
        folder.mkdir()
        # nginx's workers, which are not root's, write into it.
        folder.chmod(0o755)
        return label, folder

    def target(
        self, name: str, port: int, running: subprocess.Popen[bytes], abilities: tuple[str, ...], **more: Any
    ) -> Target:
        return Target(name, port, [running.pid], running, abilities, tokens=self.tokens, **more)

    @property
    def redis_url(self) -> str:
        return f"redis://127.0.0.1:{self.redis}/0"

    @property
    def upstream_url(self) -> str:
        return f"http://127.0.0.1:{self.upstream}"

    def haproxy(self) -> Target:
        port = free_port()
        config = self.config("proxy.haproxy.cfg", self.folder, port=port, upstream=self.upstream)
        running = self.processes.serve("haproxy", port, [program("haproxy"), "-db", "-f", str(config)])
        return Target("HAProxy, bare", port, [running.pid], running)

    def nginx(self) -> Target:
        port = free_port()
        config = self.config("proxy.nginx.conf", self.folder, port=port, upstream=self.upstream)
        running = self.processes.serve("nginx", port, [program("nginx"), "-c", str(config)])
        return Target("nginx, bare", port, [running.pid], running)

    def express(self, features: tuple[str, ...], name: str, setup: Setup | None = None) -> Target:
        setup = setup or Setup(self.upstream)
        label, _ = self.place("express")
        port = free_port()
        env = {
            "PATH": os.environ["PATH"],
            "NODE_ENV": "production",
            "PORT": str(port),
            "UPSTREAM": f"http://127.0.0.1:{setup.upstream}",
            "WORKERS": str(WORKERS),
            "FEATURES": ",".join(features),
            "LIMIT": str(setup.limit),
            "JWT_SECRET": self.secret,
            "REDIS_URL": self.redis_url,
        }
        folder = express_folder()
        argv = [program("node"), "server.js"]
        running = self.processes.serve(label, port, argv, env, folder, healthy)
        log = self.folder / f"{label}.log"
        return self.target(name, port, running, features, metrics=(port, "/metrics"), log=log)

    def uvicorn(self) -> Target:
        port = free_port()
        env = {"PATH": os.environ["PATH"], "UPSTREAM": self.upstream_url}
        argv = [str(asgi_python()), "-m", "uvicorn", "--app-dir", str(HERE / "asgi"), "proxy:app"]
        argv += ["--port", str(port), "--workers", str(WORKERS), "--no-access-log", "--timeout-keep-alive", "75"]
        running = self.processes.serve("uvicorn", port, argv, env)
        return Target("uvicorn + aiohttp, bare", port, [running.pid], running)

    def gateway(self, name: str, features: tuple[str, ...], setup: Setup | None = None, **settings: str) -> Target:
        setup = setup or Setup(self.upstream)
        label, folder = self.place(name)
        port = free_port()
        env = self.gateway_env(port, features, setup, CONFIG_DIR=str(folder), RUNTIME_DIR=str(folder), **settings)
        running = self.processes.serve(label, port, gateway_argv(), env, answers=healthy)
        target = self.target(
            name, port, running, features, folder=folder, metrics=(port, "/metrics"), log=self.folder / f"{label}.log"
        )
        if "jwt" not in features:
            target.tokens = (None,) * USERS
        return target

    def switches(self, feature: str, limit: int) -> dict[str, str]:
        """The gateway's settings that switch a feature on; the breaker, the log and the metrics always are."""
        return {
            "jwt": {"JWT_SECRET": self.secret, "AUTH_DEFAULT": "required"},
            "limit": {
                "REDIS_URL": self.redis_url,
                "RATE_LIMIT_CLIENT": str(NO_END),
                "RATE_LIMIT_USER": str(limit),
            },
            "log": {"ACCESS_LOG": "true"},
        }.get(feature, {})

    def gateway_env(
        self, port: int, features: tuple[str, ...], setup: Setup | None = None, /, **settings: str
    ) -> dict[str, str]:
        setup = setup or Setup(self.upstream)
        env = {key: os.environ[key] for key in KEPT if key in os.environ}
        env |= {"PORT": str(port), "AWS_EC2_METADATA_DISABLED": "true", "SHUTDOWN_DELAY_SECONDS": "0"}
        env |= {"SHUTDOWN_GRACE_SECONDS": "5", "ACCESS_LOG": "false"}
        env["ROUTES"] = json.dumps([{"prefix": "/api/bench", "upstream": f"http://127.0.0.1:{setup.upstream}"}])
        for feature in features:
            env |= self.switches(feature, setup.limit)
        return env | settings


def gateway_argv() -> list[str]:
    return [sys.executable, "-m", "evenkeel_gateway"]


def express_folder() -> Path:
    """Express and what is needed with it, as the lock has them; installed once."""
    folder = CACHE / "express"
    sources = [HERE / "express" / name for name in ("package.json", "package-lock.json", "server.js")]
    install(
        folder, sources, [program("npm"), "ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
    )
    return folder


def asgi_python() -> Path:
    """A Python of its own: what uvicorn finds installed decides how it runs, that of the gateway too."""
    folder = CACHE / "asgi"
    python = folder / "venv" / "bin" / "python"
    if not python.exists():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True, timeout=120)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", "requirements.txt"]
    install(folder, [HERE / "asgi" / "requirements.txt"], pip)
    return python
