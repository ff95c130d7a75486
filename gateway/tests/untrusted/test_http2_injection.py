"""Bytes that HTTP/2 can carry and HTTP/1.1 can't must not get into the backend's request."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.h2wire import H2Wire, Headers
from support.wait import until
from untrusted.http2 import REFUSED, request

if TYPE_CHECKING:
    from untrusted.guarded import Guarded

TRAILERS = [(b"x-checksum", b"1")]


@pytest.mark.parametrize("headers", REFUSED.values(), ids=REFUSED)
def test_refused(guarded: Guarded, headers: Headers) -> None:
    with H2Wire(guarded.port) as wire:
        assert wire.ask(headers).status in (0, 400, 405, 413, 422)
    assert not any(backend.targets for backend in guarded.backends)


def test_a_path_for_the_server_itself(guarded: Guarded) -> None:
    """Refused by HAProxy 2.6, to 3.0 it is "/", which is the gateway's own."""
    with H2Wire(guarded.port) as wire:
        wire.ask(request(path=b"*"))
    assert not any(backend.targets for backend in guarded.backends)


def test_plain(guarded: Guarded) -> None:
    with H2Wire(guarded.port) as wire:
        answers = [wire.ask(request()), wire.ask(request(method=b"POST"), b"hello")]
    assert [answer.status for answer in answers] == [200, 200]
    get, post = guarded.users.requests
    assert (get.method, get.target, get.get("host"), get.body) == ("GET", "/api/users/1", b"gateway.test", b"")
    assert (post.method, post.body) == ("POST", b"hello")


@pytest.mark.parametrize(
    ("headers", "host"),
    [
        (request((b"host", b"other.test")), b"gateway.test"),
        (request((b"host", b"a.test"), without=(b":authority",)), b"a.test"),
        (request((b"host", b"a.test"), (b"host", b"b.test"), without=(b":authority",)), b"a.test"),
    ],
    ids=["beside the authority", "alone", "two"],
)
def test_one_host(guarded: Guarded, headers: Headers, host: bytes) -> None:
    with H2Wire(guarded.port) as wire:
        assert wire.ask(headers).status == 200
    assert [seen.all("host") for seen in guarded.users.requests] == [[host]]
    assert [seen.all("x-forwarded-host") for seen in guarded.users.requests] == [[host]]


def test_a_length_without_a_body(guarded: Guarded) -> None:
    with H2Wire(guarded.port) as wire:
        answer = wire.ask(request((b"content-length", b"5"), method=b"POST"))
    assert [seen.get("content-length") for seen in guarded.users.requests] == ([None] if answer.status == 200 else [])


@pytest.mark.parametrize(
    ("body", "trailers"),
    [(None, None), (b"", None), (b"hel", None), (None, TRAILERS), (b"hel", TRAILERS)],
    ids=["none", "empty", "short", "trailers alone", "trailers after a part"],
)
def test_what_is_missing_of_a_body_is_not_the_next_request(
    guarded: Guarded, body: bytes | None, trailers: Headers | None
) -> None:
    """The backend answered at once, and still waits for the rest."""
    with H2Wire(guarded.port) as wire:
        wire.ask(request((b"content-length", b"5"), method=b"POST", path=b"/api/users/early"), body, trailers)
    with H2Wire(guarded.port) as other:
        assert other.ask(request()).status == 200
    guarded.settle()
    assert not guarded.users.violations
    *earlier, last = guarded.users.requests
    assert (last.method, last.target) == ("GET", "/api/users/1")
    assert [(seen.get("content-length"), seen.body) for seen in earlier] in ([], [(None, b"")])


def test_a_body_is_a_body(guarded: Guarded) -> None:
    with H2Wire(guarded.port) as wire:
        assert wire.ask(request(method=b"POST"), b"0\r\n\r\nGET /api/secret/1 HTTP/1.1\r\n\r\n").status == 200
        assert wire.ask(request()).status == 200
    assert guarded.users.requests[0].body.startswith(b"0\r\n\r\nGET ")
    assert len(guarded.users.requests) == 2


@pytest.mark.parametrize("length", [b"0", b"3", b"50"])
def test_a_length_that_is_not_the_bodys(guarded: Guarded, length: bytes) -> None:
    with H2Wire(guarded.port) as wire:
        answer = wire.ask(request((b"content-length", length), method=b"POST"), b"hello")
    assert answer.status in (0, 400)
    assert guarded.gateway.status("/api/users/2") == 200
    assert guarded.users.targets == ["/api/users/2"]


@pytest.mark.parametrize(
    "trailers",
    [
        [(b":path", b"/api/secret/1")],
        [(b"transfer-encoding", b"chunked")],
        [(b"x", b"y\r\n\r\nGET /api/secret/1 HTTP/1.1")],
        [(b"X", b"y")],
        [(b"x-request-id", b"theirs")],
        [(b"x", b"y")],
    ],
    ids=["a pseudo header", "an encoding", "CRLF", "upper case", "a name of the gateway's", "plain"],
)
def test_trailers(guarded: Guarded, trailers: Headers) -> None:
    with H2Wire(guarded.port) as wire:
        wire.ask(request(method=b"POST"), b"hello", trailers)
    assert guarded.gateway.status("/api/users/2") == 200
    until(lambda: "/api/users/2" in guarded.users.targets, 2, "the next one is seen")
    assert all(seen.get("x-request-id") not in (None, b"theirs") for seen in guarded.users.requests)
    assert guarded.users.targets in (["/api/users/2"], ["/api/users/1", "/api/users/2"])


def test_streams_that_are_reset_at_once(guarded: Guarded) -> None:
    """Rapid reset: bounded work for the gateway, and it serves on."""
    with H2Wire(guarded.port) as wire:
        for _ in range(20):
            for _ in range(100):
                stream = wire.connection.get_next_available_stream_id()
                wire.connection.send_headers(stream, request(), end_stream=True)
                wire.connection.reset_stream(stream)
            try:
                wire.flush()
            except OSError:
                break
        assert guarded.gateway.status("/api/users/2") == 200
    guarded.settle()


def test_one_list_of_headers_without_an_end(guarded: Guarded) -> None:
    """A flood of CONTINUATION frames is cut."""
    with H2Wire(guarded.port) as wire:
        headers = b"\x82\x86\x84\x41\x01a"
        wire.socket.sendall(len(headers).to_bytes(3) + b"\x01\x01\x00\x00\x00\x01" + headers)
        frame = (10000).to_bytes(3) + b"\x09\x00\x00\x00\x00\x01" + (b"\x00\x01a\x01b" * 2000)
        sent = 0
        try:
            while sent < 50_000_000:
                sent += wire.socket.send(frame)
        except OSError:
            pass
        assert sent < 50_000_000
    assert guarded.gateway.status("/api/users/2") == 200
