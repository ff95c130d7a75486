"""What an upstream sees of a request, and a client of a response, from any sender and of any size."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import socket
import threading
import time
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

import pytest

from support.client import LOCAL, STRANGER, Client, ask, exchange
from support.gateway import GatewayProcess
from support.upstream import Upstream, answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.upstream import Request

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[GatewayProcess, Upstream]]:
    """It trusts 127.0.0.1 and 10.0.0.0/8; 127.0.0.2 is any client."""
    with ExitStack() as running:
        upstream = running.enter_context(Upstream())
        routes = [
            {"prefix": "/", "upstream": upstream.url},
            {"prefix": "/small", "upstream": upstream.url, "max_body_bytes": 1000},
            {"prefix": "/none", "upstream": upstream.url, "max_body_bytes": 0},
        ]
        environment = {"ROUTES": json.dumps(routes), "TRUSTED_PROXIES": "127.0.0.1/32, 10.0.0.0/8, fd00::/8"}
        process = GatewayProcess(tmp_path_factory.mktemp("forwarding") / "log", environment)
        running.callback(process.destroy)
        yield process.ready(), upstream


Served = tuple[GatewayProcess, Upstream]


@pytest.fixture(autouse=True)
def plain(request: pytest.FixtureRequest) -> None:
    if "served" in request.fixturenames:
        request.getfixturevalue("served")[1].respond = answer(200, "fine")


def seen(served: Served, *headers: tuple[str, str], source: str = LOCAL, path: str = "/x") -> Request:
    process, upstream = served
    assert ask(process.port, path, headers=headers, source=source).status == 200
    return upstream.last


@pytest.mark.parametrize(
    ("source", "forwarded", "client"),
    [
        (LOCAL, [], LOCAL),
        (STRANGER, [], STRANGER),
        (STRANGER, ["203.0.113.9"], STRANGER),
        (STRANGER, ["10.0.0.1", "127.0.0.1"], STRANGER),
        (LOCAL, ["203.0.113.9"], "203.0.113.9"),
        # Whatever the client wrote stands before the address that the first trusted proxy saw.
        (LOCAL, ["198.51.100.1, 203.0.113.9"], "203.0.113.9"),
        (LOCAL, ["198.51.100.1", "203.0.113.9"], "203.0.113.9"),
        (LOCAL, ["198.51.100.1, 203.0.113.9, 10.0.0.1, 10.0.0.2"], "203.0.113.9"),
        (LOCAL, ["10.9.9.9, 203.0.113.9, 10.0.0.1"], "203.0.113.9"),
        (LOCAL, ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        (LOCAL, ["203.0.113.9, nonsense"], LOCAL),
        (LOCAL, ["203.0.113.9, nonsense, 10.0.0.1"], "10.0.0.1"),
        (LOCAL, ["203.0.113.9:4711"], "203.0.113.9"),
        (LOCAL, ["2001:db8::7"], "2001:db8::7"),
        (LOCAL, ["[2001:db8::7]:4711"], "2001:db8::7"),
        (LOCAL, ["[2001:db8::7]"], "2001:db8::7"),
        (LOCAL, ["198.51.100.1, [2001:db8::7]:4711, [fd00::1]:80"], "2001:db8::7"),
        (LOCAL, ["[2001:db8::7]:nonsense"], LOCAL),
        (STRANGER, ["[2001:db8::7]:4711"], STRANGER),
        (LOCAL, ["2001:db8::7, fd00::1"], "2001:db8::7"),
        # More proxies than are trusted: the rest is made up.
        (LOCAL, ["198.51.100.1, 10.0.0.5, 10.0.0.4, 10.0.0.3, 10.0.0.2, 10.0.0.1"], "10.0.0.4"),
    ],
)
def test_the_client_is_the_last_untrusted_address(
    served: Served, source: str, forwarded: list[str], client: str
) -> None:
    request = seen(served, *(("X-Forwarded-For", value) for value in forwarded), source=source)
    assert request.header("x-forwarded-for") == client


LIES = {
    "Forwarded": "for=192.0.2.1",
    "X-Real-IP": "192.0.2.1",
    "X-Client-IP": "192.0.2.1",
    "True-Client-IP": "192.0.2.1",
    "X-Cluster-Client-IP": "192.0.2.1",
    "X-Forwarded-Server": "lie",
    "X-Forwarded-Prefix": "/lie",
    "X-Forwarded-User": "admin",
    "X-Original-URL": "/admin",
    "X-Rewrite-URL": "/admin",
    "X_Forwarded_For": "192.0.2.1",
    "X-Forwarded_For": "192.0.2.1",
    "X_Real_IP": "192.0.2.1",
    "X_Request_Id": "lie",
}


@pytest.mark.parametrize("source", [LOCAL, STRANGER])
def test_nobody_says_what_only_the_gateway_may(served: Served, source: str) -> None:
    """A load balancer passes on what clients write into those that it does not know: it is believed in its own only."""
    host = ("X-Forwarded-Host", "evil.example")
    request = seen(served, host, *LIES.items(), ("X-Custom", "kept"), source=source)
    assert request.names.isdisjoint(name.lower() for name in LIES)
    assert not any("_" in name for name in request.names)
    assert request.header("x-forwarded-host") == request.header("host") != "evil.example"
    assert request.header("x-custom") == "kept"


@pytest.mark.parametrize(
    ("source", "value", "proto"),
    [
        (LOCAL, "https", "https"),
        (LOCAL, "http", "http"),
        (LOCAL, "gopher", "http"),
        (LOCAL, "http, https", "https"),
        (STRANGER, "https", "http"),
    ],
)
def test_the_scheme(served: Served, source: str, value: str, proto: str) -> None:
    request = seen(served, ("X-Forwarded-Proto", value), ("X-Forwarded-Port", "443"), source=source)
    assert request.header("x-forwarded-proto") == proto
    assert request.header("x-forwarded-port") == ("443" if source == LOCAL else None)


@pytest.mark.parametrize(
    ("source", "values", "kept"),
    [
        (LOCAL, ["Root=1-67891233-abcdef012345678912345678"], True),
        (LOCAL, ["a"], True),
        (LOCAL, ["a" * 127], True),
        (LOCAL, ["a" * 128], False),
        (LOCAL, ['a"b'], False),
        (LOCAL, ["a b"], False),
        (LOCAL, ["a\\b"], False),
        (LOCAL, [""], False),
        (LOCAL, ["a", "b"], False),
        (STRANGER, ["a"], False),
    ],
)
def test_the_id_of_a_request(served: Served, source: str, values: list[str], kept: bool) -> None:  # noqa: FBT001
    process, upstream = served
    reply = ask(process.port, "/x", headers=[("X-Request-Id", value) for value in values], source=source)
    found = upstream.last.header("x-request-id")
    assert found == reply.header("x-request-id")
    assert found
    assert (found == values[0]) is kept
    assert kept or UUID.fullmatch(found)


def test_what_belongs_to_a_connection_ends_here(served: Served) -> None:
    headers = [
        ("Connection", "X-Secret-Of-Hop, keep-alive"),
        ("Connection", "Other-Hop"),
        ("X-Secret-Of-Hop", "1"),
        ("Other-Hop", "2"),
        ("Keep-Alive", "timeout=5"),
        ("Proxy-Connection", "keep-alive"),
        ("Proxy-Authorization", "Basic eA=="),
        ("TE", "gzip"),
        ("Upgrade", "h2c"),
        ("HTTP2-Settings", "AAMAAABkAARAAAAAAAIAAAAA"),
        ("X-End-To-End", "3"),
    ]
    request = seen(served, *headers)
    assert request.names.isdisjoint(name.lower() for name, _ in headers[:-1])
    assert request.header("x-end-to-end") == "3"


def test_nobody_takes_a_header_away_that_is_needed(served: Served) -> None:
    """Naming the gateway's own in Connection would make a backend of an older kind drop them."""
    process, upstream = served
    headers = {"Connection": "Host, Content-Length, X-Forwarded-For, X-Request-Id, close"}
    assert ask(process.port, "/x", "POST", headers=headers, body=b"12345").status == 200
    request = upstream.last
    assert request.body == b"12345"
    assert request.header("host")
    assert request.header("x-forwarded-for") == LOCAL
    assert request.header("x-request-id")
    assert request.header("connection") in (None, "close")


def test_who_comes_over_ipv6_is_served_as_such(served: Served) -> None:
    process, upstream = served
    with socket.create_connection(("::1", process.port), 10) as connection:
        connection.sendall(b"GET /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
    assert upstream.last.header("x-forwarded-for") == "::1"


def test_an_answer_with_a_nul_in_a_header_is_none(served: Served) -> None:
    process, upstream = served
    upstream.respond = b"HTTP/1.1 200 OK\r\nX-Name: a\0b\r\nContent-Length: 0\r\n\r\n"
    assert ask(process.port, "/x").status == 502


def test_a_backend_is_told_that_an_old_client_takes_no_interim_answers(served: Served) -> None:
    process, upstream = served
    assert exchange(process.port, b"GET /x HTTP/1.0\r\nHost: x\r\n\r\n").startswith(b"HTTP/1.1 200 ")
    assert upstream.last.version == "HTTP/1.0"


def test_answers_too(served: Served) -> None:
    process, upstream = served
    upstream.respond = answer(200, "x", Connection="X-Hop", X_Hop="1", Keep_Alive="timeout=5", X_Custom="kept")
    reply = ask(process.port, "/x")
    assert (reply.header("x-hop"), reply.header("keep-alive"), reply.header("x-custom")) == (None, None, "kept")


@pytest.mark.parametrize(
    ("status", "headers", "path"),
    [
        (431, [("X-Large", "a" * 12_300)], "/x"),
        (431, [(f"X-{number}", "a") for number in range(110)], "/x"),
        (414, [], "/x?" + "a" * 8300),
    ],
)
def test_too_much_of_a_head(served: Served, status: int, headers: list[tuple[str, str]], path: str) -> None:
    process, upstream = served
    before = len(upstream.requests)
    reply = ask(process.port, path, headers=headers)
    assert reply.status == status
    assert reply.header("content-type") == "application/json"
    assert set(reply.json) == {"error", "requestId"}
    assert len(upstream.requests) == before


def test_more_than_the_buffer_holds(served: Served) -> None:
    """HAProxy's parser answers with a page that is built into it."""
    process, upstream = served
    before = len(upstream.requests)
    assert ask(process.port, "/x", headers=[("X-Large", "a" * 20_000)]).status == 400
    assert len(upstream.requests) == before


def test_much_of_a_head_is_fine(served: Served) -> None:
    request = seen(served, *((f"X-{number}", "a" * 120) for number in range(85)), path="/x?" + "a" * 500)
    assert request.header("x-84") == "a" * 120


@pytest.mark.parametrize(
    ("path", "size", "status"), [("/small", 1000, 200), ("/small", 1001, 413), ("/none", 1, 413), ("/none", 0, 200)]
)
def test_the_size_of_a_body(served: Served, path: str, size: int, status: int) -> None:
    process, upstream = served
    before = len(upstream.requests)
    reply = ask(process.port, path, "POST", body=b"x" * size)
    assert reply.status == status
    assert len(upstream.requests) == before + (status == 200)
    if status != 200:
        assert reply.json["requestId"] == reply.header("x-request-id")


def test_a_body_of_unknown_size_where_there_is_a_limit(served: Served) -> None:
    process, upstream = served
    before = len(upstream.requests)
    head = "POST /small HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert exchange(process.port, f"{head}1\r\nx\r\n0\r\n\r\n".encode()).startswith(b"HTTP/1.1 411 ")
    assert len(upstream.requests) == before
    elsewhere = f"{head}1\r\nx\r\n0\r\n\r\n".replace("/small", "/large").encode()
    assert exchange(process.port, elsewhere).startswith(b"HTTP/1.1 200 ")


def test_trailers_both_ways(served: Served) -> None:
    process, upstream = served
    end = b"HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nab\r\n0\r\nX-Sum: 7\r\n\r\n"
    upstream.respond = end
    head = b"POST /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\r\n"
    received = exchange(process.port, head + b"3\r\nabc\r\n0\r\nX-Check: 5\r\n\r\n")
    assert upstream.last.body == b"abc"
    assert [(name.lower(), value) for name, value in upstream.last.trailers] == [("x-check", "5")]
    assert upstream.last.header("te") == "trailers"
    assert b"x-sum: 7" in received.lower()


GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def websocket(request: Request, connection: socket.socket) -> bytes | None:
    """Shake hands, then echo what comes."""
    accept = base64.b64encode(hashlib.sha1(f"{request.header('sec-websocket-key')}{GUID}".encode()).digest()).decode()
    head = f"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    connection.sendall(head.encode())
    while data := connection.recv(65536):
        connection.sendall(data)
    return None


def handshake(port: int, source: str = LOCAL) -> socket.socket:
    connection = socket.create_connection((LOCAL, port), 10, (source, 0))
    key = base64.b64encode(os.urandom(16)).decode()
    connection.sendall(
        f"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
    )
    head = b""
    while b"\r\n\r\n" not in head:
        head += connection.recv(4096)
    assert head.startswith(b"HTTP/1.1 101 "), head
    accept = base64.b64encode(hashlib.sha1(f"{key}{GUID}".encode()).digest())
    assert b"sec-websocket-accept: " + accept.lower() in head.lower()
    return connection


def test_websockets(served: Served) -> None:
    process, upstream = served
    closed = threading.Event()

    def until_closed(request: Request, connection: socket.socket) -> bytes | None:
        websocket(request, connection)
        closed.set()
        return b""

    upstream.respond = until_closed
    with closing(handshake(process.port)) as connection:
        frames = b"\x81\x85\x00\x00\x00\x00hello" * 1000
        threading.Thread(target=connection.sendall, args=(frames,)).start()
        received = b""
        while len(received) < len(frames):
            received += connection.recv(65536)
        assert received == frames
    assert upstream.last.header("upgrade") == "websocket"
    assert closed.wait(5), "the upstream's end is closed with it"


def test_an_idle_websocket_outlives_the_timeout_of_requests(
    gateway: Callable[..., GatewayProcess], upstream: Upstream
) -> None:
    upstream.respond = websocket
    process = gateway(ROUTES=json.dumps([{"prefix": "/", "upstream": upstream.url}]), PROXY_TIMEOUT_READ_SECONDS="0.5")
    with closing(handshake(process.ready().port)) as connection:
        time.sleep(1.5)
        connection.sendall(b"still there")
        assert connection.recv(100) == b"still there"


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with Upstream() as running:
        yield running


SIZE = int(os.environ.get("STREAM_MB", "128")) * 1024 * 1024
PIECE = b"x" * (1024 * 1024)


def test_a_download_of_any_size_at_flat_memory(gateway: Callable[..., GatewayProcess], upstream: Upstream) -> None:
    """STREAM_MB=10240 makes it ten gigabytes."""

    def send(request: Request, connection: socket.socket) -> bytes:
        connection.sendall(f"HTTP/1.1 200 x\r\nContent-Length: {SIZE}\r\n\r\n".encode())
        for _ in range(SIZE // len(PIECE)):
            connection.sendall(PIECE)
        return b""

    upstream.respond = send
    process = gateway(ROUTES=json.dumps([{"prefix": "/", "upstream": upstream.url}])).ready()
    with socket.create_connection((LOCAL, process.port), 30) as connection:
        connection.sendall(b"GET /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert SIZE < _drain(connection) < SIZE + 2000
    assert _peak_mb(process) < 64


def test_an_upload_of_any_size_at_flat_memory(gateway: Callable[..., GatewayProcess]) -> None:
    with socket.create_server((LOCAL, 0)) as server:
        url = f"http://{LOCAL}:{server.getsockname()[1]}"
        process = gateway(ROUTES=json.dumps([{"prefix": "/", "upstream": url}])).ready()

        def receive() -> None:
            while True:
                taken, _ = server.accept()
                with taken:  # a health check says nothing
                    total = _drain(taken, SIZE)
                    if total:
                        taken.sendall(answer(200, str(total), Connection="close"))
                        return

        receiver = threading.Thread(target=receive, daemon=True)
        receiver.start()
        with socket.create_connection((LOCAL, process.port), 30) as connection:
            connection.sendall(f"PUT /x HTTP/1.1\r\nHost: x\r\nContent-Length: {SIZE}\r\n\r\n".encode())
            for _ in range(SIZE // len(PIECE)):
                connection.sendall(PIECE)
            assert connection.recv(100).startswith(b"HTTP/1.1 200 ")
        receiver.join(5)
    assert _peak_mb(process) < 64


def _drain(connection: socket.socket, most: int | None = None) -> int:
    total, buffer = 0, bytearray(len(PIECE))
    while (most is None or total < most) and (count := connection.recv_into(buffer)):
        total += count
    return total


def _haproxies(pid: int) -> list[int]:
    """Those below this process, however it is supervised."""
    found = []
    for child in _children(pid):
        with open(f"/proc/{child}/comm") as file:  # noqa: PTH123
            name = file.read().strip()
        found += [child] if name == "haproxy" else _haproxies(child)
    return found


def _children(pid: int) -> list[int]:
    with open(f"/proc/{pid}/task/{pid}/children") as file:  # noqa: PTH123
        return [int(child) for child in file.read().split()]


def _peak_mb(process: GatewayProcess) -> float:
    """Return the most memory that HAProxy ever had."""
    peaks = []
    for pid in _haproxies(process.pid):
        with open(f"/proc/{pid}/status") as file:  # noqa: PTH123
            lines = dict(line.split(":", 1) for line in file)
        peaks.append(int(lines["VmHWM"].split()[0]) / 1024)
    return max(peaks)


def test_a_slow_stream_comes_as_it_is_written(served: Served) -> None:
    """Server-sent events: nothing waits for more."""
    process, upstream = served
    go = threading.Event()

    def events(request: Request, connection: socket.socket) -> bytes:
        connection.sendall(b"HTTP/1.1 200 x\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        connection.sendall(b"8\r\ndata: 1\n\r\n")
        go.wait(10)
        return b"8\r\ndata: 2\n\r\n0\r\n\r\n"

    upstream.respond = events
    with socket.create_connection((LOCAL, process.port), 10) as connection:
        connection.sendall(b"GET /events HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        received = b""
        while b"data: 1" not in received:
            received += connection.recv(4096)
        go.set()
        while more := connection.recv(4096):
            received += more
    assert b"data: 2" in received


def test_one_client_connection_many_requests(served: Served) -> None:
    process, upstream = served
    with closing(Client(process.port)) as client:
        ids = {client.ask(f"/x/{number}").header("x-request-id") for number in range(10)}
    assert len(ids) == 10
    assert upstream.last.path == "/x/9"
