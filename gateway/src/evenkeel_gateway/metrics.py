# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The registry of the metrics, and those that are counted as events happen."""

from __future__ import annotations

import math
from bisect import bisect_left
from itertools import accumulate
from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client.metrics_core import HistogramMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterable

# In seconds.
BOUNDS = (0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Durations(Collector):
    """A histogram to which many observations are added at once, which prometheus_client's own can't do."""

    def __init__(self, name: str, text: str) -> None:
        self._name = name
        self._text = text
        self._counts: dict[str, list[int]] = {}
        self._sums: dict[str, float] = {}

    def add(self, route: str, seconds: float, count: int) -> None:
        counts = self._counts.setdefault(route, [0] * (len(BOUNDS) + 1))
        counts[bisect_left(BOUNDS, seconds)] += count
        self._sums[route] = self._sums.get(route, 0.0) + seconds * count

    def collect(self) -> Iterable[HistogramMetricFamily]:
        family = HistogramMetricFamily(self._name, self._text, labels=["route"])
        for route, counts in self._counts.items():
            sums = accumulate(counts)
            buckets = [
                ("+Inf" if bound == math.inf else str(bound), float(next(sums))) for bound in (*BOUNDS, math.inf)
            ]
            family.add_metric([route], buckets, self._sums[route])
        yield family


REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)
PlatformCollector(registry=REGISTRY)

ELECTION_EVALUATIONS = Counter(
    "gateway_election_evaluations_total", "Evaluations of the lease by outcome", ["outcome"], registry=REGISTRY
)
REQUESTS = Counter(
    "gateway_requests_total", "Requests by route and status (-: no route)", ["route", "status"], registry=REGISTRY
)
UPSTREAM_FAILURES = Counter(
    "gateway_upstream_failures_total",
    "Requests that failed at the backend by reason: aborted, timeout, invalid, down, open (its circuit), …",
    ["route", "reason"],
    registry=REGISTRY,
)
DURATIONS = Durations(
    "gateway_request_duration_seconds",
    "From the first byte of a request to the last of its response, by route",
)
REGISTRY.register(DURATIONS)
HAPROXY_RESTARTS = Counter(
    "gateway_haproxy_restarts_total", "Restarts of HAProxy after it exited unexpectedly", registry=REGISTRY
)
RELOADS = Counter(
    "gateway_reloads_total", "Reloads of HAProxy by outcome: done, refused, fell_back", ["outcome"], registry=REGISTRY
)
SECRET_REFRESHES = Counter(
    "gateway_secret_refreshes_total",
    "Refreshes of secrets: done, failed",
    ["outcome"],
    registry=REGISTRY,
)
for _outcome in ("done", "refused", "fell_back"):
    RELOADS.labels(_outcome)  # exported from the start, so that the first increase is visible
for _outcome in ("done", "failed"):
    SECRET_REFRESHES.labels(_outcome)
HAPROXY_ERRORS = Counter(
    "gateway_haproxy_errors_total", "Failed requests to the HAProxy runtime API", registry=REGISTRY
)
JWKS_READS = Counter("gateway_jwks_reads_total", "Reads of the JWK set by outcome", ["outcome"], registry=REGISTRY)
JWKS_READ_TIME = Gauge(
    "gateway_jwks_read_timestamp_seconds", "Unix time of the last read of the JWK set", registry=REGISTRY
)
TOKEN_KEYS = Gauge("gateway_token_keys", "Keys that tokens are verified with", registry=REGISTRY)
LIMITED_REQUESTS = Counter(
    "gateway_limited_requests_total",
    "Requests that a limit admitted or refused, by kind of limit",
    ["kind", "outcome"],
    registry=REGISTRY,
)
LIMIT_QUESTIONS = Counter(
    "gateway_limit_questions_total", "Questions of HAProxy to Redis by outcome", ["outcome"], registry=REGISTRY
)
LIMIT_SETTLEMENTS = Histogram(
    "gateway_limit_settlement_seconds", "Duration of settling the counts with Redis", registry=REGISTRY
)
REDIS_ERRORS = Counter("gateway_redis_errors_total", "Settlements that failed in Redis", registry=REGISTRY)
