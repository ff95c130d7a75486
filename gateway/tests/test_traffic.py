"""Metrics of the requests: what is counted, and that no request waits for it."""

from __future__ import annotations

import os
import re
import signal
from functools import partial
from typing import TYPE_CHECKING

from prometheus_client.parser import text_string_to_metric_families

from support.gateway import routes
from support.load import Load
from support.wait import until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from prometheus_client.samples import Sample

    from support.gateway import GatewayProcess
    from support.servers import Backend

    Start = Callable[..., GatewayProcess]


def samples(process: GatewayProcess) -> list[Sample]:
    text = process.request("/metrics").body
    return [sample for family in text_string_to_metric_families(text) for sample in family.samples]


def value(process: GatewayProcess, metric: str, **labels: str) -> float:
    return sum(
        sample.value for sample in samples(process) if sample.name == metric and labels.items() <= sample.labels.items()
    )


def test_requests_and_durations_by_route(gateway: Start, backend: Backend) -> None:
    process = gateway(ROUTES=routes(**{"/a": backend.url, "/b/c": backend.url})).ready()
    for path in ["/a"] * 3 + ["/b/c/d"] * 2 + ["/a/status?404", "/a/status?500", "/none", "/a/slow?0.3"]:
        process.status(path)
    until(lambda: value(process, "gateway_requests_total") >= 9, 5, "all are counted")
    expected = {("/a", "200"): 4, ("/b/c", "200"): 2, ("/a", "404"): 1, ("/a", "500"): 1, ("-", "404"): 1}
    for (route, status), count in expected.items():
        assert value(process, "gateway_requests_total", route=route, status=status) == count
    name = "gateway_request_duration_seconds"
    assert value(process, f"{name}_count", route="/a") == 6
    assert value(process, f"{name}_bucket", route="/a", le="+Inf") == 6
    assert value(process, f"{name}_bucket", route="/a", le="0.25") == 5
    assert value(process, f"{name}_bucket", route="/a", le="0.5") == 6
    assert 0.3 <= value(process, f"{name}_sum", route="/a") < 0.5
    buckets = [
        sample.value for sample in samples(process) if sample.labels.get("route") == "/a" and "bucket" in sample.name
    ]
    assert buckets == sorted(buckets)


def test_failures_of_the_backend_by_their_reason(gateway: Start, backend: Backend) -> None:
    process = gateway(
        ROUTES=routes(**{"/a": backend.url, "/dead": "http://127.0.0.1:9"}),
        PROXY_TIMEOUT_READ_SECONDS="0.3",
        PROXY_RETRIES="0",
    ).ready()
    until(
        lambda: value(process, "gateway_circuit_state", route="/dead", state="OPEN") == 1, 10, "it is known to be dead"
    )
    for path in ("/a/hang-up", "/a/slow?1", "/dead", "/a"):
        process.status(path)
    until(lambda: value(process, "gateway_requests_total") >= 4, 5, "all are counted")
    for route, reason in (("/a", "aborted"), ("/a", "timeout"), ("/dead", "open")):
        assert value(process, "gateway_upstream_failures_total", route=route, reason=reason) == 1
    assert value(process, "gateway_upstream_failures_total") == 3


def test_what_a_client_writes_is_not_taken_for_a_count(gateway: Start, backend: Backend) -> None:
    process = gateway(A_SERVICE_URL=backend.url).ready()
    forged = '"status":299,"totalMs":1,"responseMs":1,"end":"--","route":"x","server":"y"'
    process.status(f"/api/a/{forged}".replace('"', "%22"))
    process.request("/api/a", X_Forwarded_For=forged, X_Request_Id=forged)
    until(lambda: value(process, "gateway_requests_total") >= 2, 5, "both are counted")
    assert value(process, "gateway_requests_total", route="/api/a", status="200") == value(
        process, "gateway_requests_total"
    )


def test_also_without_an_access_log(gateway: Start, backend: Backend) -> None:
    process = gateway(A_SERVICE_URL=backend.url, ACCESS_LOG="false").ready()
    process.status("/api/a")
    until(lambda: value(process, "gateway_requests_total", route="/api/a") == 1, 5, "it is counted")
    assert '"access"' not in process.log


def test_it_goes_on_over_reloads(gateway: Start, backend: Backend, tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text(f"A_SERVICE_URL={backend.url}\n")
    process = gateway(CONFIG_DIR=str(tmp_path), CONFIG_WATCH_SECONDS="0").ready()
    with Load(process.port, "/api/a") as load:
        for number in range(3):
            file.write_text(f"A_SERVICE_URL={backend.url}\nPROXY_TIMEOUT_READ_SECONDS={50 + number}\n")
            process.signal(signal.SIGHUP)
            reloaded = partial(lambda number: value(process, "gateway_reloads_total", outcome="done") > number, number)
            until(reloaded, 10, "a reload")
        until(lambda: load.requests > 300, 30, "more requests")
    # A process that ends sends no more: what it had in flight then is not counted.
    least = load.requests - 3 * 8
    until(lambda: value(process, "gateway_requests_total", route="/api/a") >= least, 5, "almost all are counted")
    assert value(process, "gateway_requests_total", route="/api/a") <= load.requests


def test_no_request_waits_for_a_control_plane_that_stands_still(gateway: Start, backend: Backend) -> None:
    process = gateway(A_SERVICE_URL=backend.url).ready()
    os.kill(process.pid, signal.SIGSTOP)
    try:
        with Load(process.port, "/api/a", pause=0.001) as load:
            until(lambda: load.requests > 3000, 60, "many requests")
    finally:
        os.kill(process.pid, signal.SIGCONT)
    assert load.failures == []


def test_haproxy_itself(gateway: Start, backend: Backend) -> None:
    process = gateway(A_SERVICE_URL=backend.url).ready()
    # It may have answered before the control plane has seen that it does.
    until(lambda: value(process, "gateway_haproxy_memory_bytes") > 0, 2, "the control plane knows it")
    assert value(process, "gateway_haproxy_up") == 1
    assert 1e6 < value(process, "gateway_haproxy_memory_bytes") < 150e6
    assert value(process, "gateway_haproxy_connections") >= 1
    assert value(process, "gateway_haproxy_connections_max") > 10
    names = {sample.name for sample in samples(process)}
    for part in (
        "election_leader",
        "election_term",
        "election_lease_left",
        "reloads",
        "circuit",
    ):
        assert any(re.search(part, name) for name in names), part
