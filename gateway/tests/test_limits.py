"""Limits of requests and of failed logins: one gateway, and a fleet that shares them through a real Redis."""

from __future__ import annotations

import concurrent.futures
import json
import os
import random
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.limits import Fleet, Load, ask, log_in, new_client, routes, statuses
from support.redis import RedisServer
from support.servers import Backend
from support.tokens import SECRET, claims, secret, sign
from support.wait import free_port, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.gateway import GatewayProcess

    Start = Callable[..., GatewayProcess]

SEEDS = range(int(os.environ.get("LIMIT_SEEDS", "4")))


@pytest.fixture(autouse=True)
def _not_at_midnight() -> None:
    """The windows of these tests are days."""
    left = 86400 - time.time() % 86400
    if left < 60:
        time.sleep(left)


@pytest.fixture(scope="module")
def upstream() -> Iterator[Backend]:
    with Backend() as running:
        yield running


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer() as running:
        yield running


@pytest.fixture(scope="module")
def fleet(upstream: Backend, server: RedisServer) -> Iterator[Fleet]:
    """Three gateways; each test is a client of its own to them. A busy machine is no Redis that hangs."""
    patience = {"REDIS_TIMEOUT_SECONDS": "1", "REDIS_LOGIN_TIMEOUT_SECONDS": "5"}
    with Fleet(3, **routes(upstream), **shared(server), **patience) as running:
        yield running.shared()


def shared(server: RedisServer, **more: str) -> dict[str, str]:
    return {"REDIS_HOST": "127.0.0.1", "REDIS_PORT": str(server.port)} | more


# One gateway


def test_a_client_is_told_how_much_is_left_and_refused_beyond(gateway: Start, upstream: Backend) -> None:
    process = gateway(RATE_LIMIT_ENABLED="true", RATE_LIMIT_CLIENT="3", **routes(upstream)).ready()
    client = new_client()
    for left in (2, 1, 0):
        answer = ask(process.port, client=client)
        assert answer.status == 200
        assert answer.headers["ratelimit-limit"] == "3"
        assert answer.headers["ratelimit-remaining"] == str(left)
        assert answer.headers["ratelimit-policy"] == '"client";q=3;w=86400'
        assert 0 <= 86400 - time.time() % 86400 - int(answer.headers["ratelimit-reset"]) + 1 < 3
    answer = ask(process.port, client=client)
    assert answer.status == 429
    assert answer.body["limit"] == "client"
    assert answer.body["requestId"] == answer.headers["x-request-id"]
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["retry-after"] == answer.headers["ratelimit-reset"]
    assert answer.headers["ratelimit-remaining"] == "0"
    assert ask(process.port, client=new_client()).status == 200, "another client has a limit of its own"
    own = ask(process.port, "/api/about-me", client=client)
    assert own.status == 200, "the gateway's own endpoints are not limited"
    assert "ratelimit-limit" not in own.headers


def test_a_window_ends(gateway: Start, upstream: Backend) -> None:
    seconds = routes(upstream) | {"RATE_LIMIT_CLIENT_SECONDS": "2"}
    process = gateway(RATE_LIMIT_ENABLED="true", RATE_LIMIT_CLIENT="3", **seconds).ready()
    client = new_client()
    until(lambda: time.time() % 2 < 0.2, 3, "a window begins")
    assert statuses(process.port, 4, client) == [200, 200, 200, 429]
    wait = int(ask(process.port, client=client).headers["retry-after"])
    assert wait <= 2
    time.sleep(wait)
    assert statuses(process.port, 1, client) == [200]


def test_exempt_addresses_and_routes_without_a_limit(gateway: Start, upstream: Backend) -> None:
    table: list[dict[str, object]] = [{"prefix": "/api/users", "upstream": upstream.url}]
    # More than HAProxy takes on a line.
    free = {"upstream": upstream.url, "rate_limit": False, "login": True}
    table += [{"prefix": f"/api/free{number}", **free} for number in range(70)]
    networks = [f"192.0.2.{number}/32" for number in range(70)]
    process = gateway(
        RATE_LIMIT_CLIENT="2",
        RATE_LIMIT_ENABLED="true",
        ROUTES=json.dumps(table),
        RATE_LIMIT_EXEMPT=" ".join([*networks, "127.250.0.0/16", "::1"]),
    ).ready()
    client = new_client()
    assert statuses(process.port, 5, client, "/api/free69") == [200] * 5
    assert statuses(process.port, 3, client) == [200, 200, 429]
    assert statuses(process.port, 5, "127.250.1.2") == [200] * 5


def test_without_a_limit_nothing_is_counted(gateway: Start, upstream: Backend) -> None:
    process = gateway(RATE_LIMIT_ENABLED="false", RATE_LIMIT_CLIENT="1", **routes(upstream)).ready()
    assert statuses(process.port, 5, new_client()) == [200] * 5
    assert "redis" not in process.request("/health").body["dependencies"]


def test_failed_logins_are_limited_however_the_path_is_written(gateway: Start, upstream: Backend) -> None:
    table = json.dumps([{"prefix": "/", "upstream": upstream.url}])
    process = gateway(RATE_LIMIT_ENABLED="true", RATE_LIMIT_LOGIN="2", ROUTES=table).ready()
    for path in (
        "/api/auth/login",
        "/api/auth/login/",
        "//api//auth/login",
        "/api/auth/%6cogin",
        "/API/auth/Login",
        "/api/auth/login;x=1",
        "/api/auth/login?0",
    ):
        client = new_client()
        found = [ask(process.port, path, client=client, method="POST", body="wrong").status for _ in range(3)]
        assert found in ([401, 401, 429], [400, 400, 400]), path
    client = new_client()
    assert [ask(process.port, "/api/auth/login-help", client=client).status for _ in range(3)] == [401] * 3


def test_only_failures_count(gateway: Start, upstream: Backend) -> None:
    process = gateway(RATE_LIMIT_ENABLED="true", RATE_LIMIT_LOGIN="2", **routes(upstream)).ready()
    client = new_client()
    found = [log_in(process.port, word, client=client).status for word in ["right"] * 5 + ["broken", "wrong", "right"]]
    assert found == [200] * 5 + [500, 401, 200]
    assert [log_in(process.port, client=client).status for _ in range(3)] == [401, 429, 429]
    answer = log_in(process.port, "right", client=client)
    assert answer.status == 429
    assert answer.body["limit"] == "login"
    assert int(answer.headers["retry-after"]) > 1
    assert log_in(process.port, "right", client=new_client()).status == 200


def test_an_attempt_that_reached_no_backend_has_not_failed(gateway: Start) -> None:
    dead = f"http://127.0.0.1:{free_port()}"
    process = gateway(RATE_LIMIT_ENABLED="true", RATE_LIMIT_LOGIN="2", AUTH_SERVICE_URL=dead).ready()
    client = new_client()
    assert [log_in(process.port, client=client).status for _ in range(4)] == [503] * 4


def test_a_route_of_logins(gateway: Start, upstream: Backend) -> None:
    table = json.dumps([{"prefix": "/enter", "upstream": upstream.url, "login": True}])
    process = gateway(RATE_LIMIT_ENABLED="true", RATE_LIMIT_LOGIN="1", ROUTES=table, LOGIN_PATHS="/x").ready()
    client = new_client()
    found = [ask(process.port, "/enter/login", client=client, method="POST", body="wrong").status for _ in range(2)]
    assert found == [401, 429]


def test_a_user_has_a_limit_of_its_own_and_takes_none_from_the_address(gateway: Start, upstream: Backend) -> None:
    settings = routes(upstream) | {"JWT_SECRET": SECRET, "AUTH_DEFAULT": "optional"}
    process = gateway(RATE_LIMIT_ENABLED="true", RATE_LIMIT_CLIENT="3", RATE_LIMIT_USER="5", **settings).ready()
    home, work = new_client(), new_client()

    def get(client: str, token: str) -> tuple[int, str]:
        answer = ask(process.port, client=client, Authorization=f"Bearer {token}")
        return answer.status, answer.headers["ratelimit-policy"].partition(";")[0]

    # Two long names that differ at their end alone.
    one, other = (sign(secret(), "HS256", claims(sub="n" * 200 + name)) for name in "ab")
    assert [get(home, one) for _ in range(3)] == [(200, '"user"')] * 3
    assert [get(work, one) for _ in range(3)] == [(200, '"user"')] * 2 + [(429, '"user"')]
    assert get(work, other) == (200, '"user"')
    assert statuses(process.port, 4, home) == [200, 200, 200, 429], "what the user sent is not the address's"
    assert get(home, other) == (200, '"user"'), "nor the other way round"
    stranger = new_client()
    assert [get(stranger, one + "x") for _ in range(4)] == [(401, '"client"')] * 3 + [(429, '"client"')]


def test_an_ipv6_client_is_its_network(gateway: Start, upstream: Backend) -> None:
    trusted = {"TRUSTED_PROXIES": "127.0.0.0/8"} | routes(upstream)
    process = gateway(RATE_LIMIT_ENABLED="true", RATE_LIMIT_CLIENT="2", **trusted).ready()

    def get(address: str) -> int:
        return ask(process.port, client="127.0.0.1", X_Forwarded_For=address).status

    assert [get(f"2001:db8:1:2:{number}::{number}") for number in range(1, 5)] == [200, 200, 429, 429]
    assert get("2001:db8:1:3::1") == 200
    assert [get(f"[2001:db8:1:4::{number}]:4711") for number in range(1, 5)] == [200, 200, 429, 429]
    # All of IPv4 would be one network.
    assert [get("::ffff:192.0.2.7"), get("::ffff:192.0.2.8"), get("::ffff:192.0.2.9")] == [200] * 3
    assert [get("198.51.100.7") for _ in range(3)] == [200, 200, 429]
    assert get("198.51.100.8") == 200


# A fleet


def plan(seed: int, ports: list[int], rate: float = 200, seconds: float = 1.5) -> list[tuple[float, int]]:
    """One client's requests over the fleet: evenly, to favourites, or from one gateway to the next."""
    chance = random.Random(seed)
    style = chance.choice(["even", "favourites", "onwards", "late"])
    weights = [chance.random() + 0.05 for _ in ports]
    times = sorted(chance.uniform(0, seconds) for _ in range(int(rate * seconds)))
    entries = []
    for number, at in enumerate(times):
        if style == "even":
            port = ports[number % len(ports)]
        elif style == "favourites":
            port = chance.choices(ports, weights)[0]
        elif style == "onwards":
            port = ports[int(at / seconds * 2 * len(ports)) % len(ports)]
        else:  # the last one has not heard of the client when the limit is near
            port = chance.choice(ports[:-1]) if number < 90 else ports[-1]
        entries.append((at, port))
    return entries


def record(seed: int, admitted: int) -> None:
    """For the distribution over many seeds."""
    if path := os.environ.get("LIMIT_RECORD"):
        with Path(path).open("a") as file:
            file.write(f"{seed} {admitted}\n")


@pytest.mark.parametrize("seed", SEEDS)
def test_a_fast_client_gets_the_limit_and_a_tenth_at_most(fleet: Fleet, seed: int) -> None:
    counts = Load(new_client(), plan(seed, fleet.ports)).run()
    record(seed, counts[200])
    assert set(counts) == {200, 429}
    assert 100 <= counts[200] <= 110


def test_a_slow_client_gets_the_limit_exactly_and_all_of_it(fleet: Fleet) -> None:
    client = new_client()
    found = []
    for number in range(104):
        found.append(ask(fleet.ports[number % 3], client=client))
        time.sleep(0.02)
    assert [answer.status for answer in found[:100]] == [200] * 100
    assert 429 in [answer.status for answer in found[100:]]


def test_an_ordinary_client_costs_no_question(fleet: Fleet) -> None:
    def asked() -> float:
        return sum(fleet.metric(number, 'gateway_limit_questions_total{outcome="asked"}') for number in range(3))

    time.sleep(0.5)
    before = asked()
    for _ in range(10):
        client = new_client()
        assert statuses(fleet.ports[0], 5, client) + statuses(fleet.ports[1], 5, client) == [200] * 10
    time.sleep(0.5)
    assert asked() == before


@pytest.mark.parametrize("seed", SEEDS)
def test_exactly_five_failed_logins_reach_the_backend(fleet: Fleet, upstream: Backend, seed: int) -> None:
    chance = random.Random(seed)
    client = new_client()
    upstream.logins.clear()
    delays = [chance.choice([0, 0.02, 0.1]) for _ in range(60)]
    with concurrent.futures.ThreadPoolExecutor(30) as pool:
        tries = [pool.submit(log_in, chance.choice(fleet.ports), client=client, seconds=delay) for delay in delays]
        found = sorted(future.result().status for future in tries)
    assert upstream.logins == ["wrong"] * 5
    assert found == [401] * 5 + [429] * 55


def test_good_logins_of_many_behind_one_address(fleet: Fleet) -> None:
    """More at once than may fail: they wait for each other a moment, none is refused."""
    client = new_client()
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        tries = [pool.submit(log_in, fleet.ports[n % 3], "right", client=client, seconds=0.1) for n in range(20)]
        assert {future.result().status for future in tries} == {200}


def test_flushdb_resets_everybody_within_a_second(fleet: Fleet, server: RedisServer) -> None:
    client = new_client()
    assert Load(client, [(0.005 * n, fleet.ports[n % 3]) for n in range(120)]).run()[429] > 0
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        for future in [pool.submit(log_in, fleet.ports[n % 3], client=new_client()) for n in range(6)]:
            future.result()
    for port in fleet.ports:
        until(lambda port=port: ask(port, client=client).status == 429, 2, "all know")  # type: ignore[misc]
    server.client.flushdb()
    started = time.monotonic()
    for port in fleet.ports:
        until(lambda port=port: ask(port, client=client).status == 200, 2, "reset")  # type: ignore[misc]
    assert time.monotonic() - started < 1
    # A client that was refused may go on for the whole of the limit.
    time.sleep(0.5)
    assert Load(client, [(0.01 * n, fleet.ports[n % 3]) for n in range(60)]).run() == {200: 60}
