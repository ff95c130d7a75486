"""What HTTP/2 can carry and HTTP/1.1 can't must not get into the request that the backend reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.h2wire import H2Wire, Headers
from support.wait import until

if TYPE_CHECKING:
    from strangers.guarded import Guarded

INJECTED = b"x\r\nX-Injected: y\r\n\r\nGET /api/secret/1 HTTP/1.1\r\nHost: gateway.test\r\n\r\n"


def request(*more: tuple[bytes, bytes], without: tuple[bytes, ...] = (), **pseudo: bytes) -> Headers:
    values = {b":method": b"GET", b":scheme": b"http", b":authority": b"gateway.test", b":path": b"/api/users/1"}
    values |= {b":" + name.encode(): value for name, value in pseudo.items()}
    return [(name, value) for name, value in values.items() if name not in without] + list(more)


REFUSED: dict[str, Headers] = {
    "path: CRLF": request(path=b"/api/users/" + INJECTED),
    "path: LF": request(path=b"/api/users/x\nX: y"),
    "path: a space": request(path=b"/api/users/1 HTTP/1.1"),
    "path: a tab": request(path=b"/api/users/1\tx"),
    "path: NUL": request(path=b"/api/users/1\0"),
    "path: a raw byte": request(path=b"/api/users/\xff"),
    "path: a fragment": request(path=b"/api/users/1#x"),
    "path: no slash": request(path=b"api/users/1"),
    "path: nothing": request(path=b""),
    "path: absolute": request(path=b"http://gateway.test/api/users/1"),
    "path: dots": request(path=b"/api/users/../secret/1"),
    "path: missing": request(without=(b":path",)),
    "path: twice": [*request(), (b":path", b"/api/secret/1")],
    "method: CRLF": request(method=b"GET /api/secret/1 HTTP/1.1\r\nHost: x\r\n\r\nGET"),
    "method: a space": request(method=b"GET /api/secret/1"),
    "method: lower case": request(method=b"get"),
    "method: missing": request(without=(b":method",)),
    "method: twice": [*request(), (b":method", b"POST")],
    "method: CONNECT": request(method=b"CONNECT", without=(b":path", b":scheme")),
    "method: TRACE": request(method=b"TRACE"),
    "authority: CRLF": request(authority=b"gateway.test\r\nX: y"),
    "authority: a space": request(authority=b"a b"),
    "authority: a user": request(authority=b"user@gateway.test"),
    "authority: a path": request(authority=b"gateway.test/api/secret"),
    "authority: nothing": request(authority=b""),
    "authority: missing": request(without=(b":authority",)),
    "authority: twice": [*request(), (b":authority", b"other.test")],
    "scheme: CRLF": request(scheme=b"http\r\nX: y"),
    "scheme: a URL": request(scheme=b"http://gateway.test/api/secret/1?"),
    "scheme: missing": request(without=(b":scheme",)),
    "pseudo: of an answer": [*request(), (b":status", b"200")],
    "pseudo: unknown": [*request(), (b":foo", b"x")],
    "pseudo: after the others": [request()[0], *request()[2:], (b"x", b"y"), (b":scheme", b"http")],
    "pseudo: an empty name": request((b":", b"x")),
    "name: upper case": request((b"X-Y", b"z")),
    "name: a colon": request((b"x: y\r\nz", b"z")),
    "name: a space": request((b"x y", b"z")),
    "name: CRLF": request((b"x\r\ny", b"z")),
    "name: nothing": request((b"", b"z")),
    "name: NUL": request((b"x\0", b"z")),
    "value: CRLF": request((b"x", b"y\r\nz: w")),
    "value: LF": request((b"x", b"y\nz: w")),
    "value: CR": request((b"x", b"y\rz: w")),
    "value: NUL": request((b"x", b"y\0z")),
    "hop: connection": request((b"connection", b"keep-alive")),
    "hop: connection names a header": request((b"connection", b"x-request-id")),
    "hop: transfer-encoding": request((b"transfer-encoding", b"chunked"), method=b"POST"),
    "hop: upgrade": request((b"upgrade", b"h2c")),
    "hop: proxy-connection": request((b"proxy-connection", b"keep-alive")),
    "hop: keep-alive": request((b"keep-alive", b"timeout=5")),
    "hop: te": request((b"te", b"chunked")),
    "length: +": request((b"content-length", b"+5"), method=b"POST"),
    "length: two": request((b"content-length", b"5"), (b"content-length", b"6"), method=b"POST"),
    "length: zeros in front": request((b"content-length", b"005"), method=b"POST"),
}


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
