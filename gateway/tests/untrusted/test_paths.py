"""The path that selects the route is the path that the backend reads."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from evenkeel_gateway.haproxy.paths import PLAIN_PATH
from support.wire import Wire
from untrusted.corpus import HOST
from untrusted.paths import REFUSED
from untrusted.readings import readings, route

if TYPE_CHECKING:
    from untrusted.guarded import Guarded

# HAProxy's, without possessive quantifiers: Python 3.11.2 matches too much with them.
_PLAIN = re.compile(PLAIN_PATH.replace("]++|", "]|").replace("++", "+").replace("*+", "*").replace("?+", "?"))
_PARTS = st.sampled_from(
    [
        *"/.;\\%~*:@+,=!$&'()|[]{}^`\"<>-_aZ0",
        *("api", "users", "secret", "SECRET", "%73ecret", "secre%54", "%2573ecret", "..", "%2e", "%2E%2E", "%252e"),
        *("%2f", "%2F", "%252f", "%5c", "%255c", ";x=1", "%3b", "%3B..", "%00", "%0a", "%0d", "%20", "%7f", "%25"),
        *("%7e", "%c0%ae", "%c0%af", "%c1%9c", "%e0%80%af", "%f0%80%80%af", "%c3%a9", "%e9", "%ed%a0%80", "%u002e"),
        *("%u002f", "%ef%bc%8f", "%fe", "%4", "%zz", "%e2%82%ac", "%f0%9f%98%80", "%c2%85"),
    ]
)
_PATHS = st.one_of(
    st.lists(_PARTS, max_size=8).map(lambda parts: "/" + "".join(parts)),
    st.lists(_PARTS, max_size=8).map(lambda parts: "/api/" + "".join(parts)),
    st.lists(_PARTS, max_size=4).map(lambda parts: "/api/users/" + "".join(parts) + "/secret/1"),
)
_BUDGET = settings(deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])

PASSED = [
    "/api/users",
    "/api/users/",
    "/api/users/1",
    "/api/users/...",
    "/api/users/.well-known",
    "/api/users/a..b/..c/d..",
    "/api/users/caf%C3%A9",
    "/api/users/%e2%82%ac/%F0%9F%98%80",
    "/api/users/a%20b",
    "/api/users/me@example.com",
    "/api/users/me%40example.com",
    "/api/users/(a,b)='c'!*+$&",
    "/api/users/100%25",
    "/api/users/100%25%20sure",
    "/api/users/~me/%7Eme",
    "/api/users/a%3Bb",
    "/api/users/a%3Fb%23c",
    '/api/users/[1]|{2}^`"<>',
    "/api/users/a:b",
    "/api/users/" + "a/" * 1000,
]
PASSED_QUERIES = ["?", "?a=/../..//%2e%00%ff", "?a=\\&b=;c", "?redirect=http://other.test/", "?a?b"]


def ask(guarded: Guarded, targets: list[str]) -> list[int]:
    """One connection, all at once."""
    with Wire(guarded.port) as wire:
        for target in targets:
            wire.send(b"GET " + target.encode("latin-1") + b" HTTP/1.1\r\n" + HOST + b"\r\n")
        answers = [wire.response() for _ in targets]
    return [answer.status if answer else 0 for answer in answers]


@pytest.mark.parametrize("path", REFUSED)
def test_refused(guarded: Guarded, path: str) -> None:
    with Wire(guarded.port) as wire:
        wire.send(b"GET " + path.encode() + b" HTTP/1.1\r\n" + HOST + b"\r\n")
        answer = wire.response()
    assert answer is not None
    assert answer.status == 400
    assert "path" in answer.json["error"]
    assert answer.json["requestId"] == answer.headers["x-request-id"]
    assert not any(backend.targets for backend in guarded.backends)


@pytest.mark.parametrize("path", PASSED)
def test_passed_on_as_it_is(guarded: Guarded, path: str) -> None:
    assert ask(guarded, [path]) == [200]
    assert guarded.users.targets == [path]


@pytest.mark.parametrize("query", PASSED_QUERIES)
def test_a_query_is_the_backends_own(guarded: Guarded, query: str) -> None:
    assert ask(guarded, ["/api/users/1" + query]) == [200]
    assert guarded.users.targets == ["/api/users/1" + query]


@settings(_BUDGET, max_examples=1000)
@given(_PATHS)
def test_every_reading_of_a_plain_path_is_the_same(path: str) -> None:
    """Without a gateway, hence many."""
    if _PLAIN.fullmatch(path) and route(path) == route(path.lower()):
        assert {route(reading) for reading in readings(path)} == {route(path)}


@settings(_BUDGET, max_examples=150)
@given(st.lists(_PATHS, min_size=1, max_size=20))
@example(REFUSED)
@example(["/api/SECRET/1", "/API/users/../1"])
def test_what_passes_belongs_to_its_route_in_every_reading(guarded: Guarded, paths: list[str]) -> None:
    guarded.forget()
    paths = [path for path in paths if route(path) != "/api/secret"]
    statuses = ask(guarded, paths)
    assert set(statuses) <= {200, 400, 404}
    for backend, prefix in ((guarded.users, "/api/users"), (guarded.other, "/api")):
        for target in backend.targets:
            assert {route(reading) for reading in readings(target)} == {prefix}
    assert not guarded.secret.targets
    # HAProxy's expressions and Python's are of one mind.
    assert [status == 400 for status in statuses if status != 404] == [
        not _PLAIN.fullmatch(path) or _folds(path)
        for path, status in zip(paths, statuses, strict=True)
        if status != 404
    ]


def _folds(path: str) -> bool:
    return route(path) != route(path.lower())


@settings(_BUDGET, max_examples=100)
@given(st.lists(st.text(min_size=1).filter(lambda text: text.strip(".")), min_size=1, max_size=5))
def test_what_a_sound_client_escapes_passes(guarded: Guarded, segments: list[str]) -> None:
    """But for slashes, backslashes and control characters within a segment."""
    cleaned = [re.sub(r"[\x00-\x1f\x7f/\\\ud800-\udfff]", "x", segment) for segment in segments]
    path = "/api/users/" + "/".join(re.sub("%25(?=[0-9A-Fa-f]{2})", "%25x", quote(part, safe="")) for part in cleaned)
    guarded.forget()
    assert ask(guarded, [path]) == [200]
    assert guarded.users.targets == [path]
