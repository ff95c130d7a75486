"""The cache: which responses are stored, for which clients, and for how long."""

from __future__ import annotations

import itertools
import json
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from evenkeel_gateway.settings import Settings
from support.client import ask
from support.gateway import GatewayProcess
from support.upstream import Upstream, answer
from support.wait import until

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator

    from support.upstream import Request

_numbers = itertools.count()
CACHEABLE = {"Cache_Control": "max-age=60"}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[GatewayProcess, Upstream]]:
    with ExitStack() as running:
        upstream = running.enter_context(Upstream())
        routes = [
            {"prefix": "/", "upstream": upstream.url},
            {"prefix": "/always", "upstream": upstream.url, "cache": True, "strip_prefix": True},
            {"prefix": "/never", "upstream": upstream.url, "cache": False},
        ]
        environment = {
            "ROUTES": json.dumps(routes),
            "CACHE_ENABLED": "true",
            "CACHE_MAX_OBJECT_BYTES": "4096",
            "ALLOWED_ORIGINS": "https://app.example.com",
            "TRUSTED_PROXIES": "127.0.0.1",
        }
        process = GatewayProcess(tmp_path_factory.mktemp("cache") / "log", environment)
        running.callback(process.destroy)
        yield process.ready(), upstream


Served = tuple[GatewayProcess, Upstream]


def answers(served: Served, body: str | bytes = "kept", **headers: Any) -> None:
    served[1].respond = answer(200, body, **headers)


def asked(served: Served, path: str, *requests: dict[str, Any]) -> int:
    """Return how many of these requests reached the upstream."""
    process, upstream = served
    before = len(upstream.requests)
    for request in requests:
        assert ask(process.port, path, **request).status == 200
    return len(upstream.requests) - before


def path(prefix: str = "") -> str:
    return f"{prefix}/{next(_numbers)}"


TWICE: tuple[dict[str, Any], ...] = ({}, {})


def test_a_second_one_is_answered_from_here(served: Served) -> None:
    answers(served, **CACHEABLE)
    process, upstream = served
    place = path()
    first, second = ask(process.port, place), ask(process.port, place)
    assert first.body == second.body == b"kept"
    assert [request.path for request in upstream.requests].count(place) == 1
    assert second.header("age") is not None
    assert first.header("x-request-id") != second.header("x-request-id")
    assert asked(served, f"{place}?other=1", *TWICE) == 1
    assert asked(served, place, {"host": "other.example"}, {"host": "other.example"}) == 1


@pytest.mark.parametrize(
    ("prefix", "headers", "reached"),
    [
        ("", {}, 2),
        ("", {"ETag": '"1"'}, 2),
        ("", {"Cache_Control": "public, s-maxage=60"}, 1),
        ("/always", {}, 1),
        ("/always", CACHEABLE, 1),
        ("/never", CACHEABLE, 2),
    ],
)
def test_what_says_nothing_is_kept_where_the_route_says_so(
    served: Served, prefix: str, headers: dict[str, str], reached: int
) -> None:
    answers(served, **headers)
    assert asked(served, path(prefix), *TWICE) == reached


@pytest.mark.parametrize("prefix", ["", "/always"])
@pytest.mark.parametrize(
    "headers",
    [
        {"Cache_Control": "private, max-age=60"},
        {"Cache_Control": "no-store, max-age=60"},
        {"Cache_Control": "no-cache, max-age=60"},
        {"Cache_Control": "max-age=0"},
        {"Cache_Control": "max-age=60", "Set_Cookie": "session=1"},
        {"Set_Cookie": "session=1"},
        {"Cache_Control": "max-age=60", "Vary": "Accept-Language"},
        {"Cache_Control": "max-age=60", "Vary": ["Accept-Encoding", "Authorization"]},
        {"Cache_Control": "max-age=60", "Vary": "*"},
        {"Cache_Control": "max-age=60", "CDN_Cache_Control": "private"},
        {"Cache_Control": "max-age=60", "CDN_Cache_Control": "max-age=60, no-store"},
        {"Cache_Control": "max-age=60", "Age": "70"},
        {"Cache_Control": "max-age=60", "Age": ["70", "0"]},
    ],
)
def test_what_is_for_one_is_not_for_all(served: Served, prefix: str, headers: dict[str, Any]) -> None:
    answers(served, **headers)
    assert asked(served, path(prefix), *TWICE) == 2


@pytest.mark.parametrize("age", ["abc", "-7200", "7200.0", "0, 7200", ["0", "7200"], "0, 0"])
def test_what_is_no_age_is_none_and_the_first_one_counts(served: Served, age: str | list[str]) -> None:
    answers(served, **CACHEABLE, Age=age)
    assert asked(served, path(), *TWICE) == 1


@pytest.mark.parametrize("prefix", ["", "/always"])
@pytest.mark.parametrize("name", ["Authorization", "Cookie"])
def test_who_shows_who_he_is_gets_his_own(served: Served, prefix: str, name: str) -> None:
    """Even where the upstream calls it public: nothing of his is kept, and nothing kept is given to him."""
    answers(served, "his", Cache_Control="public, max-age=60")
    place = path(prefix)
    personal: dict[str, Any] = {"headers": {name: "me"}}
    assert asked(served, place, personal, personal) == 2
    answers(served, "all", Cache_Control="public, max-age=60")
    process, _ = served
    assert ask(process.port, place).body == b"all"
    answers(served, "his", Cache_Control="public, max-age=60")
    assert ask(process.port, place, **personal).body == b"his"
    assert ask(process.port, place).body == b"all"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "HEAD", "OPTIONS"])
def test_other_methods_are_passed_on(served: Served, method: str) -> None:
    answers(served, b"", **CACHEABLE)
    assert asked(served, path("/always"), {"method": method}, {"method": method}) == 2


@pytest.mark.parametrize("status", [204, 206, 301, 404, 410, 500, 503])
def test_only_what_went_well_is_kept(served: Served, status: int) -> None:
    process, upstream = served
    upstream.respond = answer(status, b"", **CACHEABLE)
    before, place = len(upstream.requests), path()
    assert [ask(process.port, place).status for _ in range(2)] == [status] * 2
    assert len(upstream.requests) == before + 2


def test_encodings_are_told_apart(served: Served) -> None:
    """Also where the upstream forgets to say so."""

    def compress(request: Request, _: socket.socket) -> bytes:
        if request.header("accept-encoding") == "gzip":
            return answer(200, "zipped", Content_Encoding="gzip", **CACHEABLE)
        return answer(200, "plain", **CACHEABLE)

    served[1].respond = compress
    process, place = served[0], path()
    zipped: dict[str, Any] = {"headers": {"Accept-Encoding": "gzip"}}
    assert ask(process.port, place, **zipped).body == b"zipped"
    assert ask(process.port, place).body == b"plain"
    assert asked(served, place, zipped, {}) == 0
    assert ask(process.port, place, **zipped).body == b"zipped"
    assert ask(process.port, place).body == b"plain"


def test_a_client_that_lies_about_its_host_poisons_nothing(served: Served) -> None:
    def reflect(request: Request, _: socket.socket) -> bytes:
        return answer(200, f"http://{request.header('x-forwarded-host')}/", **CACHEABLE)

    served[1].respond = reflect
    process, place = served[0], path()
    lie = {"X-Forwarded-Host": "evil.example", "X-Original-URL": "/admin"}
    assert ask(process.port, place, headers=lie, host="good.example").body == b"http://good.example/"
    assert ask(process.port, place, host="good.example").body == b"http://good.example/"


def test_an_origin_of_one_is_not_told_another(served: Served) -> None:
    answers(served, Access_Control_Allow_Origin="https://app.example.com", **CACHEABLE)
    process, place = served[0], path()
    mine = ask(process.port, place, headers={"Origin": "https://app.example.com"})
    assert mine.header("access-control-allow-origin") == "https://app.example.com"
    other = ask(process.port, place, headers={"Origin": "https://evil.example"})
    assert other.header("age") is not None
    assert other.header("access-control-allow-origin") is None


def test_it_ends(gateway: Callable[..., GatewayProcess]) -> None:
    """CACHE_DEFAULT_TTL is also the most."""
    with Upstream(answer(200, "kept", **CACHEABLE)) as upstream:
        process = gateway(API_SERVICE_URL=upstream.url, CACHE_ENABLED="true", CACHE_DEFAULT_TTL="1").ready()
        served, place = (process, upstream), "/api/api/x"
        assert asked(served, place, {}) == 1
        until(lambda: asked(served, place, {}) == 0, 5, "it is kept")
        until(lambda: asked(served, place, {}) == 1, 5, "it is asked for again")


def test_a_client_may_want_it_fresh(served: Served) -> None:
    answers(served, **CACHEABLE)
    place = path()
    asked(served, place, {})
    assert asked(served, place, {"headers": {"Cache-Control": "no-cache"}}) == 1


def test_too_large_to_be_kept(served: Served) -> None:
    answers(served, b"x" * 5000, **CACHEABLE)
    assert asked(served, path(), *TWICE) == 2


def test_who_has_it_already_is_told_so(served: Served) -> None:
    answers(served, ETag='"7"', **CACHEABLE)
    process, place = served[0], path()
    ask(process.port, place)
    assert ask(process.port, place, headers={"If-None-Match": '"7"'}).status == 304


def test_the_log_and_the_metrics_tell(served: Served) -> None:
    answers(served, **CACHEABLE)
    process, place = served[0], path()

    def counted(name: str) -> float:
        text = process.request("/metrics").body
        lines = [line for line in text.splitlines() if line.startswith(f'gateway_cache_{name}{{route="/"}}')]
        assert len(lines) == 1, text
        return float(lines[0].rsplit(" ", 1)[1])

    lookups, hits = counted("lookups"), counted("hits")
    asked(served, place, {}, {}, {}, {"headers": {"Authorization": "x"}})
    assert (counted("lookups"), counted("hits")) == (lookups + 3, hits + 2)

    def said() -> list[str]:
        return [line["cache"] for line in process.access_log if line["path"] == place]

    until(lambda: len(said()) == 4, 5, "all are logged")
    assert said() == ["miss", "hit", "hit", "-"]


def test_off_is_off(gateway: Callable[..., GatewayProcess]) -> None:
    with Upstream(answer(200, "", **CACHEABLE)) as upstream:
        routes = [{"prefix": "/", "upstream": upstream.url, "cache": True}]
        process = gateway(ROUTES=json.dumps(routes)).ready()
        assert asked((process, upstream), path(), *TWICE) == 2


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"CACHE_VARY_HEADERS": "Accept-Encoding, Accept-Language"}, ["CACHE_VARY_HEADERS", "Accept-Language"]),
        ({"CACHE_VARY_HEADERS": "Authorization"}, ["CACHE_VARY_HEADERS", "Authorization"]),
        ({"CACHE_SIZE_MB": "1", "CACHE_MAX_OBJECT_BYTES": "1000000"}, ["CACHE_MAX_OBJECT_BYTES"]),
        ({"CACHE_DEFAULT_TTL": "0"}, ["cache_default_ttl"]),
    ],
)
def test_what_it_can_not_do_is_refused(
    environment: Callable[..., None], values: dict[str, str], words: list[str]
) -> None:
    environment(**values)
    with pytest.raises(ValueError) as error:
        Settings()
    assert all(word in str(error.value) for word in words)
