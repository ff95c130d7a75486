# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds out, before anything is measured, which features a gateway has: by requests, not by its configuration."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.bench.gateway.machine import BenchError
from tests.bench.gateway.opponents import ABILITIES, Opponent
from tests.bench.gateway.targets import Bench, Setup, Target, ask, token

LIMIT = 5
# A gateway that counts by itself and settles now and then with others may let some more through.
MOST_TRIES = 40
PATIENCE_SECONDS = 8


@dataclass
class FailingUpstream:
    """Answers each request with 500, and counts them."""

    port: int = 0
    requests: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def running(self) -> Iterator[FailingUpstream]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:  # the name that http.server calls
                with outer.lock:
                    outer.requests += 1
                self.send_response(500)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                return

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_: object) -> None:
                """Health checks hang up."""

        server = Server(("127.0.0.1", 0), Handler)
        self.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


def probe(bench: Bench, opponent: Opponent) -> None:
    """Fails where a feature that it is said to have does not work, or one that it is said to lack does."""
    found = works(bench, opponent)
    for ability in ABILITIES:
        if found[ability] != (ability in opponent.abilities):
            said, seen = ("has", "does not work") if ability in opponent.abilities else ("lacks", "works")
            raise BenchError(f"{opponent.name} {said} {ability}, but that {seen} when it is tried")


def works(bench: Bench, opponent: Opponent) -> dict[str, bool]:
    user = f"probe-{opponent.name}"
    known = token(bench.secret, user)
    found = dict.fromkeys(ABILITIES, False)
    first = opponent.start(bench, Setup(bench.upstream, LIMIT))
    try:
        first.check()
        found["jwt"] = _refuses_tokens(bench, first, user)
        found["limit"] = _refused_after(first, known) is not None
        if found["limit"]:
            other = token(bench.secret, f"{user}-other")
            if ask(first.port, first.path, other)[0] != 200:
                raise BenchError(f"{opponent.name}: the limit of one user refuses another one")
            found["shared"] = _is_shared(bench, opponent, known)
        found["log"] = _soon(lambda: has_log_line(first.log, first.path))
        found["metrics"] = _soon(lambda: first.metrics is not None and has_histogram(ask(*first.metrics)[1]))
    finally:
        bench.stop(first)
    found["breaker"] = _opens(bench, opponent, known)
    return found


def _refuses_tokens(bench: Bench, target: Target, user: str) -> bool:
    bad = (None, token("another secret", user), token(bench.secret, user, lifetime=-3600), "no.jwt.atall")
    return all(ask(target.port, target.path, each)[0] == 401 for each in bad)


def _refused_after(target: Target, known: str) -> int | None:
    """How many requests it accepted before the first 429."""
    for number in range(MOST_TRIES):
        status, _ = ask(target.port, target.path, known)
        if status == 429:
            return number
        time.sleep(0.02)
    return None


def _is_shared(bench: Bench, opponent: Opponent, known: str) -> bool:
    """A second instance refuses the user that has no requests left with the first one."""
    time.sleep(1.5)
    second = opponent.start(bench, Setup(bench.upstream, LIMIT))
    try:
        accepted = _refused_after(second, known)
        return accepted is not None and accepted < LIMIT
    finally:
        bench.stop(second)


def _opens(bench: Bench, opponent: Opponent, known: str) -> bool:
    """After some failed responses the next requests no longer reach the upstream."""
    upstream = FailingUpstream()
    with upstream.running():
        target = opponent.start(bench, Setup(upstream.port))
        try:
            for _ in range(MOST_TRIES):
                ask(target.port, target.path, known)
                time.sleep(0.02)
            before = upstream.requests
            statuses = [ask(target.port, target.path, known)[0] for _ in range(10)]
        finally:
            bench.stop(target)
    return 0 < before == upstream.requests and all(status >= 500 for status in statuses)


def _soon(condition: Callable[[], bool]) -> bool:
    """Logs and metrics are written in batches."""
    ends = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > ends:
            return False
        time.sleep(0.1)
    return True


def has_log_line(log: Path | None, path: str) -> bool:
    """Some line is JSON and has the path and the status of a request."""
    if log is None or not log.exists():
        return False
    for line in log.read_text(errors="replace").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        values = list(_values(entry))
        if path in values and (200 in values or "200" in values):
            return True
    return False


def _values(entry: object) -> Iterator[object]:
    if isinstance(entry, dict):
        for value in entry.values():
            yield from _values(value)
    else:
        yield entry


def has_histogram(text: str) -> bool:
    """Prometheus' text has a histogram of which at least one observation was made."""
    return any(
        "_bucket{" in line and 'le="+Inf"' in line and float(line.rpartition(" ")[2]) >= 1
        for line in text.splitlines()
        if not line.startswith("#")
    )
