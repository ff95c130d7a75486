"""Ambiguous requests are refused, or reach a backend with one reading."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.wire import Response, Wire
from untrusted.corpus import CASES, HOST, Case

if TYPE_CHECKING:
    from untrusted.guarded import Guarded

CANARY = b"GET /api/users/canary HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n"


def send(guarded: Guarded, raw: bytes) -> list[Response]:
    with Wire(guarded.port) as wire:
        wire.send(raw + CANARY)
        return wire.responses()


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_one_reading(guarded: Guarded, case: Case) -> None:
    responses = send(guarded, case.raw)
    seen = list(guarded.users.requests)
    targets = [request.target for request in seen]
    assert not guarded.other.targets
    # Made by the gateway, for each request that it has seen.
    assert [request.get("x-request-id") for request in seen] == [
        response.headers["x-request-id"].encode() for response in responses if response.status == 200
    ]
    wanted = case.reaches
    if wanted is None or (wanted.or_refused and responses[0].status != 200):
        assert responses[0].status in ((400, 422) if case.status == 400 else (case.status,))
        # What is no HTTP at all for HAProxy's parser gets the parser's own page.
        assert responses[0].body.startswith((b'{"error":', b"<html><body><h1>4"))
        # A request whose end is in doubt takes the rest of its connection along.
        assert targets in ([], ["/api/users/canary"] if case.goes_on else [])
        return
    assert {response.status for response in responses} == {200}
    assert targets == ([wanted.target] if wanted.closes else [wanted.target, "/api/users/canary"])
    request = seen[0]
    assert (request.method, request.body, request.get("host")) == (wanted.method, wanted.body, wanted.host)
    assert {name: request.get(name) for name in wanted.headers} == wanted.headers
