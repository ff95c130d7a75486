"""Routing, time-outs, retries and connection limits."""

from __future__ import annotations

import concurrent.futures
import http.client
import itertools
import json
import threading
import time
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any

import pytest

from support.client import Client, ask
from support.gateway import GatewayProcess
from support.upstream import HANG_UP, Upstream, answer
from support.wait import free_port, until

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator

    from support.upstream import Request

    Start = Callable[..., GatewayProcess]


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with Upstream() as running:
        yield running


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[GatewayProcess, dict[str, Upstream]]]:
    """A gateway with routes by host, method and prefix, each to a server of its own that knows its name."""
    routes: dict[str, dict[str, Any]] = {
        "api": {"prefix": "/api"},
        "read": {"prefix": "/api/users", "methods": ["GET"]},
        "write": {"prefix": "/api/users", "methods": "POST,PUT"},
        "only": {"prefix": "/only", "methods": ["GET", "DELETE"]},
        "deep": {"prefix": "/only/deep", "methods": ["POST"]},
        "host": {"prefix": "/api", "host": "Shop.Example.com"},
        "cart": {"prefix": "/api/cart", "host": "shop.example.com", "methods": ["POST"]},
        "dots": {"prefix": "/a.b", "strip_prefix": True},
        "new": {"prefix": "/old", "rewrite": "/v2/new/"},
    }
    servers = {name: Upstream(answer(200, name)) for name in routes}
    table = json.dumps([route | {"upstream": servers[name].url} for name, route in routes.items()])
    process = GatewayProcess(tmp_path_factory.mktemp("routing") / "log", {"ROUTES": table})
    with ExitStack() as running:
        running.callback(process.destroy)
        for server in servers.values():
            running.enter_context(server)
        yield process.ready(), servers


@pytest.mark.parametrize(
    ("host", "method", "path", "name"),
    [
        ("x", "GET", "/api/other", "api"),
        ("x", "DELETE", "/api/users/7", "api"),
        ("x", "GET", "/api/users/7", "read"),
        ("x", "HEAD", "/api/users/7", "read"),
        ("x", "PUT", "/api/users", "write"),
        ("x", "POST", "/api/users2", "api"),
        ("x", "POST", "/only/deep/er", "deep"),
        ("x", "DELETE", "/only/deep/er", "only"),
        ("shop.example.com", "GET", "/api/users/7", "host"),
        ("SHOP.example.com.:8080", "GET", "/api", "host"),
        ("shop.example.com", "GET", "/api/cart", "host"),
        ("shop.example.com", "POST", "/api/cart/1", "cart"),
        ("shop.example.com", "GET", "/only", "only"),
        ("www.shop.example.com", "GET", "/api/cart", "api"),
        ("shop.example.co", "POST", "/api/cart", "api"),
    ],
)
def test_host_then_prefix_then_method(
    named: tuple[GatewayProcess, dict[str, Upstream]], host: str, method: str, path: str, name: str
) -> None:
    process, servers = named
    before = len(servers[name].requests)
    assert ask(process.port, path, method, host=host).status == 200
    assert [request.method for request in servers[name].requests[before:]] == [method]


@pytest.mark.parametrize(("path", "allow"), [("/only", "DELETE, GET, HEAD"), ("/only/deep", "DELETE, GET, HEAD, POST")])
def test_another_method_is_told_which_ones(
    named: tuple[GatewayProcess, dict[str, Upstream]], path: str, allow: str
) -> None:
    reply = ask(named[0].port, path, "PATCH")
    assert (reply.status, reply.header("allow")) == (405, allow)
    assert reply.json == {"error": "no route for this method", "requestId": reply.header("x-request-id")}


@pytest.mark.parametrize(
    ("name", "path", "expected"),
    [
        ("dots", "/a.b", "/"),
        ("dots", "/a.b/", "/"),
        ("dots", "/a.b?x=/a.b/1", "/?x=/a.b/1"),
        ("dots", "/a.b/a.b/c%2Bd?q=1", "/a.b/c%2Bd?q=1"),
        ("new", "/old", "/v2/new/"),
        ("new", "/old/1?a=b", "/v2/new/1?a=b"),
    ],
)
def test_the_prefix_is_replaced(
    named: tuple[GatewayProcess, dict[str, Upstream]], name: str, path: str, expected: str
) -> None:
    process, servers = named
    assert ask(process.port, path).status == 200
    assert servers[name].last.path == expected
    assert servers[name].last.header("x-forwarded-prefix") == path[:4]


def test_a_dot_in_a_prefix_is_a_dot(named: tuple[GatewayProcess, dict[str, Upstream]]) -> None:
    assert ask(named[0].port, "/axb").status == 404


def test_timeouts_of_a_route(gateway: Start, upstream: Upstream) -> None:
    def slow(request: Request, _: socket.socket) -> bytes:
        time.sleep(float(request.path.rpartition("/")[2]))
        return answer()

    upstream.respond = slow
    routes = [
        {"prefix": "/quick", "upstream": upstream.url, "timeout_read_seconds": 0.3},
        {"prefix": "/patient", "upstream": upstream.url, "timeout_read_seconds": 5},
        {"prefix": "/usual", "upstream": upstream.url},
    ]
    process = gateway(ROUTES=json.dumps(routes), PROXY_TIMEOUT_READ_SECONDS="1").ready()
    assert ask(process.port, "/quick/0.7").status == 504
    assert ask(process.port, "/usual/0.7").status == 200
    assert ask(process.port, "/usual/1.6").status == 504
    assert ask(process.port, "/patient/1.6").status == 200


def fails_first(times: int, failure: bytes) -> Callable[[Request, socket.socket], bytes]:
    """Fail so often for each path, then answer."""
    seen: dict[str, itertools.count[int]] = {}

    def respond(request: Request, _: socket.socket) -> bytes:
        number = next(seen.setdefault(request.path, itertools.count()))
        return failure if number < times else answer(200, str(number))

    return respond


def test_only_what_changes_nothing_is_sent_again(gateway: Start, upstream: Upstream) -> None:
    upstream.respond = fails_first(1, HANG_UP)
    routes = [{"prefix": "/", "upstream": upstream.url}, {"prefix": "/once", "upstream": upstream.url, "retries": 0}]
    process = gateway(ROUTES=json.dumps(routes)).ready()
    for method in ("GET", "HEAD", "OPTIONS"):
        assert ask(process.port, f"/{method}", method).status == 200
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert ask(process.port, f"/{method}", method, body=b"x").status == 502
        assert sum(request.method == method for request in upstream.requests) == 1
    assert ask(process.port, "/once").status == 502


def test_a_kept_connection_ends_with_the_backends(gateway: Start, upstream: Upstream) -> None:
    """HAProxy leaves it to the client whether to ask again; it has not done so itself where that could do harm."""
    upstream.respond = lambda request, _: HANG_UP if request.path == "/api/api/gone" else answer()
    process = gateway(API_SERVICE_URL=upstream.url).ready()
    for method, times in (("POST", 1), ("GET", 3)):
        with closing(Client(process.port)) as client:
            assert client.ask("/api/api").status == 200
            with pytest.raises(http.client.RemoteDisconnected):
                client.ask("/api/api/gone", method)
        asked = [request.method for request in upstream.requests if request.path == "/api/api/gone"]
        assert asked.count(method) == times
    assert ask(process.port, "/api/api/gone", "POST").status == 502


def test_answers_that_are_asked_for_again(gateway: Start, upstream: Upstream) -> None:
    upstream.respond = fails_first(1, answer(503, "busy"))
    environment = {"ROUTES": json.dumps([{"prefix": "/x", "upstream": upstream.url}])}
    never = gateway(**environment).ready()
    assert ask(never.port, "/x/never").body == b"busy"
    process = gateway(**environment, PROXY_RETRY_ON="conn-failure,503").ready()
    assert ask(process.port, "/x/get").body == b"1"
    assert ask(process.port, "/x/post", "POST", body=b"").body == b"busy"


def test_a_server_that_is_gone_fails_nobody(gateway: Start, upstream: Upstream) -> None:
    """What could not be sent was not processed: also a POST goes to the other one."""
    dead = f"http://127.0.0.1:{free_port()}"
    process = gateway(API_SERVICE_URL=f"{dead},{upstream.url}").ready()
    replies = [ask(process.port, "/api/api/x", "POST", body=b"x").status for _ in range(6)]
    assert replies == [200] * 6
    assert len(upstream.requests) == 6


def test_a_name_without_an_address_fails_nobody(gateway: Start, upstream: Upstream) -> None:
    process = gateway(API_SERVICE_URL=f"http://no-such-name.invalid, {upstream.url}").ready()
    assert [ask(process.port, "/api/api/x").status for _ in range(4)] == [200] * 4
    named = upstream.url.replace("127.0.0.1", "localhost")
    both = gateway(API_SERVICE_URL=f"{named},{upstream.url}").ready()
    assert [ask(both.port, "/api/api/x").status for _ in range(4)] == [200] * 4


@pytest.mark.parametrize("limits", [{}, {"RATE_LIMIT_CLIENT": "1000"}], ids=["alone", "beside limits"])
def test_the_budget_of_retries(gateway: Start, upstream: Upstream, limits: dict[str, str]) -> None:
    upstream.respond = lambda request, _: HANG_UP
    process = gateway(API_SERVICE_URL=upstream.url, CIRCUIT_ERRORS="0", **limits).ready()
    assert {ask(process.port, "/api/api/x").status for _ in range(50)} == {502}
    # The first ten are tried three times; from then on it is clear that this does not help.
    assert 55 <= len(upstream.requests) <= 50 + 2 * 12


def test_several_servers_take_turns(gateway: Start) -> None:
    with Upstream(answer(200, "one")) as one, Upstream(answer(200, "two")) as two:
        routes = [{"prefix": "/x", "upstream": [one.url, two.url]}]
        process = gateway(ROUTES=json.dumps(routes)).ready()
        with closing(Client(process.port)) as client:
            bodies = [client.ask("/x").body for _ in range(8)]
        assert bodies in ([b"one", b"two"] * 4, [b"two", b"one"] * 4)
        assert process.request("/api/gateway-info").body["routes"][0]["upstream"] == f"{one.url}, {two.url}"
        aggregate = process.request("/api/health/aggregate").body["services"]["/x"]
        assert {url: found["status"] for url, found in aggregate["upstreams"].items()} == {
            one.url: "healthy",
            two.url: "healthy",
        }


def test_the_idler_server_is_taken(gateway: Start) -> None:
    released = {"slow": threading.Event(), "quick": threading.Event()}

    def server(name: str) -> Callable[[Request, socket.socket], bytes]:
        def respond(request: Request, _: socket.socket) -> bytes:
            if request.path == "/x/stuck":
                released[name].wait(30)
            return answer(200, name)

        return respond

    with Upstream(server("slow")) as slow, Upstream(server("quick")) as quick:
        routes = [{"prefix": "/x", "upstream": [slow.url, quick.url], "balance": "leastconn"}]
        process = gateway(ROUTES=json.dumps(routes)).ready()
        with concurrent.futures.ThreadPoolExecutor(6) as pool:
            try:
                stuck = [pool.submit(ask, process.port, "/x/stuck") for _ in range(6)]
                until(lambda: len(slow.requests) == len(quick.requests) == 3, 10, "both have as many")
                released["quick"].set()
                until(lambda: sum(future.done() for future in stuck) == 3, 10, "one of them is idle")
                assert [ask(process.port, "/x").body for _ in range(6)] == [b"quick"] * 6
            finally:
                for event in released.values():
                    event.set()
            assert {future.result().status for future in stuck} == {200}


def test_upstream_connections_are_kept(gateway: Start, upstream: Upstream) -> None:
    process = gateway(API_SERVICE_URL=upstream.url).ready()
    with closing(Client(process.port)) as client:
        assert {client.ask("/api/api").status for _ in range(20)} == {200}
    assert upstream.connections == 1
    closed = gateway(API_SERVICE_URL=upstream.url, PROXY_POOL_CONNECTIONS="0").ready()
    with closing(Client(closed.port)) as client:
        client.ask("/api/api")
    before = upstream.connections
    with closing(Client(closed.port)) as client:
        client.ask("/api/api")
    assert upstream.connections == before + 1


@pytest.mark.parametrize("block", ["true", "false"])
def test_no_more_connections_than_that(gateway: Start, upstream: Upstream, block: str) -> None:
    """Who comes then waits for one, or is told at once."""
    free = threading.Event()

    def busy(request: Request, _: socket.socket) -> bytes:
        free.wait(10)
        return answer()

    upstream.respond = busy
    process = gateway(API_SERVICE_URL=upstream.url, PROXY_POOL_MAXSIZE="2", PROXY_POOL_BLOCK=block).ready()
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        try:
            taken = [pool.submit(ask, process.port, "/api/api/x") for _ in range(2)]
            until(lambda: len(upstream.requests) == 2, 5, "both connections are taken")
            late = [pool.submit(ask, process.port, "/api/api/late") for _ in range(3)]
            if block == "false":
                replies = [future.result(2) for future in late]
                assert {reply.status for reply in replies} == {503}
                assert set(replies[0].json) == {"error", "requestId"}
            else:
                assert not concurrent.futures.wait(late, 0.3).done
                assert len(upstream.requests) == 2
        finally:
            free.set()
        assert {future.result().status for future in taken} == {200}
        if block == "true":
            assert {future.result().status for future in late} == {200}


def test_a_queue_has_an_end(gateway: Start, upstream: Upstream) -> None:
    free = threading.Event()

    def busy(request: Request, _: socket.socket) -> bytes:
        free.wait(10)
        return answer()

    upstream.respond = busy
    routes = [{"prefix": "/x", "upstream": upstream.url, "max_connections": 1, "timeout_queue_seconds": 0.3}]
    process = gateway(ROUTES=json.dumps(routes)).ready()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        try:
            first = pool.submit(ask, process.port, "/x")
            until(lambda: upstream.requests, 5, "the connection is taken")
            started = time.monotonic()
            assert ask(process.port, "/x").status == 503
            assert 0.25 < time.monotonic() - started < 3
        finally:
            free.set()
        assert first.result().status == 200
