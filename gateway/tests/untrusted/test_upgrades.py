"""A connection becomes a tunnel only if the client requested a websocket and the backend accepted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.h2wire import H2Wire
from support.wire import Wire
from untrusted.corpus import HOST
from untrusted.http2 import request

if TYPE_CHECKING:
    from untrusted.guarded import Guarded

UPGRADE = (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)
SMUGGLED = b"GET /api/users/smuggled HTTP/1.1\r\n" + HOST + b"\r\n"
CANARY = b"GET /api/users/canary HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n"


def get(path: bytes, headers: bytes = b"") -> bytes:
    return b"GET /api/users/" + path + b" HTTP/1.1\r\n" + HOST + headers + b"\r\n"


def test_a_websocket_is_a_tunnel(guarded: Guarded) -> None:
    with Wire(guarded.port) as wire:
        wire.send(get(b"switch", UPGRADE))
        answer = wire.response()
        assert answer is not None
        assert answer.status == 101
        wire.send(b"\x81\x05hello")
        assert wire.rest() == b"\x81\x05hello"
    assert bytes(guarded.users.tunnelled) == b"\x81\x05hello"


def test_an_upgrade_is_to_a_websocket_and_names_nothing_else(guarded: Guarded) -> None:
    upgrade = UPGRADE.replace(b"Upgrade\r", b"Upgrade, X-Request-Id, Host\r", 1).replace(
        b"websocket", b"websocket, h2c"
    )
    with Wire(guarded.port) as wire:
        wire.send(get(b"switch", upgrade))
        answer = wire.response()
    assert answer is not None
    assert answer.status == 101
    assert guarded.users.requests[0].all("connection") == [b"Upgrade"]
    assert guarded.users.requests[0].all("upgrade") == [b"websocket"]


def test_a_refused_upgrade_is_no_tunnel(guarded: Guarded) -> None:
    """What the client sends after it is read as requests, by the gateway."""
    with Wire(guarded.port) as wire:
        wire.send(get(b"no-upgrade", UPGRADE) + SMUGGLED.replace(b"smuggled", b"../secret") + CANARY)
        assert [answer.status for answer in wire.responses()] == [426, 400, 200]
    assert guarded.users.targets == ["/api/users/no-upgrade", "/api/users/canary"]


@pytest.mark.parametrize(
    "headers",
    [
        b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
        b"Connection: Upgrade\r\nUpgrade: h2c\r\n",
        b"Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n",
        b"Connection: Upgrade\r\nUpgrade: TLS/1.2\r\n",
        b"Connection: Upgrade\r\n",
        b"Upgrade: websocket\r\n",
        b"",
    ],
    ids=["h2c", "h2c without settings", "websocket or h2c", "TLS", "nothing", "without Connection", "unasked"],
)
def test_a_backend_that_switches_to_something_else_gets_no_tunnel(guarded: Guarded, headers: bytes) -> None:
    with Wire(guarded.port) as wire:
        wire.send(get(b"switch", headers) + SMUGGLED + CANARY)
        answers = [answer.status for answer in wire.responses()]
    assert not guarded.users.tunnelled
    if answers == [400]:
        assert not guarded.users.targets
        return
    # What is behind it was read by the gateway, as requests.
    assert answers == [502, 200, 200]
    assert guarded.users.targets == ["/api/users/switch", "/api/users/smuggled", "/api/users/canary"]
    assert guarded.users.requests[0].get("upgrade") is None
    assert guarded.users.requests[0].get("http2-settings") is None


def test_an_upgrade_with_a_body_is_no_upgrade(guarded: Guarded) -> None:
    body = SMUGGLED
    with Wire(guarded.port) as wire:
        wire.send(
            b"POST /api/users/switch HTTP/1.1\r\n" + HOST + UPGRADE + b"Content-Length: %d\r\n\r\n" % len(body) + body
        )
        wire.send(CANARY)
        assert [answer.status for answer in wire.responses()] == [502, 200]
    assert not guarded.users.tunnelled
    assert guarded.users.requests[0].body == body


@pytest.mark.parametrize("protocol", [b"websocket", b"h2c", b"connect-udp", b"websocket\r\nX: y", b""])
def test_a_websocket_in_http2(guarded: Guarded, protocol: bytes) -> None:
    """An extended CONNECT is one for a websocket, or none."""
    headers = request((b"sec-websocket-version", b"13"), method=b"CONNECT", path=b"/api/users/switch")
    with H2Wire(guarded.port) as wire:
        status = wire.ask([*headers[:1], (b":protocol", protocol), *headers[1:]], until_headers=True).status
    if protocol == b"websocket":
        assert status == 200
        assert guarded.users.requests[0].all("upgrade") == [b"websocket"]
    else:
        assert status != 200
        assert not guarded.users.tunnelled
        assert not any(seen.get("upgrade") for seen in guarded.users.requests)
