"""Connections to Redis: TLS, users with few permissions, passwords from the secret store, and error messages."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from pydantic import ValidationError

from evenkeel_gateway.haproxy.limits import hello
from evenkeel_gateway.settings import Settings
from evenkeel_gateway.settings.redis import RedisAddress
from support.limits import log_in, new_client, routes, statuses
from support.redis import RedisServer
from support.servers import Backend
from support.wait import free_port, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.gateway import GatewayProcess
    from support.servers import SecretsManager

    Start = Callable[..., GatewayProcess]
    Environment = Callable[..., None]

# What the gateway needs, and nothing else.
RIGHTS = (
    "+eval +evalsha +script|load +get +set +hset +hgetall +hdel +hexists +pexpire +zadd +zrem +zcard +zrangebyscore "
    "+zremrangebyscore +time +info +select"
)


@pytest.fixture(scope="module")
def upstream() -> Iterator[Backend]:
    with Backend() as running:
        yield running


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    command = "openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=localhost"
    subprocess.run(
        [*command.split(), "-addext", "subjectAltName=DNS:localhost"], cwd=folder, check=True, capture_output=True
    )
    return folder / "cert.pem"


def status(process: GatewayProcess) -> str:
    return str(process.request("/health").body["dependencies"]["redis"]["status"])


def test_tls_and_a_user_of_few_rights(gateway: Start, upstream: Backend, certificate: Path) -> None:
    port = free_port()
    files = {"cert": certificate, "key": certificate.with_name("key.pem"), "ca-cert": certificate}
    arguments = [word for name, path in files.items() for word in (f"--tls-{name}-file", str(path))]
    with RedisServer("--tls-port", str(port), "--tls-auth-clients", "no", *arguments) as server:
        rights = RIGHTS.split()
        server.client.acl_setuser("gate", enabled=True, passwords=["+p@ss w:rd"], commands=rights, keys=["prod:*"])
        where = {"REDIS_URL": f"rediss://gate:p%40ss%20w%3Ard@localhost:{port}/2", "REDIS_PREFIX": "prod:"}
        # The second is what counts with the first: with one alone nothing would be asked.
        first, second = (
            gateway(RATE_LIMIT_ENABLED="true", REDIS_CA_FILE=str(certificate), **where, **routes(upstream)).ready()
            for _ in range(2)
        )
        for process in (first, second):
            until(lambda process=process: status(process) == "up", 5, "shared")  # type: ignore[misc]
        # Who was here first knows of the other once it has settled again.
        seen = _settlements(first)
        until(lambda: _settlements(first) > seen + 1, 5, "they know of each other")
        client = new_client()
        found = [status for port in [first.port, second.port] * 3 for status in statuses(port, 20, client)]
        assert 100 <= found.count(200) <= 110
        for process in (first, second):
            until(lambda port=process.port: statuses(port, 1, client) == [429], 2, "both know")  # type: ignore[misc]
        guesser = new_client()
        assert [log_in(port, client=guesser).status for port in [first.port, second.port] * 4] == [401] * 5 + [429] * 3
        assert _metric(first, 'gateway_limit_questions_total{outcome="unanswered"}') == 0
        # A certificate of an unknown authority.
        stranger = gateway(RATE_LIMIT_ENABLED="true", **where, **routes(upstream)).ready()
        until(lambda: "certificate" in str(stranger.request("/health").body["dependencies"]["redis"]), 5, "refused")
        assert statuses(stranger.port, 3, new_client()) == [200] * 3
        assert log_in(stranger.port, client=new_client()).status == 401


def _settlements(process: GatewayProcess) -> int:
    return int(_metric(process, "gateway_limit_settlement_seconds_count"))


def _metric(process: GatewayProcess, name: str) -> float:
    lines = str(process.request("/metrics").body).splitlines()
    return next((float(line.split()[-1]) for line in lines if line.startswith(f"{name} ")), 0)


def test_the_password_is_in_the_secret_store_and_changes(
    gateway: Start, upstream: Backend, secrets_manager: SecretsManager
) -> None:
    with RedisServer(password="planted-first") as server:
        arn = secrets_manager.store("app", {"JWT_SECRET": "x" * 40, "REDIS_PASSWORD": "planted-first"})
        process = gateway(
            AWS_SECRET_ARN=arn,
            SECRETS_REFRESH_SECONDS="1",
            RATE_LIMIT_ENABLED="true",
            REDIS_HOST="127.0.0.1",
            REDIS_PORT=str(server.port),
            **routes(upstream),
            **secrets_manager.environment,
        ).ready()
        until(lambda: status(process) == "up", 5, "shared")
        server.change_password("planted-second")
        until(lambda: status(process) == "degraded", 5, "refused")
        secrets_manager.store("app", {"JWT_SECRET": "x" * 40, "REDIS_PASSWORD": "planted-second"})
        until(lambda: status(process) == "up", 10, "shared with the new password")
        client = new_client()
        assert [log_in(process.port, client=client).status for _ in range(6)] == [401] * 5 + [429]
        assert len(server.client.keys("gateway:login:*")) == 1, "HAProxy knows the new one too"
        assert "planted-" not in process.log


def test_what_opens_a_connection() -> None:
    address = RedisAddress("h", 6379)
    assert hello(address, None) == b"0\n"
    assert hello(address, "a\r\nb") == b"1\n*2\r\n$4\r\nAUTH\r\n$4\r\na\r\nb\r\n"
    full = RedisAddress("h", 6379, database=3, username="ü")
    assert hello(full, "p") == b"2\n*3\r\n$4\r\nAUTH\r\n$2\r\n\xc3\xbc\r\n$1\r\np\r\n*2\r\n$6\r\nSELECT\r\n$1\r\n3\r\n"


def test_addresses(environment: Environment) -> None:
    environment()
    assert Settings().redis is None
    environment(REDIS_HOST="redis.internal", REDIS_PASSWORD="p", REDIS_TLS="true")
    assert Settings().redis == RedisAddress("redis.internal", 6379, tls=True, password="p")
    environment(REDIS_URL="rediss://u:p%2Fw@[2001:db8::1]:6380/4")
    address = RedisAddress("2001:db8::1", 6380, tls=True, database=4, username="u", password="p/w")
    assert Settings().redis == address
    assert "p/w" not in repr(address)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("REDIS_URL", "http://planted@host"),
        ("REDIS_URL", "redis://:planted@host:99999"),
        ("REDIS_URL", "redis://:planted@host/zero"),
        ("REDIS_URL", "redis://:planted@ho st/0"),
        ("REDIS_HOST", "planted\nserver x"),
        ("REDIS_PREFIX", "planted key"),
        ("REDIS_CA_FILE", "planted"),
        ("RATE_LIMIT_CLIENT", "-1"),
        ("RATE_LIMIT_EXEMPT", "planted"),
        ("LOGIN_PATHS", "/planted'"),
        ("LOGIN_FAILED_STATUS", "200"),
    ],
)
def test_what_is_wrong_is_named_without_its_value(environment: Environment, name: str, value: str) -> None:
    environment(**{name: value})
    with pytest.raises((ValidationError, ValueError)) as error:
        Settings()
    assert name.lower() in str(error.value).lower()
    if name == "REDIS_URL":
        assert "planted" not in str(error.value)


def test_where_the_limits_are_on(environment: Environment) -> None:
    environment()
    assert Settings().limits == (), "as before there were any"
    environment(REDIS_HOST="redis")
    assert [(limit.kind, limit.most, limit.seconds) for limit in Settings().limits] == [
        ("client", 100, 900),
        ("user", 1000, 900),
        ("login", 5, 900),
    ]
    environment(RATE_LIMIT_USER="50", RATE_LIMIT_CLIENT="0")
    assert [limit.kind for limit in Settings().limits] == ["user", "login"]
    environment(RATE_LIMIT_ENABLED="false", REDIS_HOST="redis")
    assert Settings().limits == ()
