"""Clients with their own addresses, and a fleet that shares its limits."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import queue
import shutil
import tempfile
import threading
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from evenkeel_gateway.limits.settlement import share
from support.gateway import GatewayProcess
from support.wait import until

if TYPE_CHECKING:
    from collections.abc import Iterable

    from support.servers import Backend

_addresses = itertools.count(2)
DAY = "86400"


def new_client() -> str:
    """Return an address of this machine that no test has used yet: the limits know clients by it."""
    number = next(_addresses)
    return f"127.{1 + number // 60_000}.{number // 250 % 240}.{number % 250 + 2}"


class Reply(NamedTuple):
    status: int
    body: Any
    headers: dict[str, str]
    seconds: float


def ask(
    port: int, path: str = "/api/users", *, client: str, method: str = "GET", body: str = "", **headers: str
) -> Reply:
    started = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20, source_address=(client, 0))
    with closing(connection):
        connection.request(method, path, body, {key.replace("_", "-"): value for key, value in headers.items()})
        answer = connection.getresponse()
        text = answer.read().decode()
    found = {name.lower(): value for name, value in answer.getheaders()}
    return Reply(answer.status, json.loads(text) if text else None, found, time.monotonic() - started)


def log_in(port: int, password: str = "wrong", *, client: str, seconds: float = 0) -> Reply:
    return ask(port, f"/api/auth/login?{seconds or ''}", client=client, method="POST", body=password)


def routes(upstream: Backend) -> dict[str, str]:
    """Return the settings of two routes, with limits of a day."""
    return {
        "USERS_SERVICE_URL": upstream.url,
        "AUTH_SERVICE_URL": upstream.url,
        "RATE_LIMIT_CLIENT_SECONDS": DAY,
        "RATE_LIMIT_USER_SECONDS": DAY,
        "RATE_LIMIT_LOGIN_SECONDS": DAY,
    }


def statuses(port: int, times: int, client: str, path: str = "/api/users") -> list[int]:
    return [ask(port, path, client=client).status for _ in range(times)]


class Load:
    """Requests at given times to given ports, as from one client; what was answered."""

    def __init__(self, client: str, plan: Iterable[tuple[float, int]], *, threads: int = 8) -> None:
        self._client = client
        self._plan: queue.SimpleQueue[tuple[float, int]] = queue.SimpleQueue()
        for entry in plan:
            self._plan.put(entry)
        self.answers: list[tuple[int, float]] = []
        self._threads = [threading.Thread(target=self._work) for _ in range(threads)]
        self._start = time.monotonic()

    def run(self) -> Counter[int]:
        self._start = time.monotonic()
        for thread in self._threads:
            thread.start()
        for thread in self._threads:
            thread.join()
        return Counter(status for status, _ in self.answers)

    def _work(self) -> None:
        connections: dict[int, http.client.HTTPConnection] = {}
        while True:
            try:
                at, port = self._plan.get_nowait()
            except queue.Empty:
                break
            time.sleep(max(0, self._start + at - time.monotonic()))
            if port not in connections:
                connections[port] = http.client.HTTPConnection(
                    "127.0.0.1", port, timeout=20, source_address=(self._client, 0)
                )
            started = time.monotonic()
            connections[port].request("GET", "/api/users")
            answer = connections[port].getresponse()
            answer.read()
            self.answers.append((answer.status, time.monotonic() - started))
        for connection in connections.values():
            connection.close()


class Fleet:
    """Gateways that count in the same Redis."""

    def __init__(self, size: int, **environment: str) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="gateway-fleet-"))
        self._environment = {"RATE_LIMIT_ENABLED": "true", **environment}
        self._members = [self._start(number) for number in range(size)]

    def _start(self, number: int) -> GatewayProcess:
        runtime = self._folder / f"run-{number}"
        runtime.mkdir(exist_ok=True)
        return GatewayProcess(self._folder / f"gateway-{number}.log", {"RUNTIME_DIR": str(runtime)} | self._environment)

    def __enter__(self) -> Self:
        try:
            for member in self._members:
                member.ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        logs = self.logs
        for member in self._members:
            member.destroy()
        shutil.rmtree(self._folder)
        assert "Traceback" not in logs, logs

    def __getitem__(self, number: int) -> GatewayProcess:
        return self._members[number]

    @property
    def ports(self) -> list[int]:
        return [member.port for member in self._members]

    @property
    def logs(self) -> str:
        return "".join(member.log for member in self._members)

    def runtime(self, number: int) -> Path:
        return self._folder / f"run-{number}"

    def redis(self, number: int) -> dict[str, str]:
        found: dict[str, str] = self._members[number].request("/health").body["dependencies"]["redis"]
        return found

    def shared(self, live: int | None = None) -> Self:
        """Wait until all count together."""
        size = live or len(self._members)
        for number in range(len(self._members)):
            until(lambda number=number: self.redis(number)["status"] == "up", 10, "Redis is up")  # type: ignore[misc]
            until(
                lambda number=number: self.map(number).get("client") == self._share(size),  # type: ignore[misc]
                10,
                f"gateway {number} knows of the others: {self.map(number)}",
            )
        return self

    def _share(self, live: int) -> int:
        most = int(self._environment.get("RATE_LIMIT_CLIENT", "100"))
        return 1 + share(most, most, live)

    def map(self, number: int) -> dict[str, int]:
        with contextlib.suppress(OSError):
            lines = (self.runtime(number) / "limits.map").read_text().splitlines()
            return {key: int(value) for key, value in (line.split() for line in lines)}
        return {}

    def metric(self, number: int, name: str) -> float:
        for line in str(self._members[number].request("/metrics").body).splitlines():
            if line.startswith(f"{name} "):
                return float(line.split()[-1])
        return 0.0
