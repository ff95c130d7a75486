"""Clients that are slow, greedy, early or late harm only themselves."""

from __future__ import annotations

import contextlib
import selectors
import socket
import time
from typing import TYPE_CHECKING

import pytest

from support.wait import until
from support.wire import Wire
from untrusted.corpus import HOST

if TYPE_CHECKING:
    from untrusted.guarded import Guarded

GET = b"GET /api/users/1 HTTP/1.1\r\n" + HOST + b"\r\n"
SLOW = 300


def test_slow_heads_end_and_others_are_served(guarded: Guarded) -> None:
    """Slowloris: a byte now and then, never a whole head."""
    slow = [socket.create_connection(("127.0.0.1", guarded.port)) for _ in range(SLOW)]
    with contextlib.ExitStack() as stack, selectors.DefaultSelector() as selector:
        for connection in slow:
            stack.enter_context(connection)
            connection.sendall(GET[:-2])
            selector.register(connection, selectors.EVENT_READ)
        started = time.monotonic()
        ended = 0
        slowest = 0.0
        while ended < SLOW:
            assert time.monotonic() - started < 14, f"{SLOW - ended} of {SLOW} are still there"
            for key, _ in selector.select(0.2):
                sock = key.fileobj
                assert isinstance(sock, socket.socket)
                selector.unregister(sock)
                assert sock.recv(4096).startswith(b"HTTP/1.1 408 ")
                ended += 1
            for waiting in list(selector.get_map().values()):
                assert isinstance(waiting.fileobj, socket.socket)
                with contextlib.suppress(OSError):
                    waiting.fileobj.send(b"X")
            before = time.monotonic()
            assert guarded.gateway.status("/api/users/2") == 200
            slowest = max(slowest, time.monotonic() - before)
        assert slowest < 1
    assert set(guarded.users.targets) == {"/api/users/2"}


@pytest.mark.parametrize(
    "head",
    [
        b"GET /api/users/" + b"x" * 40000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET /api/users/1 HTTP/1.1\r\n" + HOST + b"X-Y: " + b"x" * 40000 + b"\r\n\r\n",
        b"GET /api/users/1 HTTP/1.1\r\n" + HOST + b"X-Y: x\r\n" * 4000 + b"\r\n",
        b"GET /api/users/1 HTTP/1.1\r\n" + HOST + b"X" * 40000 + b": y\r\n\r\n",
        b"GET /api/users/1 HTTP/1.1\r\n" + HOST + b"Cookie: " + b"a=b; " * 8000 + b"\r\n\r\n",
    ],
    ids=["target", "value", "many", "name", "cookies"],
)
def test_a_head_too_large(guarded: Guarded, head: bytes) -> None:
    with Wire(guarded.port) as wire:
        wire.send(head)
        [answer] = wire.responses()
    assert answer.status in (400, 414, 431)
    assert not guarded.users.targets


def test_a_pipeline_is_answered_in_its_order(guarded: Guarded) -> None:
    body = b"GET /api/secret/1 HTTP/1.1\r\n\r\n"
    pipeline = b"".join(
        b"POST /api/users/%d HTTP/1.1\r\n" % number + HOST + b"Content-Length: %d\r\n\r\n" % len(body) + body
        for number in range(100)
    )
    with Wire(guarded.port) as wire:
        wire.send(pipeline)
        assert [getattr(wire.response(), "status", 0) for _ in range(100)] == [200] * 100
    assert guarded.users.targets == [f"/api/users/{number}" for number in range(100)]


@pytest.mark.parametrize("path", [b"early", b"early-close"])
def test_an_answer_before_the_body(guarded: Guarded, path: bytes) -> None:
    """The rest of the body is a body, for the gateway and for the request that has the backend's connection next."""
    body = b"GET /api/secret/1 HTTP/1.1\r\n" + HOST + b"\r\n"
    for _ in range(20):
        with Wire(guarded.port) as wire:
            wire.send(b"POST /api/users/" + path + b" HTTP/1.1\r\n" + HOST + b"Content-Length: 5000\r\n\r\n")
            answer = wire.response()
            assert answer is not None
            assert answer.status == 200
            with contextlib.suppress(OSError):
                wire.send(body)
                wire.send(GET)
        assert guarded.gateway.status("/api/users/2") == 200
    assert set(guarded.users.targets) <= {"/api/users/2", "/api/users/" + path.decode()}
    assert guarded.users.targets.count("/api/users/2") == 20


def test_a_body_that_never_ends_is_given_up(guarded: Guarded) -> None:
    """The client goes away in the middle: the backend's connection is not used again."""
    for _ in range(20):
        with Wire(guarded.port) as wire:
            wire.send(b"POST /api/users/1 HTTP/1.1\r\n" + HOST + b"Content-Length: 5000\r\n\r\nhello")
            wire.send(GET)
        assert guarded.gateway.status("/api/users/2") == 200
    until(lambda: guarded.users.cut, 5, "some got as far as the backend")
    assert set(guarded.users.targets) == {"/api/users/2"}
