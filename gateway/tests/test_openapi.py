"""The OpenAPI document matches the endpoints, and its page needs no external resource."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import validate

from evenkeel_gateway import openapi
from evenkeel_gateway.haproxy.render import CONTROL_PATHS
from evenkeel_gateway.settings import Settings
from support.gateway import routes
from support.wait import free_port, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.gateway import GatewayProcess
    from support.servers import Backend

    Start = Callable[..., GatewayProcess]


def test_the_document_is_valid_and_complete(environment: Callable[..., None]) -> None:
    document = openapi.document(Settings())
    validate(document)
    assert set(document["paths"]) == set(CONTROL_PATHS)
    assert not re.search(r"[?!]\.", json.dumps(document)), "a sentence has one end"


def check(process: GatewayProcess, document: dict[str, Any]) -> dict[str, int]:
    """Ask for everything that there is; the result is the status by path."""
    statuses = {}
    for path, methods in document["paths"].items():
        answer = process.request(path)
        statuses[path] = answer.status
        assert str(answer.status) in methods["get"]["responses"], path
        content = methods["get"]["responses"][str(answer.status)]["content"]
        [(kind, said)] = content.items()
        assert answer.headers["content-type"].startswith(kind), path
        OAS31Validator(said["schema"] | {"components": document["components"]}).validate(answer.body)
    return statuses


def test_the_answers_are_as_the_document_says(gateway: Start, backend: Backend) -> None:
    dead = f"http://127.0.0.1:{free_port()}"
    process = gateway(ROUTES=routes(**{"/a": backend.url, "/dead": dead})).ready()
    document = process.request("/api-docs.json").body
    assert check(process, document) == dict.fromkeys(CONTROL_PATHS, 200) | {"/api/health/aggregate": 503}


def test_also_where_it_is_not_well(gateway: Start) -> None:
    process = gateway(REQUIRED_SECRETS="SOME_SECRET").answers("/api/about-me", 500)
    document = process.request("/api-docs.json").body
    until(lambda: process.request("/api/about-me").body["missing"] == ["SOME_SECRET"], 5, "it is known")
    statuses = check(process, document)
    assert {path for path, status in statuses.items() if status != 200} == {
        "/api/about-me", "/api/health", "/health", "/health/detailed",
    }  # fmt: skip


def test_it_is_what_catches_another_answer(gateway: Start) -> None:
    process = gateway().ready()
    document = process.request("/api-docs.json").body
    document["components"]["schemas"]["AboutMe"]["properties"]["amILeader"] = {"type": "string"}
    with pytest.raises(Exception, match="is not of type 'string'"):
        check(process, document)


def test_the_page_needs_nothing_from_elsewhere(gateway: Start, backend: Backend) -> None:
    process = gateway(ROUTES=routes(**{"/a": backend.url})).ready()
    answer = process.request("/api-docs")
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    page = answer.body
    assert all(path in page for path in CONTROL_PATHS)
    assert "/a</code>" in page
    assert "Whether this instance is ready for traffic. For load balancers." in page
    links = re.findall(r"(?:src|href|action|url)\s*[=(]\s*[\"']?([^\"' >)]+)", page)
    assert links
    assert all(link.startswith("#") or link in CONTROL_PATHS for link in links)
    assert "<script" not in page
    assert set(re.findall(r'href="#([^"]+)"', page)) <= set(re.findall(r'id="([^"]+)"', page))
