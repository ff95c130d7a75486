"""HTTP/2 clients without TLS get the same responses as others."""

from __future__ import annotations

import json
import socket
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, StreamEnded

from support.client import LOCAL
from support.gateway import GatewayProcess
from support.h2wire import H2Wire, Headers
from support.tokens import SECRET, secret, sign
from support.upstream import Upstream, answer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.upstream import Request

PROXY_BUFFER = 16_384


def request(path: str, method: str = "GET", *more: tuple[str, str]) -> Headers:
    headers = [(":method", method), (":scheme", "http"), (":authority", "gateway.test"), (":path", path), *more]
    return [(name.encode(), value.encode()) for name, value in headers]


def test_a_request_as_any_other(served: Served) -> None:
    process, upstream = served
    upstream.respond = answer(200, "fine", X_Custom="kept")
    with H2Wire(process.port) as wire:
        origin = ("origin", "https://app.example.com")
        found = wire.ask(
            request("/x?a=b", "POST", ("x-forwarded-for", "192.0.2.1"), origin), b"body", [(b"x-sum", b"7")]
        )
    assert (found.status, found.body) == (200, b"fine")
    assert found.headers is not None
    assert found.headers["x-custom"] == "kept"
    assert found.headers["access-control-allow-origin"] == "https://app.example.com"
    seen = upstream.last
    assert (seen.method, seen.path, seen.body) == ("POST", "/x?a=b", b"body")
    assert [(name.lower(), value) for name, value in seen.trailers] == [("x-sum", "7")]
    assert seen.header("host") == seen.header("x-forwarded-host") == "gateway.test"
    assert seen.header("x-forwarded-for") == LOCAL
    assert seen.header("x-request-id") == found.headers["x-request-id"]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[GatewayProcess, Upstream]]:
    with ExitStack() as running:
        upstream = running.enter_context(Upstream())
        routes = [
            {"prefix": "/", "upstream": upstream.url},
            {"prefix": "/small", "upstream": upstream.url, "max_body_bytes": 10, "methods": ["POST"]},
        ]
        environment = {"ROUTES": json.dumps(routes), "ALLOWED_ORIGINS": "https://app.example.com"}
        process = GatewayProcess(tmp_path_factory.mktemp("http2") / "log", environment)
        running.callback(process.destroy)
        yield process.ready(), upstream


Served = tuple[GatewayProcess, Upstream]


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        (request("/small", "POST", ("content-length", "10")), b"x" * 10, 200),
        (request("/small", "POST", ("content-length", "11")), b"x" * 11, 413),
        (request("/small", "POST"), b"x", 411),
        (request("/small", "POST"), b"x" * 16_000, 411),
        (request("/small", "POST"), None, 200),
        (request("/small", "POST"), b"", 200),
        (request("/x", "POST"), b"x" * 5, 200),
        (request("/x", "GET", ("x-large", "a" * 13_000)), None, 431),
        (request("/x?" + "a" * 9000), None, 414),
    ],
)
def test_limits_too(served: Served, headers: Headers, body: bytes | None, status: int) -> None:
    process, upstream = served
    upstream.respond = answer()
    before = len(upstream.requests)
    with H2Wire(process.port) as wire:
        assert wire.ask(headers, body).status == status
        # The connection serves on.
        assert wire.ask(request("/x")).status == 200
    assert len(upstream.requests) == before + 1 + (status == 200)


def test_many_at_once_on_one_connection(served: Served) -> None:
    """Slow ones do not hold up quick ones."""
    process, upstream = served

    def respond(request: Request, _: socket.socket) -> bytes:
        if request.path.startswith("/slow"):
            time.sleep(0.5)
        return answer(200, request.path)

    upstream.respond = respond
    paths = [f"/slow/{number}" for number in range(20)] + [f"/quick/{number}" for number in range(20)]
    connection = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
    connection.initiate_connection()
    streams = {}
    for path in paths:
        stream = connection.get_next_available_stream_id()
        streams[stream] = path
        connection.send_headers(stream, request(path), end_stream=True)
    bodies: dict[int, bytes] = dict.fromkeys(streams, b"")
    ended: list[str] = []
    with socket.create_connection((LOCAL, process.port), 10) as wire:
        wire.sendall(connection.data_to_send())
        while len(ended) < len(paths):
            for event in connection.receive_data(wire.recv(65536)):
                if isinstance(event, DataReceived) and event.stream_id is not None:
                    bodies[event.stream_id] += event.data or b""
                elif isinstance(event, StreamEnded) and event.stream_id is not None:
                    ended.append(streams[event.stream_id])
            wire.sendall(connection.data_to_send())
    assert {streams[stream]: body.decode() for stream, body in bodies.items()} == {path: path for path in paths}
    assert all(path.startswith("/quick") for path in ended[:20])


def test_grpc_is_a_502(served: Served) -> None:
    """Its servers speak HTTP/2 only, and the gateway HTTP/1.1 to upstreams."""
    process, upstream = served
    upstream.respond = b"\0\0\0\x04\0\0\0\0\0"  # an empty SETTINGS frame
    call = request("/echo.Echo/Say", "POST", ("content-type", "application/grpc"), ("te", "trailers"))
    with H2Wire(process.port) as wire:
        assert wire.ask(call, b"\0\0\0\0\0").status == 502


def test_the_log_knows(served: Served) -> None:
    process, upstream = served
    upstream.respond = answer()
    with H2Wire(process.port) as wire:
        wire.ask(request("/h2"))
    assert process.logged("/h2")["protocol"] == "HTTP/2"


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    with Upstream(lambda request, _: answer(401 if request.path == "/login" else 200)) as upstream:
        routes = [
            {"prefix": "/protected", "upstream": upstream.url, "auth": "required"},
            {"prefix": "/scoped", "upstream": upstream.url, "auth": "required", "scopes": ["a:b"]},
            {"prefix": "/small", "upstream": upstream.url, "max_body_bytes": 10},
            {"prefix": "/read", "upstream": upstream.url, "methods": ["GET"]},
            {"prefix": "/login", "upstream": upstream.url, "login": True},
            {"prefix": "/gone", "upstream": "http://127.0.0.1:1"},
        ]
        environment = {
            "ROUTES": json.dumps(routes),
            "JWT_SECRET": SECRET,
            "RATE_LIMIT_ENABLED": "true",
            "RATE_LIMIT_CLIENT": "1000",
            "RATE_LIMIT_LOGIN": "1",
        }
        process = GatewayProcess(tmp_path_factory.mktemp("refusing") / "log", environment)
        try:
            process.ready().answers("/gone", 503)
            process.request("/login", "POST", "x")
            yield process
        finally:
            process.destroy()


@pytest.mark.parametrize("size", [10, 1000, 14_000, 60_000])
@pytest.mark.parametrize(
    ("path", "more", "status"),
    [
        ("/protected", (), 401),
        ("/scoped", (("authorization", "Bearer {token}"),), 403),
        ("/nowhere", (), 404),
        ("/read", (), 405),
        ("/small", (), 411),
        ("/small", (("content-length", "{size}"),), 413),
        ("/login", (), 429),
        ("/gone", (), 503),
    ],
)
def test_who_is_refused_while_sending_gets_the_answer(
    refusing: GatewayProcess, path: str, more: tuple[tuple[str, str], ...], status: int, size: int
) -> None:
    """Many clients take a reset for the loss of the answer, also where that has come as a whole."""
    size += 1
    with H2Wire(refusing.port) as wire:
        stream = wire.connection.get_next_available_stream_id()
        # Signed now: a token of the time when the tests were collected may have expired.
        token = sign(secret(), "HS256")
        headers = [(name, value.format(size=size, token=token)) for name, value in more]
        wire.connection.send_headers(stream, request(path, "POST", *headers))
        wire.flush()
        time.sleep(0.05)  # the refusal must not come now
        for start in range(0, size, 16_000):
            part = b"x" * min(16_000, size - start)
            wire.connection.send_data(stream, part, end_stream=start + len(part) == size)
        wire.flush()
        found, code = wire.ending(stream)
    assert found == status
    # HAProxy reads no more than its buffer holds.
    assert code is None or size > PROXY_BUFFER


@pytest.mark.parametrize("path", ["/protected", "/nowhere", "/small", "/gone"])
def test_who_is_refused_and_sends_nothing_gets_the_answer_soon(refusing: GatewayProcess, path: str) -> None:
    with H2Wire(refusing.port) as wire:
        started = time.monotonic()
        stream = wire.connection.get_next_available_stream_id()
        wire.connection.send_headers(stream, request(path, "POST", ("content-length", "5000")))
        wire.flush()
        assert wire.ending(stream)[0] >= 400
        assert time.monotonic() - started < 2
