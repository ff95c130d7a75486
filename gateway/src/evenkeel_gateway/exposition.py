# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The metrics as Prometheus reads them, with gauges of the state at this moment."""

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

_REDIS_UP = Gauge("gateway_redis_up", "1 while the limits are shared through Redis", registry=REGISTRY)
_LIMITS_AGE = Gauge(
    "gateway_limit_settlement_age_seconds", "Seconds since the counts were last settled with Redis", registry=REGISTRY
)
_INFO = Gauge("gateway_info", "The running version", ["version"], registry=REGISTRY)
_LEADS = Gauge("gateway_election_leader", "1 while this instance is the leader", registry=REGISTRY)
_TERM = Gauge("gateway_election_term", "The highest term seen", registry=REGISTRY)
_LEASE_LEFT = Gauge(
    "gateway_election_lease_left_seconds",
    "Seconds for which this instance trusts its lease",
    registry=REGISTRY,
)
_READY = Gauge("gateway_ready", "1 while /api/health answers 200", registry=REGISTRY)
_CURRENT = Gauge(
    "gateway_configuration_current",
    "1 while the last reload is in force, 0 if it was refused",
    registry=REGISTRY,
)
_PROCESSES = Gauge(
    "gateway_haproxy_processes", "HAProxy processes, including old ones that finish their requests", registry=REGISTRY
)
_HAPROXY = {
    name: Gauge(f"gateway_haproxy_{name}", text, registry=REGISTRY)
    for name, text in {
        "up": "1 while the current HAProxy process answers its runtime API",
        "memory_bytes": "Resident memory of all HAProxy processes",
        "cpu_seconds": "CPU time of the current HAProxy process",
        "connections": "Client connections",
        "connections_max": "Maximum of client connections",
        "uptime_seconds": "Uptime of the current HAProxy process",
        "idle_percent": "Idle time of the current HAProxy process in percent",
        "requests": "Requests counted by the current HAProxy process",
    }.items()
}
_CIRCUIT = Gauge(
    "gateway_circuit_state", "1 for the current state of the route's circuit", ["route", "state"], registry=REGISTRY
)
_BACKEND_UP = Gauge("gateway_backend_up", "1 while the backend is in service", ["prefix"], registry=REGISTRY)
_BACKEND_RESPONSES = Gauge(
    "gateway_backend_responses",
    "Responses since HAProxy started",
    ["prefix", "code"],
    registry=REGISTRY,
)
_CACHE_LOOKUPS = Gauge("gateway_cache_lookups", "Cache lookups since HAProxy started", ["route"], registry=REGISTRY)
_CACHE_HITS = Gauge("gateway_cache_hits", "Cache hits since HAProxy started", ["route"], registry=REGISTRY)


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
    # Routes may have been removed.
    for gauge in (_CIRCUIT, _BACKEND_UP, _BACKEND_RESPONSES):
        gauge.clear()
    for backend in backends:
        for state in circuits.STATES:
            _CIRCUIT.labels(backend.prefix, state).set(backend.circuit == state)
        _BACKEND_UP.labels(backend.prefix).set(backend.up)
        for code, count in backend.responses.items():
            _BACKEND_RESPONSES.labels(backend.prefix, code).set(count)
    return generate_latest(REGISTRY)
