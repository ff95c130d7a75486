"""CORS: which origins may call, and which side decides."""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from pydantic import ValidationError

from evenkeel_gateway.settings import Settings
from support.client import Reply, ask
from support.gateway import GatewayProcess
from support.upstream import Upstream, answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Start = Callable[..., GatewayProcess]

APP = "https://app.example.com"
OTHER = "https://evil.example"
# An upstream with an opinion of its own.
OPINION = {
    "Access_Control_Allow_Origin": "*",
    "Access_Control_Allow_Credentials": "true",
    "Access_Control_Allow_Private_Network": "true",
    "Vary": "Accept-Encoding",
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[GatewayProcess, Upstream]]:
    with ExitStack() as running:
        upstream = running.enter_context(Upstream(answer(200, "fine", **OPINION)))
        environment = {
            "ROUTES": json.dumps([{"prefix": "/api", "upstream": upstream.url, "methods": ["GET", "PUT"]}]),
            "ALLOWED_ORIGINS": f"{APP}, http://localhost:5173,https://[::1]:8443",
        }
        process = GatewayProcess(tmp_path_factory.mktemp("cors") / "log", environment)
        running.callback(process.destroy)
        yield process.ready(), upstream


def cors(reply: Reply) -> dict[str, str]:
    return {
        name.lower().removeprefix("access-control-"): value
        for name, value in reply.headers
        if name.lower().startswith("access-control-")
    }


def preflight(origin: str) -> dict[str, str]:
    return {"Origin": origin, "Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "x-evil"}


@pytest.mark.parametrize("origin", [APP, "http://localhost:5173", "https://[::1]:8443"])
def test_a_listed_origin_may_read(served: tuple[GatewayProcess, Upstream], origin: str) -> None:
    reply = ask(served[0].port, "/api", headers={"Origin": origin})
    assert (reply.status, reply.body) == (200, b"fine")
    found = cors(reply)
    assert "X-Request-Id" in found.pop("expose-headers")
    assert found == {"allow-origin": origin, "allow-credentials": "true"}
    assert sorted(reply.all("vary")) == ["Accept-Encoding", "Origin"]


@pytest.mark.parametrize(
    "origin",
    [
        OTHER,
        "null",
        "http://app.example.com",
        "https://app.example.com:444",
        "https://app.example.com.evil.example",
        "https://evil.example/https://app.example.com",
        "",
        f"{APP}, {OTHER}",
    ],
)
def test_another_origin_may_not(served: tuple[GatewayProcess, Upstream], origin: str) -> None:
    """It is the browser that keeps the answer from the page: the request itself is one like all others."""
    reply = ask(served[0].port, "/api", headers={"Origin": origin})
    assert reply.status == 200
    assert cors(reply) == {}
    assert "Origin" in reply.all("vary")


def test_without_an_origin_the_answer_still_depends_on_it(served: tuple[GatewayProcess, Upstream]) -> None:
    reply = ask(served[0].port, "/api")
    assert cors(reply) == {}
    assert "Origin" in reply.all("vary")


@pytest.mark.parametrize("path", ["/api", "/nowhere", "/api/health"])
def test_the_gateway_answers_the_question_before(served: tuple[GatewayProcess, Upstream], path: str) -> None:
    process, upstream = served
    before = len(upstream.requests)
    reply = ask(process.port, path, "OPTIONS", headers=preflight(APP))
    assert (reply.status, reply.body) == (204, b"")
    found = cors(reply)
    assert found["allow-origin"] == APP
    assert found["allow-credentials"] == "true"
    assert "PUT" in found["allow-methods"].split(", ")
    assert "Authorization" in found["allow-headers"].split(", ")
    assert "x-evil" not in found["allow-headers"]
    assert found["max-age"] == "600"
    assert reply.all("vary") == ["Origin"]
    assert len(upstream.requests) == before


def test_and_refuses_it(served: tuple[GatewayProcess, Upstream]) -> None:
    process, upstream = served
    before = len(upstream.requests)
    reply = ask(process.port, "/api", "OPTIONS", headers=preflight(OTHER))
    assert reply.status == 403
    assert cors(reply) == {}
    assert reply.json == {"error": "origin not allowed", "requestId": reply.header("x-request-id")}
    assert len(upstream.requests) == before


@pytest.mark.parametrize(("path", "method", "status"), [("/none", "GET", 404), ("/api", "DELETE", 405)])
def test_a_page_can_read_why_it_failed(
    served: tuple[GatewayProcess, Upstream], path: str, method: str, status: int
) -> None:
    reply = ask(served[0].port, path, method, headers={"Origin": APP})
    assert reply.status == status
    assert cors(reply)["allow-origin"] == APP


def test_everybody_but_without_credentials(gateway: Start) -> None:
    with Upstream(answer(200, "", **OPINION)) as upstream:
        process = gateway(API_SERVICE_URL=upstream.url, ALLOWED_ORIGINS="*").ready()
        reply = ask(process.port, "/api/api", headers={"Origin": OTHER})
        assert cors(reply).keys() == {"allow-origin", "expose-headers"}
        assert cors(reply)["allow-origin"] == "*"
        assert reply.all("vary") == ["Accept-Encoding"]
        assert "allow-credentials" not in cors(ask(process.port, "/api/api", "OPTIONS", headers=preflight(OTHER)))


def test_the_knobs(gateway: Start) -> None:
    with Upstream(answer()) as upstream:
        process = gateway(
            API_SERVICE_URL=upstream.url,
            ALLOWED_ORIGINS=APP,
            CORS_ALLOW_CREDENTIALS="false",
            CORS_ALLOW_METHODS="GET,PUT",
            CORS_ALLOW_HEADERS="X-One X-Two",
            CORS_EXPOSE_HEADERS="X-Three",
            CORS_MAX_AGE_SECONDS="5",
        ).ready()
        assert cors(ask(process.port, "/api/api", "OPTIONS", headers=preflight(APP))) == {
            "allow-origin": APP,
            "allow-methods": "GET, PUT",
            "allow-headers": "X-One, X-Two",
            "max-age": "5",
        }
        found = cors(ask(process.port, "/api/api", headers={"Origin": APP}))
        assert found == {"allow-origin": APP, "expose-headers": "X-Three"}


def test_without_a_list_it_is_the_upstream_that_decides(gateway: Start) -> None:
    with Upstream(answer(200, "", **OPINION)) as upstream:
        process = gateway(API_SERVICE_URL=upstream.url).ready()
        assert cors(ask(process.port, "/api/api", headers={"Origin": OTHER}))["allow-origin"] == "*"
        ask(process.port, "/api/api", "OPTIONS", headers=preflight(OTHER))
        assert upstream.last.method == "OPTIONS"


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"ALLOWED_ORIGINS": "*", "CORS_ALLOW_CREDENTIALS": "true"}, "CORS_ALLOW_CREDENTIALS"),
        ({"ALLOWED_ORIGINS": f"*,{APP}"}, "ALLOWED_ORIGINS"),
        ({"ALLOWED_ORIGINS": "app.example.com"}, "ALLOWED_ORIGINS"),
        ({"ALLOWED_ORIGINS": f"{APP}/"}, "ALLOWED_ORIGINS"),
        ({"ALLOWED_ORIGINS": "https://*.example.com"}, "ALLOWED_ORIGINS"),
        ({"CORS_ALLOW_HEADERS": 'X-A"'}, "CORS_ALLOW_HEADERS"),
        ({"CORS_ALLOW_METHODS": "GET;"}, "CORS_ALLOW_METHODS"),
    ],
)
def test_what_is_refused(environment: Callable[..., None], values: dict[str, str], word: str) -> None:
    environment(**values)
    with pytest.raises(ValidationError, match=f"(?i){word}"):
        Settings()
