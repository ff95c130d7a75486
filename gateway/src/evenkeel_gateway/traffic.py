# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Metrics of the requests: HAProxy writes a line for each to a pipe, which is read in batches and counted in C.

No request waits for this. When lines come faster than they are read, some are lost; HAProxy's own counters stay exact.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from evenkeel_gateway import metrics, polling
from evenkeel_gateway.haproxy.runtime_api import RuntimeApiError
from evenkeel_gateway.haproxy.worker import open_pipe

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from evenkeel_gateway.haproxy.lifecycle import Haproxy
    from evenkeel_gateway.settings import Settings

log = logging.getLogger(__name__)

_CHUNK = 1 << 18
# These strings are names of the configuration, without quotes; what a client wrote comes later, escaped.
_LINE = re.compile(
    rb'"status":(-?\d+),"totalMs":(-?\d+),"responseMs":(-?\d+),"end":"([^"]*)","route":"([^"]*)","server":"([^"]*)"'
)
# The first letter of HAProxy's termination state, unless the client ended it.
_FAILURES = {"S": "aborted", "s": "timeout", "D": "down", "R": "exhausted", "I": "internal"}
_OVERSIZED = (
    "the headers of a response exceed the buffer of %d bytes (PROXY_STREAM_CHUNK_SIZE), the client got 502; this does "
    "not count as a failure of the server"
)
_NO_SERVER = "<NOSRV>"
_NONE = "-"


class RequestKind(NamedTuple):
    status: int
    total_ms: int
    response_ms: int
    end: str
    route: str
    server: str


class TrafficReader:
    """The pipe that all HAProxy processes write to, the current and the ending ones; each line arrives as a whole."""

    def __init__(self, runtime: Path) -> None:
        self._pipe = open_pipe(runtime)
        self._rest = b""

    def read(self) -> Counter[RequestKind]:
        """Return the requests since the last read: kinds of requests, and the number of each."""
        found: Counter[tuple[bytes, ...]] = Counter()
        with contextlib.suppress(BlockingIOError):
            while True:
                chunk = self._rest + os.read(self._pipe, _CHUNK)
                end = chunk.rfind(b"\n") + 1
                found.update(_LINE.findall(chunk, 0, end))
                self._rest = chunk[end:]
        return Counter({_request(line): count for line, count in found.items()})

    def close(self) -> None:
        os.close(self._pipe)


def _request(line: tuple[bytes, ...]) -> RequestKind:
    status, total, response, end, route, server = (part.decode(errors="replace") for part in line)
    return RequestKind(int(status), int(total), int(response), end, route, server)


def _failure(request: RequestKind) -> str | None:
    if request.end == "SC" and request.server == _NO_SERVER:
        return "open"  # not sent
    return "invalid" if request.end == "PH" else _FAILURES.get(request.end[:1])


@dataclass
class _SlowWindow:
    """The recent responses of a server, and how many of them were slow."""

    ticks: deque[tuple[float, int, int]] = field(default_factory=deque)

    def add(self, now: float, seconds: float, answers: int, slow: int) -> tuple[int, int]:
        self.ticks.append((now, answers, slow))
        while self.ticks[0][0] < now - seconds:
            self.ticks.popleft()
        return sum(tick[1] for tick in self.ticks), sum(tick[2] for tick in self.ticks)


class Traffic:
    def __init__(self, haproxy: Haproxy) -> None:
        self._haproxy = haproxy
        self._reader = TrafficReader(haproxy.runtime)
        self._windows: defaultdict[tuple[str, str], _SlowWindow] = defaultdict(_SlowWindow)

    async def run(self) -> None:
        """Count until cancelled."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                await polling.sleep()
                requests = self._reader.read()
                if requests:
                    self._count(requests)
                    await self._break(requests, loop.time())
                    await self._spare(requests)
        finally:
            self._reader.close()

    def _count(self, requests: Mapping[RequestKind, int]) -> None:
        titles = {route.name: route.title for route in self._haproxy.current.settings.routes}
        for request, count in requests.items():
            # An unknown name comes from an ending process; without a route it was one of the gateway's own endpoints.
            route = titles.get(request.route, _NONE if request.route == _NONE else "other")
            metrics.REQUESTS.labels(route, str(request.status)).inc(count)
            metrics.DURATIONS.add(route, request.total_ms / 1000, count)
            failure = _failure(request)
            if failure and request.route != _NONE:
                metrics.UPSTREAM_FAILURES.labels(route, failure).inc(count)

    async def _break(self, requests: Mapping[RequestKind, int], now: float) -> None:
        """Open the circuit of a server with too many slow responses; HAProxy closes it like any other."""
        settings = self._haproxy.current.settings
        if settings.circuit_slow_seconds is None:
            return
        answers: Counter[tuple[str, str]] = Counter()
        slow: Counter[tuple[str, str]] = Counter()
        for request, count in requests.items():
            if request.response_ms >= 0:
                key = (request.route, request.server)
                answers[key] += count
                slow[key] += count * (request.response_ms > settings.circuit_slow_seconds * 1000)
        for key, count in answers.items():
            known, late = self._windows[key].add(now, settings.circuit_slow_window_seconds, count, slow[key])
            if known >= settings.circuit_slow_requests and late * 100 >= known * settings.circuit_slow_percent:
                del self._windows[key]
                await self._open(settings, *key, late, known)

    async def _spare(self, requests: Mapping[RequestKind, int]) -> None:
        """Close a circuit that responses with oversized headers opened: that limit is the gateway's own.

        HAProxy counts them like every response that it can't parse.
        """
        unread = {(request.route, request.server) for request in requests if _failure(request) == "invalid"}
        if not unread:
            return
        try:
            spared = unread & await self._haproxy.api.oversized()
            servers = await self._haproxy.api.servers() if spared else {}
            for route, server in spared:
                fields = {"route": route, "server": server}
                log.warning(
                    _OVERSIZED, self._haproxy.current.settings.proxy_stream_chunk_size, extra={"fields": fields}
                )
                if (route, server) in servers and servers[route, server].down:
                    await self._haproxy.api.close_circuit(route, server)
        except RuntimeApiError as error:
            log.warning("the circuit could not be closed", extra={"fields": {"error": str(error)}})

    async def _open(self, settings: Settings, route: str, server: str, late: int, known: int) -> None:
        if route not in {known_route.name for known_route in settings.routes}:
            return
        fields = {"route": route, "server": server, "slow": late, "of": known}
        log.warning("too many slow responses, opening the circuit", extra={"fields": fields})
        try:
            await self._haproxy.api.ask(f"set server {route}/{server} health down")
        except RuntimeApiError as error:
            log.warning("the circuit could not be opened", extra={"fields": fields | {"error": str(error)}})
