"""Circuit breakers: a failing backend gets no requests for a while, and only that one."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from support.gateway import routes
from support.upstream import Upstream, answer
from support.wait import free_port, until

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from support.gateway import GatewayProcess
    from support.servers import Backend
    from support.upstream import Request

    Start = Callable[..., GatewayProcess]

OPEN_SECONDS = 2.0


@pytest.fixture
def process(gateway: Start, backend: Backend) -> GatewayProcess:
    return gateway(
        ROUTES=routes(**{"/a": backend.url, "/b": backend.url}),
        CIRCUIT_ERRORS="4",
        CIRCUIT_OPEN_SECONDS=str(OPEN_SECONDS),
        PROXY_TIMEOUT_READ_SECONDS="0.3",
        PROXY_RETRIES="0",
    ).ready()


def state(process: GatewayProcess, prefix: str = "/a") -> str:
    found: str = process.request("/health/detailed").body["circuitBreakers"][prefix]["state"]
    return found


@pytest.mark.parametrize(("path", "status"), [("/a/status?500", 500), ("/a/hang-up", 502), ("/a/slow?1", 504)])
def test_errors_in_a_row_open_it_and_time_closes_it(
    process: GatewayProcess, backend: Backend, path: str, status: int
) -> None:
    assert [process.status(path) for _ in range(4)] == [status] * 4
    opened = time.monotonic()
    assert state(process) == "OPEN"
    seen = backend.requests
    for _ in range(5):
        started = time.monotonic()
        assert process.status("/a") == 503
        assert time.monotonic() - started < 0.25
    assert backend.requests == seen, "the backend is left alone"
    assert process.status("/b") == 200, "other routes are left alone"
    assert state(process, "/b") == "CLOSED"
    metrics = process.request("/metrics").body
    assert 'gateway_circuit_state{route="/a",state="OPEN"} 1.0' in metrics
    assert 'gateway_circuit_state{route="/b",state="CLOSED"} 1.0' in metrics
    states = {"OPEN"}

    def closed() -> bool:
        states.add(state(process))
        return "CLOSED" in states

    until(closed, 10, "it closes by itself")
    assert OPEN_SECONDS * 0.7 < time.monotonic() - opened < OPEN_SECONDS * 3
    assert states == {"OPEN", "HALF_OPEN", "CLOSED"}
    assert process.status("/a") == 200


def test_what_the_client_did_wrong_never_opens_it(process: GatewayProcess) -> None:
    assert [process.status(f"/a/status?{status}") for status in (400, 401, 403, 404, 429) * 4] == [
        *(400, 401, 403, 404, 429) * 4
    ]
    assert state(process) == "CLOSED"


def test_errors_between_good_answers_do_not_open_it(process: GatewayProcess) -> None:
    for _ in range(5):
        assert [process.status("/a/status?500") for _ in range(3)] == [500] * 3
        assert process.status("/a") == 200
    assert state(process) == "CLOSED"


def test_it_stays_open_while_the_backend_is_down(gateway: Start) -> None:
    port = free_port()
    process = gateway(ROUTES=routes(**{"/a": f"http://127.0.0.1:{port}"}), CIRCUIT_OPEN_SECONDS="1").ready()
    until(lambda: state(process) == "OPEN", 10, "it is seen")
    for _ in range(20):
        assert state(process) == "OPEN"
        time.sleep(0.1)


def test_the_health_of_the_backend_counts_where_it_is_given(gateway: Start, backend: Backend) -> None:
    process = gateway(
        ROUTES=f'[{{"prefix": "/a", "upstream": "{backend.url}", "health": "/a/status"}},'
        f'{{"prefix": "/b", "upstream": "{backend.url}", "health": "/health"}}]',
        CIRCUIT_OPEN_SECONDS="1",
    ).ready()
    until(lambda: state(process) == "OPEN", 10, "its health is not well")
    assert state(process, "/b") == "CLOSED"


def test_slow_answers_open_it(gateway: Start, backend: Backend) -> None:
    process = gateway(
        ROUTES=routes(**{"/a": backend.url, "/b": backend.url}),
        CIRCUIT_SLOW_SECONDS="0.1",
        CIRCUIT_SLOW_REQUESTS="5",
        CIRCUIT_SLOW_WINDOW_SECONDS="5",
        CIRCUIT_OPEN_SECONDS="1",
    ).ready()
    for _ in range(20):
        assert process.status("/b") == 200
    assert state(process, "/b") == "CLOSED"
    for _ in range(5):
        assert process.status("/a/slow?0.15") == 200
    until(lambda: state(process) == "OPEN", 5, "it opens")
    assert process.status("/a") == 503
    assert process.status("/b") == 200
    until(lambda: state(process) == "CLOSED", 10, "it closes by itself")
    assert process.status("/a") == 200


def test_headers_that_have_no_room_are_not_the_servers_failure(gateway: Start) -> None:
    cookies = [f"c{number}={'x' * 1000}" for number in range(20)]

    def respond(request: Request, _: socket.socket) -> bytes:
        return answer(200, "fine", Set_Cookie=cookies) if request.path == "/a/large" else answer(200, "fine")

    with Upstream(respond) as upstream:
        process = gateway(ROUTES=routes(**{"/a": upstream.url}), CIRCUIT_ERRORS="4", CIRCUIT_OPEN_SECONDS="30").ready()
        for _ in range(3):
            assert {process.status("/a/large") for _ in range(4)} == {502}
            until(lambda: process.status("/a") == 200, 2, "others are served")
        assert state(process) == "CLOSED"
        assert "PROXY_STREAM_CHUNK_SIZE" in process.own_log
        # What can't be read for another reason still opens it.
        upstream.respond = b"HTTP/1.1 200 OK\r\nno header\r\n\r\n"
        assert {process.status("/a") for _ in range(4)} == {502}
        for _ in range(5):
            assert process.status("/a") == 503
            time.sleep(0.2)


def test_a_larger_buffer_has_room_for_more(gateway: Start) -> None:
    cookies = [f"c{number}={'x' * 1000}" for number in range(20)]
    with Upstream(answer(200, "fine", Set_Cookie=cookies)) as upstream:
        process = gateway(ROUTES=routes(**{"/a": upstream.url}), PROXY_STREAM_CHUNK_SIZE="32768").ready()
        assert process.status("/a") == 200
