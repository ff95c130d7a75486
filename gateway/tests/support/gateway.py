"""The gateway as a process, configured by environment variables."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import closing
from typing import TYPE_CHECKING, Any, NamedTuple

from evenkeel_gateway.settings import Settings
from support.wait import free_port, until

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

_KEPT = ("PATH", "PYTHONPATH", "HOME", "LANG", "TMPDIR", "HAPROXY_BINARY")


def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {name.upper() for name in Settings.model_fields}
    for name in list(os.environ):
        if name in known or name.endswith("_SERVICE_URL") or name.startswith("AWS_"):
            monkeypatch.delenv(name)


def routes(**upstreams: str) -> str:
    """Return ROUTES for these prefixes and upstreams."""
    return json.dumps([{"prefix": prefix, "upstream": upstream} for prefix, upstream in upstreams.items()])


class Answer(NamedTuple):
    status: int
    body: Any
    headers: dict[str, str]


class GatewayProcess:
    def __init__(self, log: Path, environment: dict[str, str], module: str = "evenkeel_gateway") -> None:
        self.port = free_port()
        self._log = log
        defaults = {
            "PORT": str(self.port),
            "AWS_EC2_METADATA_DISABLED": "true",
            "SHUTDOWN_DELAY_SECONDS": "0",
            "RATE_LIMIT_ENABLED": "false",
            "LEASE_TTL_SECONDS": "3",
            "LEASE_MARGIN_SECONDS": "1",
            "ELECTION_TICK_SECONDS": "0.5",
            "STALE_INSTANCE_THRESHOLD_SECONDS": "3",
        }
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
        # What a killed one leaves behind goes with it. Not a folder of pytest's: paths of sockets are short.
        self._folder = tempfile.mkdtemp(prefix="gateway-")
        self._environment = kept | {"TMPDIR": self._folder} | defaults | environment
        with log.open("w") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module],
                env=self._environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def request(self, path: str, method: str = "GET", body: str | None = None, **headers: str) -> Answer:
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)) as connection:
            connection.request(method, path, body, {key.replace("_", "-"): value for key, value in headers.items()})
            answer = connection.getresponse()
            text = answer.read().decode()
        try:
            parsed = json.loads(text)
        except ValueError:
            parsed = text
        return Answer(answer.status, parsed, {name.lower(): value for name, value in answer.getheaders()})

    def status(self, path: str) -> int:
        """Return 0 where there is no connection."""
        try:
            return self.request(path).status
        except (OSError, http.client.HTTPException):
            return 0

    def ready(self) -> GatewayProcess:
        self.answers("/api/health", 200)
        return self

    def answers(self, path: str, status: int) -> GatewayProcess:
        until(lambda: self.status(path) == status or self.exited(), 30, f"{path} answers {status}")
        assert self.status(path) == status, self.own_log
        return self

    def exited(self) -> bool:
        return self._process.poll() is not None

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self, seconds: float = 30) -> int:
        return self._process.wait(seconds)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def log(self) -> str:
        return self._log.read_text()

    @property
    def access_log(self) -> list[dict[str, Any]]:
        found = [json.loads(line) for line in self.log.splitlines()]
        return [line for line in found if line["logger"] == "access"]

    def logged(self, path: str) -> dict[str, Any]:
        """The one line of a path that is asked for only once; it follows the answer."""

        def found() -> list[dict[str, Any]]:
            return [line for line in self.access_log if line["path"] == path]

        until(found, 5, f"{path} is logged")
        [line] = found()
        return line

    @property
    def own_log(self) -> str:
        """Without the requests."""
        return "\n".join(line for line in self.log.splitlines() if '"logger":"access"' not in line)

    @property
    def children(self) -> list[int]:
        path = f"/proc/{self.pid}/task/{self.pid}/children"
        with open(path) as file:  # noqa: PTH123
            return [int(pid) for pid in file.read().split()]

    @property
    def about(self) -> Any:
        return self.request("/api/about-me").body

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run it as an operator does beside the one that runs."""
        return subprocess.run(
            [sys.executable, "-m", "evenkeel_gateway", *arguments],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def destroy(self) -> None:
        # Softly first: a supervisor that is killed leaves its children.
        if not self.exited():
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(10)
        if not self.exited():
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGKILL)
            self._process.wait(10)
        shutil.rmtree(self._folder, ignore_errors=True)
