"""The whole gateway as a process, with a real HAProxy in front."""

from __future__ import annotations

import concurrent.futures
import os
import signal
import socket
import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from support.gateway import routes
from support.wait import free_port, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.gateway import GatewayProcess
    from support.postgres import Cluster
    from support.servers import Backend, Metadata, SecretsManager

    Start = Callable[..., GatewayProcess]


def query(conninfo: str, sql: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(conninfo, autocommit=True) as connection:
        cursor = connection.execute(sql.encode())
        return cursor.fetchall() if cursor.description else []


def test_on_a_laptop(gateway: Start, backend: Backend) -> None:
    process = gateway(USERS_SERVICE_URL=backend.url, SERVICE_NAME="my-gateway", GATEWAY_VERSION="9.8.7").ready()
    assert "NO DATABASE IS CONFIGURED" in process.log
    assert process.request("/api/health")[:2] == (200, {"status": "healthy"})
    about = process.about
    assert about["amILeader"] is True
    assert about["leader"] == about["instanceId"]
    assert about["version"] == "9.8.7"
    for path in ("/", "/api/gateway-info"):
        info = process.request(path).body
        assert (info["name"], info["version"]) == ("my-gateway", "9.8.7")
        assert info["routes"] == [{"prefix": "/api/users", "upstream": backend.url}]
    health = process.request("/health").body
    assert set(health) == {"status", "service", "version", "uptime", "timestamp", "dependencies"}
    metrics = process.request("/metrics").body
    assert "gateway_election_leader 1.0" in metrics
    assert 'gateway_info{version="9.8.7"} 1.0' in metrics
    assert process.request("/api/health", "POST").status == 405


def test_a_request_reaches_the_backend_as_it_was(gateway: Start, backend: Backend) -> None:
    process = gateway(USERS_SERVICE_URL=backend.url).ready()
    answer = process.request("/api/users/7?a=b%20c", "POST", "the body", X_Custom="kept", X_Request_Id="theirs")
    assert answer.status == 200
    seen = answer.body
    assert (seen["method"], seen["path"], seen["body"]) == ("POST", "/api/users/7?a=b%20c", "the body")
    assert seen["headers"]["x-custom"] == "kept"
    assert seen["headers"]["x-forwarded-for"] == "127.0.0.1"
    assert seen["headers"]["x-forwarded-proto"] == "http"
    assert seen["headers"]["host"] == seen["headers"]["x-forwarded-host"] == f"127.0.0.1:{process.port}"
    assert seen["headers"]["x-request-id"] == answer.headers["x-request-id"] != "theirs"
    line = process.logged("/api/users/7")
    assert (line["status"], line["requestId"]) == (200, answer.headers["x-request-id"])


def test_the_longest_prefix_of_whole_segments_wins(gateway: Start, backend: Backend, metadata: Metadata) -> None:
    """The other server answers 401: that tells the two apart."""
    process = gateway(
        ROUTES=routes(**{"/api": metadata.url, "/api/users": backend.url, "/api/users/old": metadata.url})
    )
    process.ready()
    expected = {
        "/api/users": 200,
        "/api/users/": 200,
        "/api/users/7": 200,
        "/api/users/oldest": 200,
        "/api/users?x=/api/users/old": 200,
        "/api/users/old": 401,
        "/api/users/old/7": 401,
        "/api/users2": 401,
        "/api/other": 401,
        "/api": 401,
        "/apis": 404,
        "/other": 404,
    }
    assert {path: process.status(path) for path in expected} == expected


def test_a_route_for_everything_leaves_the_own_endpoints_alone(gateway: Start, backend: Backend) -> None:
    process = gateway(ROUTES=routes(**{"/": backend.url})).ready()
    assert process.request("/anything/else").body["path"] == "/anything/else"
    assert "routes" in process.request("/").body
    assert "amILeader" in process.about


def test_its_own_answers_have_the_date_of_now(gateway: Start) -> None:
    process = gateway().ready()

    def late() -> float:
        date = parsedate_to_datetime(process.request("/health").headers["date"])
        return time.time() - date.timestamp()

    until(lambda: late() < 2, 5, "it is of now")
    time.sleep(2.5)
    assert late() < 2.5


def test_errors_are_json(gateway: Start, backend: Backend) -> None:
    dead = f"http://127.0.0.1:{free_port()}"
    process = gateway(
        ROUTES=routes(**{"/up": backend.url, "/dead": dead, "/nowhere": "http://no-such-name.invalid:80"}),
        PROXY_TIMEOUT_READ_SECONDS="0.5",
    ).ready()
    cases = {"/none": 404, "/up/hang-up": 502, "/dead": 503, "/nowhere": 503, "/up/slow?3": 504}
    for path, status in cases.items():
        answer = process.request(path)
        assert answer.status == status, path
        assert answer.headers["content-type"] == "application/json"
        assert set(answer.body) == {"error", "requestId"}
        assert answer.body["requestId"] == answer.headers["x-request-id"]


def test_the_state_of_the_backends(gateway: Start, backend: Backend) -> None:
    late = free_port()
    process = gateway(
        ROUTES=routes(**{"/up": backend.url, "/late": f"http://127.0.0.1:{late}"}), CIRCUIT_OPEN_SECONDS="3"
    ).ready()

    def state(prefix: str) -> str:
        found: str = process.request("/health/detailed").body["circuitBreakers"][prefix]["state"]
        return found

    until(lambda: state("/late") == "OPEN", 5, "HAProxy has seen that it is down")
    assert state("/up") == "CLOSED"
    aggregate = process.request("/api/health/aggregate")
    assert aggregate.status == 503
    assert aggregate.body["services"]["/up"] == {"status": "healthy", "httpStatus": 200, "answer": {"status": "fine"}}
    assert aggregate.body["services"]["/late"]["status"] == "unreachable"
    assert 'gateway_backend_up{prefix="/late"} 0.0' in process.request("/metrics").body
    with socket.create_server(("127.0.0.1", late)):
        until(lambda: state("/late") in ("HALF_OPEN", "CLOSED"), 8, "the first good check")
        until(lambda: state("/late") == "CLOSED", 8, "HAProxy uses it again")


def test_sigterm_finishes_what_is_in_flight(gateway: Start, backend: Backend) -> None:
    process = gateway(ROUTES=routes(**{"/api": backend.url}), SHUTDOWN_DELAY_SECONDS="0.5").ready()
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        slow = [pool.submit(process.request, "/api/slow?2") for _ in range(20)]
        time.sleep(0.5)
        process.signal(signal.SIGTERM)
        time.sleep(0.2)
        assert process.request("/api/health")[:2] == (
            503,
            {"status": "draining", "reasons": ["draining: this instance is stopping"]},
        )
        assert {future.result().status for future in slow} == {200}
    assert process.wait() == 0


def test_a_request_that_never_ends_does_not_hold_it_beyond_the_grace(gateway: Start, backend: Backend) -> None:
    process = gateway(ROUTES=routes(**{"/api": backend.url}), SHUTDOWN_GRACE_SECONDS="1").ready()
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        slow = pool.submit(process.status, "/api/slow?8")
        time.sleep(0.3)
        process.signal(signal.SIGTERM)
        started = time.monotonic()
        assert process.wait() == 0
        assert time.monotonic() - started < 4
        assert slow.result() != 200


def test_haproxy_is_started_again(gateway: Start, backend: Backend) -> None:
    process = gateway(USERS_SERVICE_URL=backend.url).ready()
    [haproxy] = process.children
    os.kill(haproxy, signal.SIGKILL)
    until(lambda: process.children not in ([], [haproxy]), 5, "another HAProxy")
    until(lambda: process.status("/api/users") == 200, 2, "it serves")
    assert "gateway_haproxy_restarts_total 1.0" in process.request("/metrics").body


def test_haproxy_ends_with_a_killed_control_plane(gateway: Start) -> None:
    process = gateway().ready()
    process.signal(signal.SIGKILL)
    process.wait()
    until(lambda: process.status("/api/health") == 0, 5, "the port is free again")


def test_a_port_that_is_taken_is_named(gateway: Start) -> None:
    """Also by another gateway: the two must not share the connections."""
    first = gateway().ready()
    second = gateway(PORT=str(first.port))
    assert second.wait() == 1
    assert f"cannot bind socket (Address already in use) for [0.0.0.0:{first.port}]" in second.log
    assert first.status("/api/health") == 200


def test_three_instances_one_leader_and_a_graceful_handover(gateway: Start, conninfo: str) -> None:
    fleet = [
        gateway(DATABASE_URL=conninfo, INSTANCE_ID=f"i-{number}", LAUNCHED_AT=f"2026-01-0{number}T00:00:00Z")
        for number in (1, 2, 3)
    ]
    for process in fleet:
        process.ready()
    [leader] = [process for process in fleet if process.about["amILeader"]]
    others = [process for process in fleet if process is not leader]
    term = leader.about["term"]
    until(lambda: all(one.about["leader"] == leader.about["instanceId"] for one in others), 3, "all know the leader")
    leader.signal(signal.SIGTERM)
    took = until(lambda: any(one.about["amILeader"] for one in others), 3, "a successor")
    assert took < 1
    assert leader.wait() == 0
    assert sum(one.about["amILeader"] for one in others) == 1
    assert others[0].about["term"] == term + 1
    assert query(conninfo, "SELECT count(*) FROM ec2_launch") == [(2,)]
    last = gateway(DATABASE_URL=conninfo, INSTANCE_ID="i-9", LAUNCHED_AT="2026-02-01", FORCE_LEADER="true").ready()
    until(lambda: last.about["amILeader"], 3, "the forced one leads")
    until(lambda: not any(one.about["amILeader"] for one in others), 3, "alone")


@pytest.mark.parametrize("direct", [True, False])
def test_through_pgbouncer(gateway: Start, cluster: Cluster, conninfo: str, pooled: str, direct: bool) -> None:  # noqa: FBT001
    """LISTEN goes round it, or is done without."""
    listen = {"DB_DIRECT_PORT": str(cluster.port)} if direct else {"DB_LISTEN": "false"}
    fleet = [gateway(DATABASE_URL=pooled, INSTANCE_ID=f"i-{number}", **listen) for number in range(5)]
    for process in fleet:
        process.ready()
    [leader] = [process for process in fleet if process.about["amILeader"]]
    others = [process for process in fleet if process is not leader]
    leader.signal(signal.SIGTERM)
    took = until(lambda: any(one.about["amILeader"] for one in others), 3, "a successor")
    assert took < 1 if direct else took < 2
    assert [row[0] for row in query(conninfo, "SELECT term FROM leader_lease")] == [2]
    assert not any("does not answer" in process.log for process in fleet)


def test_what_the_metadata_service_says_is_registered(gateway: Start, conninfo: str, metadata: Metadata) -> None:
    process = gateway(
        DATABASE_URL=conninfo, AWS_EC2_METADATA_DISABLED="false", AWS_EC2_METADATA_SERVICE_ENDPOINT=metadata.url
    ).ready()
    about = process.about
    assert (about["instanceId"], about["privateIp"], about["publicIp"]) == ("i-0abc", "10.0.0.7", "203.0.113.7")
    assert about["launchedAt"] == "2026-01-02T03:04:05.000Z"
    assert query(conninfo, "SELECT instance_id, private_ip, public_ip FROM ec2_launch") == [
        ("i-0abc", "10.0.0.7", "203.0.113.7")
    ]


def test_a_missing_secret_is_named_and_the_process_stays(
    gateway: Start, conninfo: str, secrets_manager: SecretsManager
) -> None:
    arn = secrets_manager.store("app", {"OTHER": "planted-value"})
    process = gateway(DATABASE_URL=conninfo, AWS_SECRET_ARN=arn, **secrets_manager.environment)
    process.answers("/api/about-me", 500)
    until(lambda: process.about["missing"] == ["JWT_SECRET"], 5, "the missing secret is named")
    health = process.request("/api/health")
    assert health.status == 503
    assert health.body["status"] == "starting"
    assert f"secret JWT_SECRET: not in {arn}" in health.body["reasons"]
    assert not process.exited()
    assert "planted-value" not in process.log


def test_it_starts_before_the_secret_may_be_read(
    gateway: Start, conninfo: str, secrets_manager: SecretsManager
) -> None:
    arn = secrets_manager.store("app", "")
    del secrets_manager.secrets[arn]
    process = gateway(DATABASE_URL=conninfo, AWS_SECRET_ARN=arn, **secrets_manager.environment)
    process.answers("/api/about-me", 500)
    until(lambda: "ResourceNotFoundException" in str(process.request("/api/health").body), 5, "the reason")
    assert "AWS_SECRET_ARN" in process.about["error"]
    secrets_manager.store("app", {"JWT_SECRET": "planted-value"})
    process.ready()
    assert "planted-value" not in process.log


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("postgresql://gateway@127.0.0.1:9/x?sslmode=disable", "Connection refused"),
        ("postgresql://gateway:planted-value@no-such-name.invalid/x", "no-such-name.invalid"),
    ],
)
def test_a_database_out_of_reach_is_the_reason(gateway: Start, url: str, reason: str) -> None:
    process = gateway(DATABASE_URL=url)
    until(lambda: process.status("/api/health") == 503, 20, "not ready")
    until(lambda: reason in str(process.request("/api/health").body["reasons"]), 10, "the reason")
    assert "planted-value" not in process.log + str(process.request("/api/health").body)
    started = time.monotonic()
    process.signal(signal.SIGTERM)
    assert process.wait() == 0
    assert time.monotonic() - started < 3


def test_health_says_that_an_election_can_not_succeed(gateway: Start, conninfo: str) -> None:
    """Nobody leads though the database answers; requests need no leader, so the gateway stays ready."""
    process = gateway(DATABASE_URL=conninfo).ready()
    until(lambda: process.about["amILeader"] is True, 10, "it leads")
    assert "election" not in process.request("/health").body["dependencies"]
    query(conninfo, "UPDATE ec2_launch SET draining_since = now()")
    query(conninfo, "UPDATE leader_lease SET expires_at = now()")

    def told() -> dict[str, str]:
        found: dict[str, str] = process.request("/health").body["dependencies"].get("election", {})
        return found

    until(lambda: bool(told()), 20, "it is told")
    assert told()["status"] == "down"
    assert "draining_since" in told()["error"]
    assert process.status("/api/health") == 200


def test_health_says_that_an_instance_does_not_find_itself(gateway: Start, conninfo: str) -> None:
    process = gateway(DATABASE_URL=conninfo).ready()
    query(conninfo, "DELETE FROM ec2_heartbeat; CREATE RULE lost AS ON INSERT TO ec2_heartbeat DO INSTEAD NOTHING")
    until(lambda: process.request("/health").body["dependencies"]["database"]["status"] == "down", 20, "it is told")
    assert "not found" in process.request("/health").body["dependencies"]["database"]["error"]


def test_losing_the_database_keeps_the_traffic(gateway: Start, own_cluster: Cluster, backend: Backend) -> None:
    process = gateway(DATABASE_URL=own_cluster.conninfo(), USERS_SERVICE_URL=backend.url).ready()
    assert process.about["amILeader"]
    own_cluster.stop()
    until(lambda: not process.about["amILeader"], 3, "it has stepped down")
    assert process.status("/api/health") == 200
    assert process.status("/api/users") == 200
    assert process.request("/health").body["dependencies"]["database"]["status"] == "down"
    own_cluster.start()
    until(lambda: process.about["amILeader"], 6, "it leads again")
