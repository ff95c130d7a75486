"""Secrets that change while the gateway runs: real PostgreSQL, Secrets Manager and SSM of moto."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import botocore.session
import psycopg
import pytest
from moto.server import ThreadedMotoServer

from support.wait import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.gateway import GatewayProcess
    from support.postgres import Cluster

    Start = Callable[..., GatewayProcess]

FIRST = "planted-first-secret-of-many-bytes-0123456789"
SECOND = "planted-second-secret-of-many-bytes-0123456789"


class Aws:
    def __init__(self, url: str) -> None:
        self.environment = {
            "AWS_ENDPOINT_URL": url,
            "AWS_REGION": "eu-central-1",
            "AWS_ACCESS_KEY_ID": "AKIATEST",
            "AWS_SECRET_ACCESS_KEY": "test",
        }
        self._url = url

    def _client(self, service: str) -> Any:
        return botocore.session.get_session().create_client(
            service,
            region_name="eu-central-1",
            endpoint_url=self._url,
            aws_access_key_id="AKIATEST",
            aws_secret_access_key="test",
        )

    def parameter(self, name: str, value: str) -> None:
        self._client("ssm").put_parameter(Name=name, Value=value, Type="SecureString", Overwrite=True)

    def secret(self, name: str, value: dict[str, Any]) -> str:
        client = self._client("secretsmanager")
        try:
            arn: str = client.create_secret(Name=name, SecretString=json.dumps(value))["ARN"]
        except client.exceptions.ResourceExistsException:
            arn = client.put_secret_value(SecretId=name, SecretString=json.dumps(value))["ARN"]
        return arn


@pytest.fixture
def aws() -> Iterator[Aws]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    yield Aws(f"http://127.0.0.1:{port}")
    server.stop()


def secrets_of(process: GatewayProcess) -> dict[str, str]:
    found: dict[str, str] = process.request("/health").body["dependencies"]["secrets"]
    return found


def test_parameters_of_many_pages_and_levels(gateway: Start, aws: Aws) -> None:
    for number in range(25):
        aws.parameter(f"/fleet/gateway/filler-{number}", f"planted-{number}")
    aws.parameter("/fleet/gateway/JWT_SECRET", FIRST)
    aws.parameter("/fleet/gateway/redis/url", "planted")
    aws.parameter("/fleet/gateway-of-others/OTHER", "planted")
    process = gateway(
        **aws.environment, AWS_SSM_PREFIX="/fleet/gateway/", REQUIRED_SECRETS="JWT_SECRET,REDIS_URL,FILLER_24"
    ).ready()
    assert "planted" not in process.log


def test_a_secret_that_changes(gateway: Start, aws: Aws) -> None:
    aws.parameter("/g/JWT_SECRET", FIRST)
    process = gateway(**aws.environment, AWS_SSM_PREFIX="/g", SECRETS_REFRESH_SECONDS="0.5").ready()
    aws.parameter("/g/JWT_SECRET", SECOND)
    until(lambda: '"changed": ["JWT_SECRET"]' in process.log, 10, "it is read again")
    assert "planted" not in process.log
    assert not process.exited()


def test_a_missing_secret_that_comes(gateway: Start, aws: Aws) -> None:
    process = gateway(**aws.environment, AWS_SSM_PREFIX="/late", SECRETS_REFRESH_SECONDS="0.5")
    process.answers("/api/about-me", 500)
    until(lambda: process.request("/api/about-me").body["missing"] == ["JWT_SECRET"], 10, "it is named")
    health = process.request("/api/health")
    assert (health.status, health.body["reasons"]) == (503, ["secret JWT_SECRET: not in /late"])
    aws.parameter("/late/JWT_SECRET", FIRST)
    process.ready()
    assert process.status("/api/about-me") == 200


def test_a_source_that_does_not_answer_takes_nothing_away(gateway: Start, aws: Aws) -> None:
    arn = aws.secret("app", {"JWT_SECRET": FIRST})
    process = gateway(**aws.environment, AWS_SECRET_ARN=arn, SECRETS_REFRESH_SECONDS="0.5").ready()
    aws._client("secretsmanager").delete_secret(SecretId=arn, ForceDeleteWithoutRecovery=True)
    until(lambda: secrets_of(process)["status"] == "stale", 10, "it says so")
    assert "ResourceNotFoundException" in secrets_of(process)["error"]
    assert process.status("/api/health") == 200
    assert process.status("/api/about-me") == 200
    assert 'gateway_secret_refreshes_total{outcome="failed"}' in process.request("/metrics").body


def test_the_password_of_the_database_changes(gateway: Start, aws: Aws, own_cluster: Cluster) -> None:
    own_cluster.require_password("app")
    with psycopg.connect(own_cluster.conninfo(), autocommit=True) as admin:
        admin.execute("CREATE ROLE app LOGIN PASSWORD 'planted-one'")
        admin.execute("CREATE DATABASE fleet OWNER app")
        database = {"host": "127.0.0.1", "port": own_cluster.port, "username": "app", "dbname": "fleet"}
        arn = aws.secret("db", database | {"password": "planted-one"})
        process = gateway(
            **aws.environment, AWS_DB_SECRET_ARN=arn, DB_SSLMODE="disable", SECRETS_REFRESH_SECONDS="0"
        ).ready()
        until(lambda: process.about["amILeader"], 5, "it leads")
        admin.execute("ALTER ROLE app PASSWORD 'planted-two'")
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'")
        until(lambda: "password authentication failed" in str(process.request("/health").body), 10, "it is refused")
        assert process.status("/api/health") == 200
        aws.secret("db", database | {"password": "planted-two"})
        # On no schedule: because the database said so.
        until(lambda: process.about["amILeader"], 20, "it leads again")
        listening = (
            "SELECT 1 FROM pg_stat_activity WHERE usename = 'app' AND query LIKE 'LISTEN%' OR query = 'SELECT 1'"
        )
        until(lambda: admin.execute(listening).fetchone(), 15, "it listens again")
    assert "planted" not in process.log
