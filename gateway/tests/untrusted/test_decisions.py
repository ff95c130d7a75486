"""Host and method are part of the route: no spelling of them bypasses a route that requires a token."""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING

import pytest

from support.gateway import GatewayProcess
from support.h2wire import H2Wire
from support.recorder import Recorder
from support.wire import ask
from untrusted.http2 import request

if TYPE_CHECKING:
    from collections.abc import Iterator

Places = tuple[GatewayProcess, Recorder, Recorder]


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Places]:
    """One backend for all clients, one for those with a token."""
    with Recorder() as everybody, Recorder() as members:
        routes = [
            {"prefix": "/", "upstream": everybody.url},
            {"prefix": "/", "host": "members.test", "upstream": members.url, "auth": "required"},
            {"prefix": "/api/items", "upstream": everybody.url, "methods": ["GET"]},
            {"prefix": "/api/items", "upstream": members.url, "auth": "required"},
            {"prefix": "/api/Mixed", "upstream": members.url, "auth": "required"},
        ]
        process = GatewayProcess(
            tmp_path_factory.mktemp("decisions") / "gateway.log",
            {"ROUTES": json.dumps(routes), "JWT_SECRET": secrets.token_hex(32)},
        )
        try:
            yield process.ready(), everybody, members
        finally:
            process.destroy()


@pytest.fixture(autouse=True)
def nobody_is_a_member(places: Places) -> Iterator[None]:
    _, everybody, members = places
    everybody.forget()
    members.forget()
    yield
    assert not everybody.violations
    assert not members.targets


@pytest.mark.parametrize(
    "host",
    ["members.test", "MEMBERS.Test", "members.test.", "members.test:80", "members.test:65535", "Members.test.:1"],
)
def test_a_host_is_itself_in_every_spelling(places: Places, host: str) -> None:
    process, everybody, _ = places
    for target in ("/x", f"http://{host}/x"):
        raw = f"GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        assert ask(process.port, raw.encode()).status == 401
    with H2Wire(process.port) as wire:
        assert wire.ask(request(authority=host.encode(), path=b"/x")).status == 401
        # What is beside the authority does not count, whatever it says.
        assert wire.ask(request((b"host", b"other.test"), authority=host.encode(), path=b"/x")).status in (400, 401)
    assert not everybody.targets


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("GET /api/items/1", 200),
        ("HEAD /api/items/1", 200),
        ("POST /api/items/1", 401),
        ("PURGE /api/items/1", 401),
        ("get /api/items/1", 400),
        ("Post /api/items/1", 400),
        ("POST /api/ITEMS/1", 400),
        ("GET /api/ITEMS/1", 400),
        ("GET /api/mixed/1", 400),
        ("GET /API/MIXED", 400),
        ("GET /api/Mixed/1", 401),
        ("GET /api/items2", 200),
    ],
)
def test_a_method_and_a_path_in_every_spelling(places: Places, line: str, status: int) -> None:
    process, everybody, _ = places
    answer = ask(process.port, f"{line} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n".encode(), line[:4])
    assert answer.status == status
    assert len(everybody.targets) == (status == 200)


@pytest.mark.parametrize("name", ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "x_http_method"])
def test_a_method_in_a_header(places: Places, name: str) -> None:
    """Some frameworks take it for the method."""
    process, everybody, _ = places
    raw = f"GET /api/items/1 HTTP/1.1\r\nHost: a.test\r\n{name}: DELETE\r\nConnection: close\r\n\r\n"
    status = ask(process.port, raw.encode()).status
    if "_" in name:
        assert status == 200
        assert everybody.requests[0].get(name) is None
    else:
        assert status == 400
        assert not everybody.targets
    # Where the method decides nothing it is the backend's own business.
    everybody.forget()
    assert ask(process.port, raw.replace("/api/items", "/other").encode()).status == 200
