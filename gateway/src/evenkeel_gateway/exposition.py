# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Prometheus reads: what was counted, and how the gateway is at this moment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import Gauge, generate_latest

from evenkeel_gateway.haproxy import circuits
from evenkeel_gateway.metrics import REGISTRY

if TYPE_CHECKING:
    from collections.abc import Mapping

    from evenkeel_gateway.election import Election
    from evenkeel_gateway.haproxy.runtime_api import BackendState, CacheCounts
    from evenkeel_gateway.health import RedisStatus

_REDIS_UP = Gauge("gateway_redis_up", "1 where the limits are shared through Redis", registry=REGISTRY)
_LIMITS_AGE = Gauge(
    "gateway_limit_settlement_age_seconds", "Seconds since the counts were last settled", registry=REGISTRY
)
_INFO = Gauge("gateway_info", "The version that runs", ["version"], registry=REGISTRY)
_LEADS = Gauge("gateway_election_leader", "1 where this instance leads", registry=REGISTRY)
_TERM = Gauge("gateway_election_term", "The highest term seen", registry=REGISTRY)
_LEASE_LEFT = Gauge(
    "gateway_election_lease_left_seconds", "Seconds this instance still trusts its lease", registry=REGISTRY
)
_READY = Gauge("gateway_ready", "1 where /api/health answers 200", registry=REGISTRY)
_CURRENT = Gauge(
    "gateway_configuration_current", "0 where the last reload was refused and the one before serves", registry=REGISTRY
)
_PROCESSES = Gauge(
    "gateway_haproxy_processes", "HAProxy's processes, with those that finish what they have", registry=REGISTRY
)
_HAPROXY = {
    name: Gauge(f"gateway_haproxy_{name}", text, registry=REGISTRY)
    for name, text in {
        "up": "1 where the HAProxy that serves answers",
        "memory_bytes": "Resident memory of all its processes",
        "cpu_seconds": "Processor time of the one that serves",
        "connections": "Connections of clients",
        "connections_max": "How many there may be",
        "uptime_seconds": "Since the one that serves was started",
        "idle_percent": "How much of its time it waits",
        "requests": "Its own count of requests since then",
    }.items()
}
_CIRCUIT = Gauge(
    "gateway_circuit_state", "1 for the state that the route's circuit is in", ["route", "state"], registry=REGISTRY
)
_BACKEND_UP = Gauge("gateway_backend_up", "1 where HAProxy sends requests to it", ["prefix"], registry=REGISTRY)
_BACKEND_RESPONSES = Gauge(
    "gateway_backend_responses", "HAProxy's count since it started", ["prefix", "code"], registry=REGISTRY
)
_CACHE_LOOKUPS = Gauge(
    "gateway_cache_lookups", "Requests that the cache was asked for since HAProxy started", ["route"], registry=REGISTRY
)
_CACHE_HITS = Gauge("gateway_cache_hits", "Those that it answered", ["route"], registry=REGISTRY)


def render(
    *,
    version: str,
    ready: bool,
    election: Election | None,
    backends: list[BackendState],
    current: bool,
    processes: int,
    haproxy: Mapping[str, float],
    redis: RedisStatus | None,
    caches: Mapping[str, CacheCounts],
) -> bytes:
    _INFO.labels(version).set(1)
    _READY.set(ready)
    _CURRENT.set(current)
    _PROCESSES.set(processes)
    for name, gauge in _HAPROXY.items():
        gauge.set(haproxy.get(name, 0))
    _LEADS.set(bool(election and election.leads))
    _TERM.set(election.term if election else 0)
    _LEASE_LEFT.set(election.lease_left if election else 0)
    if redis:
        _REDIS_UP.set(redis.status == "up")
        _LIMITS_AGE.set(redis.age)
    for route, counts in caches.items():
        _CACHE_LOOKUPS.labels(route).set(counts.lookups)
        _CACHE_HITS.labels(route).set(counts.hits)
    # A route that is gone is none.
    for gauge in (_CIRCUIT, _BACKEND_UP, _BACKEND_RESPONSES):
        gauge.clear()
    for backend in backends:
        for state in circuits.STATES:
            _CIRCUIT.labels(backend.prefix, state).set(backend.circuit == state)
        _BACKEND_UP.labels(backend.prefix).set(backend.up)
        for code, count in backend.responses.items():
            _BACKEND_RESPONSES.labels(backend.prefix, code).set(count)
    return generate_latest(REGISTRY)
