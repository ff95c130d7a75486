# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Clients of the load balancer, and a watch that always checks which host leads."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import urlsplit

CLIENTS = 8


class Background:
    """Threads that run while a test does something else."""

    def __init__(self, count: int, work: Callable[[], None]) -> None:
        self.over = threading.Event()
        self._threads = [threading.Thread(target=work, daemon=True) for _number in range(count)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self.over.set()
        for thread in self._threads:
            thread.join(30)


class Clients(Background):
    """Some keep their connections, others make a new one for each request; `rate` requests/s together."""

    def __init__(
        self, url: str, rate: float, path: str = "/api/users/hello", headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(CLIENTS, self._work)
        self.address = urlsplit(url).netloc
        self._path, self._headers = path, dict(headers or {})
        self.pause = CLIENTS / rate
        self.answered = 0
        self.failures: list[str] = []
        self._lock = threading.Lock()
        self._numbers = iter(range(CLIENTS))

    def __enter__(self) -> Clients:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _work(self) -> None:
        with self._lock:
            keeps = next(self._numbers) % 2 == 0
        connection = http.client.HTTPConnection(self.address, timeout=10)
        with closing(connection):
            while not self.over.is_set():
                started = time.monotonic()
                problem = self._ask(connection)
                with self._lock:
                    self.answered += not problem
                    if problem:
                        self.failures.append(problem)
                if problem or not keeps:
                    connection.close()
                self.over.wait(max(0.0, started + self.pause - time.monotonic()))

    def _ask(self, connection: http.client.HTTPConnection) -> str:
        try:
            connection.request("GET", self._path, headers=self._headers)
            answer = connection.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException) as error:
            return repr(error)
        return "" if answer.status == 200 else f"{answer.status}: {body[:200]!r}"


class MixedLoad:
    """Clients of all kinds, in a process of their own: mixed_load.py. `counts` and `failures` are known at the end.

    rate: short requests/s. at_least: how many are done before it ends, however early that is. paths: in turn.
    """

    def __init__(self, url: str, rate: float, at_least: int = 0, paths: Sequence[str] = ()) -> None:
        address = urlsplit(url)
        words = [str(address.hostname), str(address.port or 80), str(rate), str(at_least), *paths]
        self._command = [sys.executable, str(Path(__file__).parent / "mixed_load.py"), *words]
        self.counts: dict[str, int] = {}
        self.failures: list[str] = []

    @property
    def answered(self) -> int:
        return sum(self.counts.values())

    def __enter__(self) -> MixedLoad:
        self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, *_: object) -> None:
        try:
            told = json.loads(self._process.communicate(timeout=120)[0])
        finally:
            self._process.kill()
        self.counts, self.failures = told["done"], told["failures"]


class Watch(Background):
    """Who said to lead, from moment to moment."""

    def __init__(self, leaders: Callable[[], list[str]]) -> None:
        super().__init__(1, self._work)
        self.seen: list[tuple[float, tuple[str, ...]]] = []
        self._leaders = leaders

    def __enter__(self) -> Watch:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _work(self) -> None:
        while not self.over.is_set():
            with suppress(OSError):
                self.seen.append((time.monotonic(), tuple(self._leaders())))
            self.over.wait(0.05)

    @property
    def most_at_once(self) -> int:
        return max(len(leaders) for _moment, leaders in self.seen)

    @property
    def changes(self) -> int:
        """How often another one led than before."""
        names = [leaders[0] for _moment, leaders in self.seen if leaders]
        return sum(before != after for before, after in zip(names, names[1:]))

    @property
    def longest_without(self) -> float:
        """For how many seconds at most no host led: from the last moment with a leader to the next one."""
        led = [moment for moment, leaders in self.seen if leaders]
        without = {moment for moment, leaders in self.seen if not leaders}
        return max(
            (
                after - before
                for before, after in zip(led, led[1:])
                if any(before < moment < after for moment in without)
            ),
            default=0.0,
        )
