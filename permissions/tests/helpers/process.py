"""A command of the service as a process, configured by environment variables."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode

from support.wait import free_port, until

if TYPE_CHECKING:
    from pathlib import Path

_KEPT = ("PATH", "PYTHONPATH", "HOME", "LANG", "TMPDIR")
AWS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_REGION": "eu-central-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


class Answer(NamedTuple):
    status: int
    body: Any
    headers: dict[str, str]


class Process:
    def __init__(self, command: str, log: Path, environment: dict[str, str]) -> None:
        self.port = free_port()
        self._log = log
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
        ports = {"EPR_PORT": str(self.port), "EPR_AUDIT_HEALTH_PORT": str(self.port), "EPR_HOST": "127.0.0.1"}
        self.environment = kept | AWS | ports | environment
        self._command = command
        self.start()

    def start(self) -> None:
        with self._log.open("a") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "evenkeel_permissions", self._command],
                env=self.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def request(self, method: str, path: str, body: object = None, **headers: str) -> Answer:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        data = body if isinstance(body, (str, bytes)) or body is None else json.dumps(body)
        if data is not None:
            sent.setdefault("Content-Type", "application/json")
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)) as connection:
            connection.request(method, path, data, sent)
            answer = connection.getresponse()
            text = answer.read().decode()
        try:
            parsed = json.loads(text) if text else None
        except ValueError:
            parsed = text
        return Answer(answer.status, parsed, {name.lower(): value for name, value in answer.getheaders()})

    def status(self, path: str) -> int:
        """Return 0 where there is no connection."""
        try:
            return self.request("GET", path).status
        except (OSError, http.client.HTTPException):
            return 0

    def answers(self, path: str, status: int = 200, seconds: float = 30) -> Process:
        until(lambda: self.status(path) == status or self.exited, seconds, f"{path} answers {status}")
        assert not self.exited, self.log
        return self

    def metric(self, name: str, **labels: str) -> float:
        shown = ",".join(f'{label}="{value}"' for label, value in sorted(labels.items()))
        wanted = f"{name}{{{shown}}}" if shown else name
        for line in str(self.request("GET", "/metrics").body).splitlines():
            key, _, value = line.rpartition(" ")
            if key == wanted:
                return float(value)
        raise AssertionError(f"no metric {wanted}")

    @property
    def exited(self) -> bool:
        return self._process.poll() is not None

    @property
    def log(self) -> str:
        return self._log.read_text()

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.splitlines() if line.startswith("{")]

    def logged(self, message: str, seconds: float = 20) -> dict[str, Any]:
        """Return the first line with this message."""

        def found() -> list[dict[str, Any]]:
            return [line for line in self.lines if line["message"].startswith(message)]

        until(lambda: found() or self.exited, seconds, f"{message!r} is logged")
        assert found(), self.log
        return found()[0]

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(10)

    def terminate(self, seconds: float = 30) -> int:
        self._process.terminate()
        return self._process.wait(seconds)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command beside it, with the same environment."""
        return subprocess.run(
            [sys.executable, "-m", "evenkeel_permissions", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def destroy(self) -> None:
        if not self.exited:
            self.signal(signal.SIGCONT)
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(10)
        if not self.exited:
            self.kill()


class Client:
    """Requests with a bearer token; an answer that is an error of the server fails the test."""

    def __init__(self, process: Process, token: str) -> None:
        self._process = process
        self._token = token

    def __call__(self, method: str, path: str, body: object = None, **query: str) -> Answer:
        path += f"?{urlencode(query)}" if query else ""
        answer = self._process.request(method, path, body, Authorization=f"Bearer {self._token}")
        assert answer.status < 500, (answer, self._process.log)
        return answer

    def entity(self, id_: str, parent: str | None = None, type_: str = "folder") -> None:
        answer = self("POST", "/v1/entities", {"id": id_, "type": type_, "name": id_, "parent": parent})
        assert answer.status == 201, answer

    def grant(self, subject: str, permission: str, entity: str) -> int:
        body = {"subject": subject, "permission": permission, "entity": entity}
        return self("PUT", "/v1/grants", body).status

    def revoke(self, subject: str, permission: str, entity: str) -> int:
        return self("DELETE", "/v1/grants", subject=subject, permission=permission, entity=entity).status

    def check(self, subject: str, permission: str, entity: str) -> bool:
        answer = self("GET", "/v1/check", subject=subject, permission=permission, entity=entity)
        assert answer.status == 200, answer
        return bool(answer.body["allowed"])

    def allowed(self, subject: str, permission: str, **query: str) -> list[str]:
        return list(self("GET", "/v1/list", subject=subject, permission=permission, **query).body["entities"])
