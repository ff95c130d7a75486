"""A stopping instance: it finishes requests in flight, loses no idle connection, and exits."""

from __future__ import annotations

import concurrent.futures
import re
import signal
import time
from typing import TYPE_CHECKING

from support.client import Client, ask
from support.load import Load
from support.upstream import Request, Upstream
from support.wait import until

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from pathlib import Path

    from support.gateway import GatewayProcess
    from support.servers import Backend

    Start = Callable[..., GatewayProcess]

PIECES = 15


def _in_pieces(_: Request, connection: socket.socket) -> None:
    connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {PIECES * 1000}\r\nConnection: close\r\n\r\n".encode())
    for _number in range(PIECES):
        time.sleep(0.2)
        connection.sendall(b"x" * 1000)
    connection.close()


def test_a_stream_ends_as_it_should(gateway: Start) -> None:
    with Upstream(_in_pieces) as upstream, concurrent.futures.ThreadPoolExecutor() as pool:
        process = gateway(A_SERVICE_URL=upstream.url, SHUTDOWN_GRACE_SECONDS="15").ready()
        stream = pool.submit(ask, process.port, "/api/a")
        until(lambda: upstream.requests, 5, "it has begun")
        process.signal(signal.SIGTERM)
        assert len(stream.result().body) == PIECES * 1000
        assert process.wait(10) == 0


def test_clients_that_a_load_balancer_takes_away_in_time_lose_nothing(gateway: Start, backend: Backend) -> None:
    process = gateway(A_SERVICE_URL=backend.url, SHUTDOWN_DELAY_SECONDS="3").ready()
    with Load(process.port, "/api/a") as load:
        until(lambda: load.requests > 50, 10, "they are at it")
        process.signal(signal.SIGTERM)
        until(lambda: process.status("/api/health") == 503, 2, "it says that it goes")
        before = load.requests
        until(lambda: load.requests > before + 20, 3, "they still are")
    assert load.failures == []
    assert process.wait() == 0


def test_one_that_was_drained_does_not_wait_again(gateway: Start, backend: Backend, tmp_path: Path) -> None:
    """Its 503 has been there for long enough for every balancer."""
    process = gateway(A_SERVICE_URL=backend.url, SHUTDOWN_DELAY_SECONDS="6", RUNTIME_DIR=str(tmp_path)).ready()
    asked = time.monotonic()
    assert process.command("drain").returncode == 0
    time.sleep(4)
    started = time.monotonic()
    process.signal(signal.SIGTERM)
    until(lambda: "inFlightGraceSeconds" in process.log, 5, "it stops")
    assert process.status("/api/health") == 503
    assert process.wait() == 0
    assert time.monotonic() - asked >= 6
    assert time.monotonic() - started < 6


def test_idle_connections_do_not_hold_it(gateway: Start, backend: Backend) -> None:
    process = gateway(A_SERVICE_URL=backend.url, SHUTDOWN_GRACE_SECONDS="20").ready()
    clients = [Client(process.port) for _ in range(5)]
    assert {client.ask("/api/a").status for client in clients} == {200}
    started = time.monotonic()
    process.signal(signal.SIGTERM)
    assert process.wait() == 0
    assert time.monotonic() - started < 8
    for client in clients:
        client.close()


def test_a_kept_connection_is_told_to_close(gateway: Start, backend: Backend, tmp_path: Path) -> None:
    process = gateway(A_SERVICE_URL=backend.url, RUNTIME_DIR=str(tmp_path)).ready()
    client = Client(process.port)
    assert client.ask("/api/a").header("connection") is None
    assert process.command("drain").returncode == 0
    assert client.ask("/api/a").header("connection") == "close"
    client.close()


def test_idle_connections_are_kept_for_longer_than_a_load_balancer_does(gateway: Start, tmp_path: Path) -> None:
    """60 s is what an ALB waits, and it must be the one to close."""
    gateway(RUNTIME_DIR=str(tmp_path)).ready()
    [client, waiting] = re.findall(
        r"timeout (?:http-keep-alive|client) (\d+)ms", (tmp_path / "current" / "haproxy.cfg").read_text()
    )
    assert min(int(client), int(waiting)) >= 65_000


def test_an_idle_connection_after_65_s(idle_connection: concurrent.futures.Future[list[int]]) -> None:
    assert idle_connection.result(timeout=90) == [200, 200]
