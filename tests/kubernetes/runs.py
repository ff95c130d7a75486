# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Playbooks' runs with the moment of each line, and the moment at which Kubernetes knows that a pod fails."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.request import Request, urlopen

from tests.system.load import Background

CHECKOUT = Path(__file__).resolve().parents[2]
LONGEST = 900.0
EVERY = 0.2
Objects = list[dict[str, Any]]


@dataclass
class Run:
    """A playbook's run. Moments are of the monotonic clock."""

    code: int = 0
    seconds: float = 0.0
    lines: list[tuple[float, str]] = field(default_factory=list)
    # As the callback plugin wrote it; empty without one.
    report: dict[str, Any] = field(default_factory=dict)
    page: str = ""

    @property
    def output(self) -> str:
        return "".join(line for _moment, line in self.lines)

    @property
    def changed(self) -> int:
        """The recap's count."""
        return int(re.search(r"changed=(\d+)", self.output.rpartition("PLAY RECAP")[2])[1])  # type: ignore[index]

    def first(self, pattern: str) -> float:
        """The moment of the first line in which it is found."""
        found = next((moment for moment, line in self.lines if re.search(pattern, line)), None)
        assert found is not None, f"{pattern} is not in: {self.output}"
        return found


def start(command: Sequence[str], stdout: int = subprocess.DEVNULL, reports: str = "") -> subprocess.Popen[str]:
    """In a process group of its own. reports: the folder for its report; empty for none."""
    return subprocess.Popen(
        command,
        cwd=CHECKOUT,
        env={**os.environ, "ANSIBLE_FORCE_COLOR": "0", "NO_COLOR": "1", "EVENKEEL_ROLLOUT_REPORT": reports},
        stdout=stdout,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def kill(process: subprocess.Popen[str]) -> None:
    """The controller and all that it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def play(command: Sequence[str]) -> Run:
    with TemporaryDirectory() as folder:
        run = followed(command, folder)
        for path in Path(folder).glob("*.json"):
            run.report = json.loads(path.read_text())
            run.page = path.with_suffix(".html").read_text()
    return run


def followed(command: Sequence[str], reports: str) -> Run:
    began, run = time.monotonic(), Run()
    with start(command, subprocess.PIPE, reports) as process:
        watchdog = threading.Timer(LONGEST, kill, [process])
        watchdog.start()
        assert process.stdout is not None
        for line in process.stdout:
            run.lines.append((time.monotonic(), line))
        watchdog.cancel()
    run.code, run.seconds = process.returncode, time.monotonic() - began
    return run


class Reader:
    """Objects of a namespace, by a kubeconfig of the testbed."""

    def __init__(self, kubeconfig: str, namespace: str) -> None:
        settings = json.loads(Path(kubeconfig).read_text())
        cluster, user = settings["clusters"][0]["cluster"], settings["users"][0]["user"]
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        self._tls = ssl.create_default_context(cadata=authority)
        self._headers = {"Authorization": f"Bearer {user['token']}"}
        self._roots = {
            "pods": f"{cluster['server']}/api/v1/namespaces/{namespace}/pods",
            "deployments": f"{cluster['server']}/apis/apps/v1/namespaces/{namespace}/deployments",
        }

    def objects(self, plural: str) -> Objects:
        with urlopen(Request(self._roots[plural], headers=self._headers), context=self._tls, timeout=5) as answer:
            return list(json.load(answer)["items"])


def waiting_for(pod: dict[str, Any]) -> Iterator[str]:
    """The reasons for which its containers wait."""
    for one in pod["status"].get("containerStatuses") or ():
        yield (one["state"].get("waiting") or {}).get("reason", "")


def is_ready(pod: dict[str, Any]) -> bool:
    conditions = pod["status"].get("conditions") or ()
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def pods_with(image: str, reader: Reader) -> list[dict[str, Any]]:
    return [one for one in reader.objects("pods") if one["spec"]["containers"][0]["image"] == image]


def knows(kind: str, reader: Reader, image: str) -> bool:
    """Whether Kubernetes knows what is wrong with an image of this kind."""
    if kind == "never-ready":
        conditions = [one for found in reader.objects("deployments") for one in found["status"].get("conditions") or ()]
        return any(one["reason"] == "ProgressDeadlineExceeded" for one in conditions)
    pods = pods_with(image, reader)
    if kind == "wrong-version":
        return any(is_ready(pod) for pod in pods)
    reasons = {"missing": {"ErrImagePull", "ImagePullBackOff"}, "crashing": {"CrashLoopBackOff"}}[kind]
    return any(reason in reasons for pod in pods for reason in waiting_for(pod))


class FirstMoment(Background):
    """When something was true for the first time; None if it never was."""

    def __init__(self, true: Callable[[], bool]) -> None:
        super().__init__(1, self._work)
        self.moment: float | None = None
        self._true = true

    def _work(self) -> None:
        while not self.over.is_set() and self.moment is None:
            with suppress(OSError):
                if self._true():
                    self.moment = time.monotonic()
            self.over.wait(EVERY)


@contextmanager
def first_moment(true: Callable[[], bool]) -> Iterator[FirstMoment]:
    found = FirstMoment(true)
    found.start()
    try:
        yield found
    finally:
        found.stop()
