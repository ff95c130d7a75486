"""The API as a process, against a real PostgreSQL."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from openapi_spec_validator import validate

from helpers.process import Client, Process
from helpers.tokens import READER, TOKENS, WRITER

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.postgres import Cluster

    Start = Callable[..., Process]


@pytest.fixture
def client(process: Process) -> Client:
    return Client(process, WRITER)


def test_an_entity_from_its_creation_to_its_end(client: Client) -> None:
    body = {"type": "folder", "name": "Überblick", "attributes": {"color": "blue"}}
    created = client("POST", "/v1/entities", body)
    assert created.status == 201
    location = created.headers["location"]
    assert client("GET", location).body == created.body
    assert created.body["name"] == "Überblick"
    changed = client("PATCH", location, {"name": "Overview"})
    assert (changed.status, changed.body["name"], changed.body["attributes"]) == (200, "Overview", {"color": "blue"})
    assert client("DELETE", location).status == 204
    assert client("GET", location).status == 404
    assert client("DELETE", location).status == 404


def test_pages_of_entities(client: Client) -> None:
    for number in range(7):
        client.entity(f"e{number}", type_="document" if number % 2 else "folder")
    found: list[str] = []
    page: dict[str, Any] = {"next": ""}
    while page["next"] is not None:
        after = {"after": page["next"]} if page["next"] else {}
        page = client("GET", "/v1/entities", limit="3", **after).body
        found += [entity["id"] for entity in page["entities"]]
    assert found == [f"e{number}" for number in range(7)]
    documents = client("GET", "/v1/entities", type="document").body
    assert [entity["id"] for entity in documents["entities"]] == ["e1", "e3", "e5"]


def test_a_grant_holds_for_everything_below(client: Client) -> None:
    client.entity("root")
    client.entity("team", "root")
    client.entity("document", "team", "document")
    client.entity("other", "root")
    assert client.grant("ada", "read", "team") == 201
    assert client.grant("ada", "read", "team") == 200
    assert [client.check("ada", "read", id_) for id_ in ("root", "team", "document", "other")] == [
        False,
        True,
        True,
        False,
    ]
    assert not client.check("ada", "write", "document")
    assert not client.check("bob", "read", "document")
    assert not client.check("ada", "read", "unknown")
    assert client.allowed("ada", "read") == ["document", "team"]
    assert client.allowed("ada", "read", type="document") == ["document"]
    assert client("PATCH", "/v1/entities/document", {"parent": "other"}).status == 200
    assert not client.check("ada", "read", "document")
    assert client.revoke("ada", "read", "team") == 204
    assert client.revoke("ada", "read", "team") == 404
    assert client.allowed("ada", "read") == []


def test_grants_are_listed_and_end_with_their_entity(client: Client) -> None:
    client.entity("a")
    client.grant("ada", "read", "a")
    client.grant("bob", "read", "a")
    grants = client("GET", "/v1/grants", entity="a").body["grants"]
    assert [(grant["subject"], grant["granted_by"]) for grant in grants] == [("ada", "deployer"), ("bob", "deployer")]
    assert client.grant("ada", "read", "none") == 404
    client("DELETE", "/v1/entities/a")
    assert client("GET", "/v1/grants", subject="ada").body["grants"] == []


@pytest.mark.parametrize("parent", ["a", "b", "c"])
def test_no_entity_is_below_itself(client: Client, parent: str) -> None:
    client.entity("a")
    client.entity("b", "a")
    client.entity("c", "b")
    answer = client("PATCH", "/v1/entities/a", {"parent": parent})
    assert answer.status == 409
    assert client("GET", "/v1/entities/a").body["parent"] is None


def test_two_moves_at_once_close_no_circle(client: Client) -> None:
    for number in range(10):
        client.entity(f"a{number}")
        client.entity(f"b{number}")
        answers: list[int] = []

        def move(child: str, parent: str, answers: list[int] = answers) -> None:
            answers.append(client("PATCH", f"/v1/entities/{child}", {"parent": parent}).status)

        threads = [
            threading.Thread(target=move, args=(f"a{number}", f"b{number}")),
            threading.Thread(target=move, args=(f"b{number}", f"a{number}")),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(answers) == [200, 409]


def test_conflicts(client: Client) -> None:
    client.entity("a")
    client.entity("b", "a")
    again = client("POST", "/v1/entities", {"id": "a", "type": "folder", "name": "a"})
    assert (again.status, again.headers["content-type"]) == (409, "application/problem+json")
    assert client("POST", "/v1/entities", {"type": "folder", "name": "x", "parent": "none"}).status == 409
    assert client("POST", "/v1/entities", {"id": "x", "type": "folder", "name": "x", "parent": "x"}).status == 409
    assert client("PATCH", "/v1/entities/b", {"parent": "none"}).status == 409
    children = client("DELETE", "/v1/entities/a")
    assert (children.status, children.body["detail"]) == (409, "'a' has entities below it; delete or move them first")


@pytest.mark.parametrize(
    "body",
    [
        "",
        "no json",
        "[]",
        "[" * 100_000,
        '{"type": "folder"}',
        '{"type": "folder", "name": ""}',
        '{"type": "folder", "name": "a", "nam": "typo"}',
        '{"type": "Folder", "name": "a"}',
        '{"type": "folder", "name": "a", "id": "a/b"}',
        '{"type": "folder", "name": "a", "id": "a\\n"}',
        '{"type": "folder", "name": "a\\u0000"}',
        '{"type": "folder", "name": "\\ud800"}',
        '{"type": "folder", "name": "a", "attributes": {"x": "\\u0000"}}',
        '{"type": "folder", "name": "a", "attributes": {"x": "\\ud800"}}',
        '{"type": "folder", "name": "a", "attributes": {"x": NaN}}',
        '{"type": "folder", "name": "a", "attributes": {"x": "' + "y" * 70_000 + '"}}',
    ],
)
def test_bodies_that_are_not_valid(client: Client, body: str) -> None:
    answer = client("POST", "/v1/entities", body)
    assert answer.status == 400, answer
    assert answer.headers["content-type"] == "application/problem+json"
    assert client("GET", "/v1/entities").body["entities"] == []


def test_requests_that_are_not_valid(client: Client) -> None:
    assert client("POST", "/v1/entities", '"' + "x" * 200_000 + '"').status == 413
    assert client("GET", "/v1/check", subject="a").status == 400
    assert client("GET", "/v1/entities?limit=1&limit=2").status == 400
    assert client("GET", "/v1/entities", limit="0").status == 400
    assert client("GET", "/v1/entities/%00").status in (400, 404)
    assert client("PATCH", "/v1/entities/a", {}).status == 400
    assert client("GET", "/v1/nowhere").status == 404
    assert client("PUT", "/v1/check").status == 405


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Bearer unknown"}, 401),
        ({"Authorization": "Basic dTpw"}, 401),
        ({"Authorization": f"Bearer {READER}x"}, 401),
        ({"Authorization": f"bearer {READER}"}, 200),
        # No peer is trusted, so claims headers say nothing.
        ({"X-User-Id": "ada", "X-User-Scopes": "permissions:read"}, 401),
        ({"X-User-Id": "ada", "X-User-Scopes": "permissions:read", "Authorization": f"Bearer {READER}"}, 200),
    ],
)
def test_who_may_read(process: Process, headers: dict[str, str], status: int) -> None:
    answer = process.request("GET", "/v1/entities", **headers)
    assert answer.status == status
    if status == 401:
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert answer.body["status"] == 401


def test_a_reader_may_not_write(process: Process) -> None:
    answer = Client(process, READER)("POST", "/v1/entities", {"type": "folder", "name": "a"})
    assert answer.status == 403
    assert "permissions:write" in answer.headers["www-authenticate"]


def test_claims_of_the_gateway(api: Start) -> None:
    process = api(EPR_AUTH_TRUSTED_PEERS="127.0.0.0/8", EPR_API_TOKENS="")

    def create(**headers: str) -> int:
        return process.request("POST", "/v1/entities", {"id": "a", "type": "folder", "name": "a"}, **headers).status

    assert create() == 401
    assert create(X_User_Id="ada") == 403
    assert create(X_User_Id="ada", X_User_Scopes="permissions:read") == 403
    assert create(X_User_Id="", X_User_Scopes="permissions:write") == 401
    # An address that a client sends does not make it another peer.
    assert create(X_User_Id="ada", X_User_Scopes='["permissions:write","x"]', X_Forwarded_For="192.0.2.1") == 201


def test_claims_of_another_peer(api: Start) -> None:
    process = api(EPR_AUTH_TRUSTED_PEERS="192.0.2.0/24")
    headers = {"X-User-Id": "ada", "X-User-Scopes": "permissions:read", "X-Forwarded-For": "192.0.2.1"}
    assert process.request("GET", "/v1/entities", **headers).status == 401


def test_its_own_endpoints_need_no_token(process: Process) -> None:
    assert process.request("GET", "/healthz").status == 200
    assert process.run("health", "api").returncode == 0
    client = Client(process, READER)
    client("GET", "/v1/entities")
    before = process.metric("permissions_requests_total", route="listEntities", status="200")
    client("GET", "/v1/entities")
    assert process.metric("permissions_requests_total", route="listEntities", status="200") == before + 1
    document = process.request("GET", "/openapi.json").body
    validate(document)
    assert document["paths"].keys() >= {"/v1/entities/{id}", "/v1/check", "/v1/list", "/v1/grants", "/readyz"}


def test_without_a_database(start: Start, own_cluster: Cluster) -> None:
    process = start("api", EPR_DATABASE_URL=own_cluster.conninfo(), EPR_API_TOKENS=TOKENS).answers("/readyz")
    client = Client(process, WRITER)
    client.entity("a")
    own_cluster.stop()
    assert process.status("/healthz") == 200
    assert process.status("/readyz") == 503
    answer = process.request("GET", "/v1/entities", Authorization=f"Bearer {WRITER}")
    assert (answer.status, answer.body["detail"]) == (503, "the database does not answer")
    own_cluster.start()
    process.answers("/readyz")
    assert client("GET", "/v1/entities/a").status == 200


def test_it_starts_before_its_database(start: Start, own_cluster: Cluster) -> None:
    own_cluster.stop()
    process = start("api", EPR_DATABASE_URL=own_cluster.conninfo(), EPR_API_TOKENS=TOKENS).answers("/healthz")
    process.logged("migration failed")
    own_cluster.start()
    Client(process.answers("/readyz"), WRITER).entity("a")


def test_a_stop_is_a_success(api: Start) -> None:
    assert api().terminate() == 0
