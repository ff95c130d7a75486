"""The access log: one line of JSON for each request, whatever it contains, and no secret."""

from __future__ import annotations

import json
import random
import signal
import socket
import struct
import time
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

import pytest

from support import tokens
from support.client import LOCAL, STRANGER, Client, ask, exchange
from support.gateway import GatewayProcess
from support.upstream import HANG_UP, Upstream, answer
from support.wait import free_port, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.upstream import Request

    Start = Callable[..., GatewayProcess]

SECRET = "planted-value"
KEY = "a secret of the tests, which has more than 32 bytes"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[GatewayProcess, Upstream]]:
    with ExitStack() as running:
        upstream = running.enter_context(Upstream())
        routes = [
            {"prefix": "/", "upstream": upstream.url, "timeout_read_seconds": 1, "auth": "optional"},
            {"prefix": "/dead", "upstream": f"http://{LOCAL}:{free_port()}", "auth": "none"},
        ]
        environment = {
            "ROUTES": json.dumps(routes),
            "TRUSTED_PROXIES": LOCAL,
            "JWT_SECRET": KEY,
            "RATE_LIMIT_ENABLED": "true",
            "RATE_LIMIT_CLIENT": "0",
            "RATE_LIMIT_USER": "1",
        }
        process = GatewayProcess(tmp_path_factory.mktemp("log") / "log", environment)
        running.callback(process.destroy)
        yield process.ready(), upstream


Served = tuple[GatewayProcess, Upstream]


def test_everything_that_matters(served: Served) -> None:
    process, upstream = served

    def slow(request: Request, _: socket.socket) -> bytes:
        time.sleep(0.05)
        return answer(201, "created")

    upstream.respond = slow
    headers = {"X-Forwarded-For": "203.0.113.9", "X-Request-Id": "my-id"}
    assert ask(process.port, "/all/of/it?x=1", "POST", headers=headers, body=b"x" * 1000).status == 201
    found = process.logged("/all/of/it")
    assert found.pop("time")[:4].isdigit()
    timings = {name: found.pop(name) for name in ("queueMs", "connectMs", "responseMs", "totalMs")}
    assert 50 <= timings["responseMs"] <= timings["totalMs"] < 5000
    assert timings["queueMs"] >= 0
    assert timings["connectMs"] >= 0
    assert found.pop("bytesIn") > 1000
    assert found.pop("bytesOut") > len("created")
    assert found == {
        "level": "info",
        "logger": "access",
        "requestId": "my-id",
        "client": "203.0.113.9",
        "peer": LOCAL,
        "protocol": "HTTP/1",
        "method": "POST",
        "path": "/all/of/it",
        "status": 201,
        "route": "route:",
        "server": "upstream",
        "upstream": upstream.url.removeprefix("http://"),
        "user": "-",
        "token": "-",
        "cache": "-",
        "limit": "-",
        "end": "--",
        "retries": "0",
    }


def test_what_is_nobodys_business(served: Served) -> None:
    process, upstream = served
    upstream.respond = answer(200, SECRET, Set_Cookie=SECRET)
    headers = {"Authorization": f"Basic {SECRET}", "Cookie": f"a={SECRET}", "X-Api-Key": SECRET, "Referer": SECRET}
    assert ask(process.port, f"/private?token={SECRET}", "POST", headers=headers, body=SECRET.encode()).status == 200
    bad = f"GET /private?{SECRET}\x01 HTTP/1.1\r\nHost: x\r\nAuthorization: {SECRET}\r\n\r\n"
    exchange(process.port, bad.encode())
    exchange(process.port, f"{SECRET} {SECRET} {SECRET}\r\n\r\n".encode())
    process.logged("/private")
    assert SECRET not in process.log


def test_the_user_and_the_limit(served: Served) -> None:
    process, upstream = served
    upstream.respond = answer()
    name = "user <7> (x)"
    token = tokens.sign(tokens.secret(KEY), "HS256", tokens.claims(sub=name))
    headers = {"Authorization": f"Bearer {token}"}
    replies = [ask(process.port, f"/mine/{number}", headers=headers) for number in range(2)]
    assert [reply.status for reply in replies] == [200, 429]
    first, second = process.logged("/mine/0"), process.logged("/mine/1")
    assert first["user"] == name
    assert (first["limit"], second["limit"]) == ("-", "user")
    assert second["status"] == 429
    assert token not in process.log


@pytest.mark.parametrize(
    ("path", "status", "end", "retries"),
    [("/hang-up", 502, "SH", "2"), ("/slow", 504, "sH", "0"), ("/dead", 503, "SC", "2"), ("/500", 500, "--", "0")],
)
def test_what_went_wrong(served: Served, path: str, status: int, end: str, retries: str) -> None:
    process, upstream = served

    def respond(request: Request, _: socket.socket) -> bytes:
        if request.path == "/slow":
            time.sleep(1.2)
        return HANG_UP if request.path == "/hang-up" else answer(500)

    upstream.respond = respond
    reply = ask(process.port, path)
    assert reply.status == status
    found = process.logged(path)
    assert (found["level"], found["status"], found["requestId"]) == ("error", status, reply.header("x-request-id"))
    # A server that HAProxy's checks have found dead meanwhile is not even tried.
    assert (found["end"], found["retries"].lstrip("+")) in ((end, retries), *([("SC", "0")] if path == "/dead" else []))


def test_a_client_that_goes_away(served: Served) -> None:
    process, upstream = served

    def slow(request: Request, _: socket.socket) -> bytes:
        time.sleep(0.5)
        return answer()

    upstream.respond = slow
    with socket.create_connection((LOCAL, process.port), 5) as connection:
        connection.sendall(b"POST /gone HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nx")
    found = process.logged("/gone")
    assert found["end"].startswith("C")
    assert found["status"] in (-1, 400)


def test_long_paths_are_cut(served: Served) -> None:
    process, upstream = served
    upstream.respond = answer()
    path = '/long"' + '\\"<>' * 1500
    raw = f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
    exchange(process.port, raw)
    found = process.logged(path[:1024])
    assert found["method"] == "GET"
    # As long as a pipe takes it at once, so that no other line gets in between.
    assert max(len(text) for text in process.log.splitlines() if '"access"' in text) < 4096


def test_whatever_bytes_a_stranger_sends(served: Served) -> None:
    """Each of them is answered or refused, and no line is anything but JSON."""
    process, upstream = served
    upstream.respond = answer()
    dice = random.Random(7)
    awkward = [
        b'"',
        b"\\",
        b"\n",
        b"\r",
        b"\0",
        b"\x7f",
        b"\xff",
        "ü€😀".encode(),
        b"%22",
        b"\\u0000",
        b"{}",
        b"%%",
        b"%s",
    ]

    def junk(length: int) -> bytes:
        return b"".join(dice.choice(awkward) if dice.random() < 0.3 else dice.randbytes(1) for _ in range(length))

    shapes: list[Callable[[], bytes]] = [
        lambda: b"GET /" + junk(12) + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        lambda: junk(5) + b" /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        lambda: b"GET /x HTTP/" + junk(3) + b"\r\nHost: x\r\nConnection: close\r\n\r\n",
        lambda: b"GET /x HTTP/1.1\r\nHost: " + junk(8) + b"\r\nConnection: close\r\n\r\n",
        lambda: b"GET /x HTTP/1.1\r\nHost: x\r\nX-Request-Id: " + junk(8) + b"\r\nConnection: close\r\n\r\n",
        lambda: b"GET /x HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: " + junk(8) + b"\r\nConnection: close\r\n\r\n",
        lambda: junk(40) + b"\r\n\r\n",
    ]
    before = len(process.access_log)
    for number in range(210):
        with socket.create_connection((LOCAL, process.port), 5) as connection:
            connection.sendall(shapes[number % len(shapes)]())
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass
    until(lambda: len(process.access_log) >= before + 150, 10, "they are logged")
    assert process.status("/api/health") == 200


def test_refused_before_it_had_a_route(served: Served) -> None:
    process, _ = served
    assert ask(process.port, "/x?" + "a" * 9000, source=STRANGER).status == 414
    until(lambda: any(found["status"] == 414 for found in process.access_log), 5, "it is logged")
    [found] = [found for found in process.access_log if found["status"] == 414]
    assert (found["client"], found["path"], found["end"], found["route"]) == (STRANGER, "/x", "LR", "-")


def test_the_gateways_own_lines_have_another_name(served: Served) -> None:
    process, _ = served
    everything = [json.loads(text) for text in process.log.splitlines()]
    others = {entry["logger"] for entry in everything} - {"access"}
    assert "app" in others
    assert all("message" in entry for entry in everything if entry["logger"] != "access")


def test_health_is_not_worth_a_line(gateway: Start) -> None:
    with Upstream() as upstream:
        process = gateway(API_SERVICE_URL=upstream.url).ready()
        with closing(Client(process.port)) as client:
            for path in ("/api/health", "/metrics", "/health", "/api/api/x"):
                client.ask(path)
        process.logged("/api/api/x")
        assert {found["path"] for found in process.access_log} == {"/health", "/api/api/x"}
        process.signal(signal.SIGTERM)
        process.wait()
        assert process.access_log, "all is JSON, from the first line to HAProxy's last words"


def test_switched_off(gateway: Start) -> None:
    with Upstream() as upstream:
        process = gateway(API_SERVICE_URL=upstream.url, ACCESS_LOG="false").ready()
        ask(process.port, "/api/api")
        process.signal(signal.SIGTERM)
        process.wait()
        assert process.access_log == []


def test_a_probe_that_says_nothing_is_no_line(served: Served) -> None:
    """As the TCP checks of load balancers do it, many times a minute."""
    process, _ = served
    before = len(process.access_log)
    for abort in (True, False, True):
        probe = socket.create_connection(("127.0.0.1", process.port))
        if abort:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        probe.close()
    with socket.create_connection(("127.0.0.1", process.port)) as stranger:
        stranger.sendall(b"nonsense\r\n\r\n")
        assert stranger.recv(100).startswith(b"HTTP/1.")
    until(lambda: len(process.access_log) > before, 5, "what was said is logged")
    [found] = process.access_log[before:]
    assert found["status"] == 400
