"""Limits while Redis, HAProxy or the control plane fail: traffic continues, and requests are still counted."""

from __future__ import annotations

import concurrent.futures
import os
import signal
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from support.limits import Fleet, Load, ask, log_in, new_client, routes, statuses
from support.redis import RedisServer, SlowLink
from support.servers import Backend
from support.supervised import control_of
from support.wait import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.gateway import GatewayProcess

    Start = Callable[..., GatewayProcess]

PASSWORD = "planted-redis-password"
FAULTS = {
    "stopped": "degraded",
    "slow": "degraded",
    "dead": "down",
    "read-only": "degraded",
    "another password": "degraded",
}


@pytest.fixture(scope="module")
def upstream() -> Iterator[Backend]:
    with Backend() as running:
        yield running


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer(password=PASSWORD) as running:
        yield running


@pytest.fixture(scope="module")
def link(server: RedisServer) -> Iterator[SlowLink]:
    with SlowLink(server.port) as running:
        yield running


@pytest.fixture(scope="module")
def fleet(upstream: Backend, link: SlowLink) -> Iterator[Fleet]:
    address = {"REDIS_URL": f"redis://:{PASSWORD}@localhost:{link.port}/0"}
    with Fleet(2, **routes(upstream), **address) as running:
        yield running.shared()


@contextmanager
def fault(name: str, server: RedisServer, link: SlowLink) -> Iterator[None]:
    faults: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "stopped": (lambda: server.signal(signal.SIGSTOP), lambda: server.signal(signal.SIGCONT)),
        "slow": (lambda: link.hold_back(2.0), lambda: link.hold_back(0.0)),
        "dead": (server.kill, server.start),
        "read-only": (server.become_replica, server.become_primary),
        "another password": (lambda: server.change_password("another"), lambda: server.change_password(PASSWORD)),
    }
    begin, end = faults[name]
    begin()
    try:
        yield
    finally:
        end()


def counted(server: RedisServer, client: str) -> int:
    redis = server.client
    return sum(int(count) for key in redis.keys(f"*client:*/{client}") for count in redis.hgetall(key).values())


@pytest.mark.parametrize("name", FAULTS)
def test_redis_fails(fleet: Fleet, server: RedisServer, link: SlowLink, name: str) -> None:
    fleet.shared()
    busy, quiet, guesser = new_client(), new_client(), new_client()
    plan = [(0.01 * n, fleet.ports[n % 2]) for n in range(150)]
    load = Load(busy, plan, threads=4)
    runner = threading.Thread(target=load.run)
    errors = fleet.metric(0, "gateway_redis_errors_total")
    runner.start()
    time.sleep(0.5)  # in the middle of it
    with fault(name, server, link):
        until(lambda: {fleet.redis(0)["status"], fleet.redis(1)["status"]} == {FAULTS[name]}, 5, "health says so")
        assert fleet.redis(0)["error"]
        assert fleet[0].status("/api/health") == 200
        assert fleet.metric(0, "gateway_redis_up") == 0
        assert fleet.metric(0, "gateway_redis_errors_total") > errors
        runner.join()
        # It was admitted by each alone at worst, and nothing else was ever said.
        found = [status for status, _ in load.answers]
        assert set(found) <= {200, 429}
        assert found.count(200) >= 100
        slowest = max(seconds for _, seconds in load.answers)
        assert slowest < 0.5, f"a request took {slowest:.3f} s"
        # Local counting goes on.
        assert statuses(fleet.ports[0], 102, quiet) == [200] * 100 + [429] * 2
        assert statuses(fleet.ports[1], 20, quiet) == [200] * 20
        assert [log_in(fleet.ports[0], client=guesser).status for _ in range(7)] == [401] * 5 + [429] * 2
        assert log_in(fleet.ports[0], "right", client=new_client()).status == 200
    until(lambda: {fleet.redis(0)["status"], fleet.redis(1)["status"]} == {"up"}, 5, "it recovers by itself")
    # What was counted alone is told: 100 of one and 20 of the other.
    until(lambda: counted(server, quiet) >= 120, 3, "the counts are told")
    until(lambda: statuses(fleet.ports[1], 1, quiet) == [429], 2, "the other gateway knows")
    until(lambda: log_in(fleet.ports[1], client=guesser).status == 429, 2, "of the failed logins too")
    fleet.shared()


def test_redis_comes_back_without_its_data(fleet: Fleet, server: RedisServer) -> None:
    """That is no FLUSHDB: no count starts again."""
    fleet.shared()
    client = new_client()
    statuses(fleet.ports[0], 60, client)
    time.sleep(0.5)
    server.kill()
    server.start()
    until(lambda: counted(server, client) >= 60, 5, "the counts are told again")
    found = statuses(fleet.ports[1], 60, client)
    assert 40 <= found.count(200) <= 45


def test_a_gateway_without_its_control_plane(fleet: Fleet, server: RedisServer) -> None:
    """It goes on with what it has, and asks Redis near the limit."""
    fleet.shared()
    client = new_client()
    fleet[0].signal(signal.SIGSTOP)
    try:
        counts = Load(client, [(0.01 * n, fleet.ports[n % 2]) for n in range(150)]).run()
    finally:
        fleet[0].signal(signal.SIGCONT)
    assert 100 <= counts[200] <= 110
    fleet.shared()


def test_haproxy_crashes_and_the_counts_stay(fleet: Fleet) -> None:
    fleet.shared()
    client, guesser = new_client(), new_client()
    assert statuses(fleet.ports[0], 60, client) == [200] * 60
    assert [log_in(fleet.ports[0], client=guesser).status for _ in range(6)] == [401] * 5 + [429]
    time.sleep(0.5)
    [haproxy] = fleet[0].children
    os.kill(haproxy, signal.SIGKILL)
    until(lambda: fleet[0].status("/api/health") == 200 and fleet[0].children != [haproxy], 10, "another HAProxy")
    assert log_in(fleet.ports[0], client=guesser).status == 429
    fleet.shared()
    found = statuses(fleet.ports[0], 60, client)
    assert 40 <= found.count(200) <= 45


@pytest.mark.parametrize("together", [True, False])
def test_a_reload_keeps_the_counts(
    gateway: Start,
    upstream: Backend,
    server: RedisServer,
    tmp_path: Path,
    together: bool,  # noqa: FBT001
) -> None:
    """Here the limit itself is what changes."""
    configuration = tmp_path / ".env"
    configuration.write_text("RATE_LIMIT_CLIENT=100\n")
    redis = {"REDIS_URL": f"redis://:{PASSWORD}@127.0.0.1:{server.port}"} if together else {}
    process = gateway(
        RATE_LIMIT_ENABLED="true", CONFIG_DIR=str(tmp_path), CONFIG_WATCH_SECONDS="0.2", **routes(upstream), **redis
    ).ready()
    client, guesser = new_client(), new_client()
    assert statuses(process.port, 60, client) == [200] * 60
    assert [log_in(process.port, client=guesser).status for _ in range(4)] == [401] * 4
    time.sleep(1.2)  # a settlement
    configuration.write_text("RATE_LIMIT_CLIENT=80\n")
    until(lambda: ask(process.port, client=new_client()).headers["ratelimit-limit"] == "80", 10, "the new limit")
    until(lambda: int(ask(process.port, client=client).headers["ratelimit-remaining"]) < 20, 5, "the counts are there")
    found = statuses(process.port, 30, client)
    assert found.count(200) <= 20
    assert found[-1] == 429
    assert [log_in(process.port, client=guesser).status for _ in range(3)] == [401, 429, 429]


@pytest.mark.parametrize("together", [True, False])
def test_another_control_plane_keeps_the_counts(
    gateway: Start,
    upstream: Backend,
    server: RedisServer,
    together: bool,  # noqa: FBT001
) -> None:
    """It replaces HAProxy too."""
    redis = {"REDIS_URL": f"redis://:{PASSWORD}@127.0.0.1:{server.port}"} if together else {}
    process = gateway("supervisor", RATE_LIMIT_ENABLED="true", **routes(upstream), **redis).ready()
    client, guesser = new_client(), new_client()
    assert statuses(process.port, 60, client) == [200] * 60
    assert [log_in(process.port, client=guesser).status for _ in range(4)] == [401] * 4
    time.sleep(1.2)  # a settlement
    os.kill(control_of(process), signal.SIGKILL)
    until(lambda: "handed to a new HAProxy" in process.log, 20, "another HAProxy has the counts")
    process.ready()
    assert 38 <= statuses(process.port, 60, client).count(200) <= 42
    assert [log_in(process.port, client=guesser).status for _ in range(3)] == [401, 429, 429]


def test_logins_while_haproxy_is_replaced(
    gateway: Start, upstream: Backend, server: RedisServer, tmp_path: Path
) -> None:
    """Those in flight are told to Redis by the old one, new ones asked by either: exactly five fail."""
    configuration = tmp_path / ".env"
    configuration.write_text("RATE_LIMIT_CLIENT=1000\n")
    process = gateway(
        RATE_LIMIT_ENABLED="true",
        CONFIG_DIR=str(tmp_path),
        CONFIG_WATCH_SECONDS="0.1",
        REDIS_URL=f"redis://:{PASSWORD}@127.0.0.1:{server.port}",
        **routes(upstream),
    ).ready()
    until(lambda: process.request("/health").body["dependencies"]["redis"]["status"] == "up", 5, "shared")
    upstream.logins.clear()
    good, bad = new_client(), new_client()
    with concurrent.futures.ThreadPoolExecutor(24) as pool:
        fine = [pool.submit(log_in, process.port, "right", client=good, seconds=3) for _ in range(4)]
        until(lambda: len(upstream.logins) == 4, 5, "they are in flight")
        tries = []
        for number in range(60):
            if number == 10:
                configuration.write_text("RATE_LIMIT_CLIENT=2000\n")
            tries.append(pool.submit(log_in, process.port, client=bad, seconds=0.2))
            time.sleep(0.03)
        found = [future.result().status for future in tries]
        assert {future.result().status for future in fine} == {200}
    assert found.count(401) == 5
    assert found.count(429) == 55
    assert upstream.logins.count("wrong") == 5
    assert ask(process.port, client=new_client()).headers["ratelimit-limit"] == "2000"
    until(
        lambda: not any(server.client.hgetall(key) for key in server.client.keys(f"*login:*/{good}")), 3, "none failed"
    )


def test_the_password_is_seen_nowhere(fleet: Fleet, server: RedisServer) -> None:
    assert PASSWORD not in fleet.logs
    for number in range(2):
        for path in fleet.runtime(number).rglob("*"):
            if path.is_file() and PASSWORD.encode() in path.read_bytes():
                assert path.stat().st_mode & 0o077 == 0
                assert path.name == "limits.hello"
        for pid in (fleet[number].pid, *fleet[number].children):
            with open(f"/proc/{pid}/cmdline", "rb") as file:  # noqa: PTH123
                assert PASSWORD.encode() not in file.read()
        answers = [fleet[number].request(path).body for path in ("/health/detailed", "/metrics")]
        assert PASSWORD not in str(answers)
