# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Metrics of a gateway, read from text and over HTTP."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from ansible_collections.evenkeel.fleet.plugins.module_utils._host.host import HostError
from ansible_collections.evenkeel.fleet.plugins.module_utils._host.metrics import parse, watch

TEXT = """# HELP gateway_requests_total Requests by route and status (- is no route)
# TYPE gateway_requests_total counter
gateway_requests_total{route="-",status="503"} 900.0
gateway_requests_total{route="/api/users",status="200"} 90.0
gateway_requests_total{route="/api/users",status="404"} 5.0
gateway_requests_total{route="/api/users",status="502"} 3.0
gateway_requests_total{route="/api/users",status="503"} 2.0
gateway_requests_created{route="/api/users",status="200"} 1.7e+09
gateway_request_duration_seconds_bucket{le="0.1",route="/api/users"} 99.0
gateway_request_duration_seconds_bucket{le="+Inf",route="/api/users"} 100.0
gateway_request_duration_seconds_count{route="/api/users"} 100.0
gateway_request_duration_seconds_sum{route="/api/users"} 2.5
gateway_request_duration_seconds_sum{route="-"} 7.0
process_start_time_seconds 1.76e+09
"""
OURS = ("gateway_requests_total", "gateway_request_duration_seconds")
USERS = {"requests": 100.0, "errors": 5.0, "seconds": 2.5, "within": {"0.1": 99.0, "+Inf": 100.0}}


def test_what_clients_asked_for_is_read() -> None:
    assert parse(TEXT, *OURS) == {"process": 1.76e9, "routes": {"/api/users": USERS}}


def test_another_image_has_other_names_and_no_routes() -> None:
    text = (
        TEXT.replace("gateway_request", "http_request").replace('route="/api/users",', "").replace("status=", "code=")
    )
    text = text.replace('{route="/api/users"}', "").replace(',route="/api/users"', "")
    assert parse(text, "http_requests_total", "http_request_duration_seconds")["routes"] == {"": USERS}


@pytest.mark.parametrize(("names", "missing"), [(("no", OURS[1]), "no"), (("no", "none"), "no and no none")])
def test_a_metric_that_is_not_there_is_named(names: tuple[str, str], missing: str) -> None:
    with pytest.raises(HostError) as caught:
        parse(TEXT, *names)
    assert caught.value.message == f"It has no metric {missing}."


@pytest.fixture
def answers() -> Iterator[list[int]]:
    """The port, and the statuses of the requests that come; without more of them, 200."""
    given = [200]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(given.pop(1) if len(given) > 1 else 200)
            self.end_headers()
            self.wfile.write(TEXT.encode())

        def log_message(self, *_: Any) -> None:
            """Silent."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    given[0] = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield given
    server.shutdown()
    server.server_close()
    thread.join(5)


def options(port: int, **more: Any) -> dict[str, Any]:
    requests, duration = OURS
    return {
        "url": f"http://127.0.0.1:{port}/metrics",
        "seconds": 0.9,
        "interval": 0.3,
        "requests": requests,
        "duration": duration,
        "request_timeout": 1.0,
        "validate_certs": True,
        **more,
    }


def test_samples_are_taken_one_after_the_other(answers: list[int]) -> None:
    seen = watch(options(answers[0]))
    windows = [sample["window"] for sample in seen["samples"]]
    assert windows == list(range(windows[0], windows[0] + 4)), "three windows have four edges"
    assert (seen["missing"], seen["problem"]) == (0, "")
    assert seen["samples"][0]["routes"] == {"/api/users": USERS}


def test_a_moment_without_an_answer_is_left_out(answers: list[int]) -> None:
    answers += [200, 503]
    seen = watch(options(answers[0]))
    assert (len(seen["samples"]), seen["missing"]) == (3, 1)
    assert seen["problem"].endswith("/metrics answers 503.")


def test_nobody_there() -> None:
    seen = watch(options(1))
    assert (seen["samples"], seen["missing"]) == ([], 4)
    assert "refused" in seen["problem"]
