"""The environment variables: valid and refused ones."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from pydantic import ValidationError

from evenkeel_gateway.main import BAD_CONFIGURATION, main
from evenkeel_gateway.settings import Settings, describe

if TYPE_CHECKING:
    from collections.abc import Callable

    Environment = Callable[..., None]


def refused() -> list[str]:
    with pytest.raises(ValidationError) as error:
        Settings()
    return [f"configuration: {line}" for line in describe(error.value)]


def test_a_laptop_needs_nothing(environment: Environment) -> None:
    settings = Settings()
    assert settings.laptop
    assert not settings.has_database
    assert settings.routes == ()
    assert settings.db_sslmode == "require"


@pytest.mark.parametrize("name", ["STALE_INSTANCE_THRESHOLD_SECONDS", "STALE_INSTANCE_THRESHOL_SECONDS"])
def test_both_spellings_of_the_threshold(environment: Environment, name: str) -> None:
    environment(**{name: "21"})
    assert Settings().stale_instance_threshold_seconds == 21


def test_routes_and_service_urls(environment: Environment) -> None:
    environment(
        ROUTES='[{"prefix": "/api/users/", "upstream": "http://users.fleet.internal:8080"}]',
        ORDER_ITEMS_SERVICE_URL="https://orders.example",
        EMPTY_SERVICE_URL="",
    )
    routes = {
        route.prefix: (route.name, [(upstream.url, upstream.port) for upstream in route.upstreams])
        for route in Settings().routes
    }
    assert routes == {
        "/api/users": ("route:api:users", [("http://users.fleet.internal:8080", 8080)]),
        "/api/order-items": ("route:api:order-items", [("https://orders.example", 443)]),
    }


@pytest.mark.parametrize(
    "route",
    [
        '{"prefix": "api", "upstream": "http://a"}',
        '{"prefix": "/a b", "upstream": "http://a"}',
        '{"prefix": "/a\\n", "upstream": "http://a"}',
        '{"prefix": "//a", "upstream": "http://a"}',
        '{"prefix": "/a", "upstream": "ftp://a"}',
        '{"prefix": "/a", "upstream": "http://a/base"}',
        '{"prefix": "/a", "upstream": "http://u:p@a"}',
        '{"prefix": "/a", "upstream": "http://a:99999"}',
        '{"prefix": "/a", "upstream": "http://a b"}',
        '{"prefix": "/a", "upstream": "http://a\\nserver x 10.0.0.1"}',
        '{"prefix": "/a", "upstream": "http://a", "health": "/x y"}',
        '{"prefix": "/a", "upstream": "http://a", "upstrem": "typo"}',
        '{"prefix": "/a", "upstream": []}',
        '{"prefix": "/a", "upstream": ["http://a", "http://b\\nserver x 10.0.0.1"]}',
        '{"prefix": "/a", "upstream": "http://a", "host": "a b"}',
        '{"prefix": "/a", "upstream": "http://a", "host": "*.example.com"}',
        '{"prefix": "/a", "upstream": "http://a", "host": "example.com:80"}',
        '{"prefix": "/a", "upstream": "http://a", "methods": ["get"]}',
        '{"prefix": "/a", "upstream": "http://a", "methods": ["GET", "X\\n"]}',
        '{"prefix": "/a", "upstream": "http://a", "rewrite": "/b c"}',
        '{"prefix": "/a", "upstream": "http://a", "rewrite": "/b\\\\1"}',
        '{"prefix": "/a", "upstream": "http://a", "rewrite": "/b", "strip_prefix": true}',
        '{"prefix": "/a", "upstream": "http://a", "balance": "random"}',
        '{"prefix": "/a", "upstream": "http://a", "timeout_read_seconds": 0}',
        '{"prefix": "/a", "upstream": "http://a", "retries": 100}',
    ],
)
def test_a_route_that_could_be_more_than_a_route(environment: Environment, route: str) -> None:
    environment(ROUTES=f"[{route}]")
    assert any("ROUTES" in line for line in refused())


def test_the_same_prefix_twice(environment: Environment) -> None:
    environment(ROUTES='[{"prefix": "/api/users", "upstream": "http://a"}]', USERS_SERVICE_URL="http://b")
    assert "/api/users is set more than once" in refused()[0]


@pytest.mark.parametrize(
    ("first", "second", "clash"),
    [
        ({}, {}, True),
        ({"methods": ["GET"]}, {"methods": ["GET", "POST"]}, True),
        ({"methods": ["GET"]}, {"methods": ["HEAD"]}, True),
        ({"methods": ["GET"]}, {"methods": ["POST"]}, False),
        ({"methods": ["GET"]}, {}, False),
        ({"host": "a.example"}, {"host": "A.example"}, True),
        ({"host": "a.example"}, {}, False),
    ],
)
def test_who_would_take_it(
    environment: Environment,
    first: dict[str, object],
    second: dict[str, object],
    clash: bool,  # noqa: FBT001
) -> None:
    common = {"prefix": "/api", "upstream": "http://a"}
    environment(ROUTES=json.dumps([common | first, common | second]))
    if clash:
        assert "is set more than once" in refused()[0]
    else:
        names = [route.name for route in Settings().routes]
        assert len(set(names)) == 2


@pytest.mark.parametrize(
    ("value", "networks"),
    [
        ("", ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"]),
        ("private", ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"]),
        ("none", []),
        ("10.1.2.0/24, 2001:db8::/32 192.0.2.7", ["10.1.2.0/24", "2001:db8::/32", "192.0.2.7/32"]),
    ],
)
def test_whom_it_believes(environment: Environment, value: str, networks: list[str]) -> None:
    environment(TRUSTED_PROXIES=value)
    assert [str(network) for network in Settings().trusted_proxies] == networks


def test_every_problem_is_reported_at_once(environment: Environment) -> None:
    environment(PORT="http", DB_SSLMODE="of course", LOG_LEVEL="shout", DATABASE_URL="x")
    text = "\n".join(refused())
    assert "PORT=http: not a whole number" in text
    assert "DB_SSLMODE=of course: not one of 'disable', " in text
    assert "LOG_LEVEL=shout: not one of 'debug', " in text
    assert "DATABASE_URL: not like postgresql://" in text


def test_production_without_a_database_is_refused(environment: Environment) -> None:
    environment(NODE_ENV="production")
    assert "AWS_DB_SECRET_ARN: not set" in refused()[0]
    environment(NODE_ENV="production", IS_LOCAL="true")
    assert Settings().laptop


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"LEASE_TTL_SECONDS": "3", "ELECTION_TICK_SECONDS": "1"}, "LEASE_MARGIN_SECONDS"),
        ({"ELECTION_TICK_SECONDS": "14"}, "ELECTION_TICK_SECONDS"),
        ({"STALE_INSTANCE_THRESHOL_SECONDS": "4"}, "STALE_INSTANCE_THRESHOLD_SECONDS"),
        ({"AWS_SECRET_ARN": "arn:x"}, "AWS_REGION"),
        ({"DB_HOST": "db"}, "DB_USERNAME"),
        ({"ROUTES": "{broken"}, "ROUTES"),
        ({"LAUNCHED_AT": "yesterday"}, "LAUNCHED_AT"),
        ({"TRUSTED_PROXIES": "10.0.0.1/8"}, "TRUSTED_PROXIES"),
        ({"TRUSTED_PROXIES": "everybody"}, "TRUSTED_PROXIES"),
        ({"PROXY_RETRY_ON": "conn-failure 500"}, "PROXY_RETRY_ON"),
        ({"PROXY_STREAM_UPSTREAM": "false"}, "PROXY_STREAM_UPSTREAM"),
        ({"PROXY_STREAM_CHUNK_SIZE": "4096"}, "PROXY_STREAM_CHUNK_SIZE"),
        ({"PROXY_MAX_HEADER_BYTES": "16000"}, "PROXY_STREAM_CHUNK_SIZE"),
        ({"PROXY_MAX_URL_BYTES": "13000"}, "PROXY_MAX_URL_BYTES"),
    ],
)
def test_what_does_not_fit_together(environment: Environment, values: dict[str, str], word: str) -> None:
    environment(**values)
    assert word in "\n".join(refused())


def test_check_says_ok(environment: Environment, capsys: pytest.CaptureFixture[str]) -> None:
    environment(USERS_SERVICE_URL="http://127.0.0.1:1")
    assert main(["--check"]) == 0
    assert "configuration ok" in capsys.readouterr().out


def test_check_says_what_is_wrong(environment: Environment, capsys: pytest.CaptureFixture[str]) -> None:
    environment(PORT="0", NODE_ENV="production")
    assert main(["--check"]) == BAD_CONFIGURATION
    assert "PORT" in capsys.readouterr().err
    environment(HAPROXY_BINARY="no-such-haproxy")
    assert main(["--check"]) == BAD_CONFIGURATION
    assert "HAPROXY_BINARY=no-such-haproxy: not found" in capsys.readouterr().err


def check(capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    """Return the exit code of --check and its lines without their beginning."""
    code = main(["--check"])
    return code, [line.removeprefix("configuration: ") for line in capsys.readouterr().err.splitlines()]


ORIGIN = "is neither an origin like https://app.example.com (without a path) nor '*'"
UPSTREAM = "is not like http://host:port or https://host:port"
WRONG: dict[str, tuple[dict[str, str], list[str]]] = {
    "a letter is missing": (
        {"RATE_LIMT_CLIENT": "5"},
        ["RATE_LIMT_CLIENT: is not read; did you mean RATE_LIMIT_CLIENT?"],
    ),
    "a letter too many": ({"LOG_LEVELL": "x"}, ["LOG_LEVELL: is not read; did you mean LOG_LEVEL?"]),
    "a service": ({"USERS_SERVICE_URI": "x"}, ["USERS_SERVICE_URI: is not read; did you mean USERS_SERVICE_URL?"]),
    "a secret in lower case": ({"jwt_secret": "x" * 40}, ["jwt_secret: is not read; did you mean JWT_SECRET?"]),
    "of a family": (
        {"CIRCUIT_OPEN_MS": "5"},
        ["CIRCUIT_OPEN_MS: is not read; did you mean CIRCUIT_OPEN_SECONDS?"],
    ),
    "no folder": ({"CONFIG_DIR": "/nope"}, ["CONFIG_DIR=/nope: no such directory, so no file would be read"]),
    "no key": (
        {"ROUTES": '[{"prefix": "/a", "upstream": "http://a", "auth": "required"}]'},
        [
            (
                "ROUTES: /a: requires tokens, but no key to verify them is configured; set JWT_SECRET, "
                "JWT_PUBLIC_KEY, JWKS_URL or JWKS_FILE"
            )
        ],
    ),
    "no file of keys": ({"JWKS_FILE": "/nope.json"}, ["JWKS_FILE=/nope.json: No such file or directory"]),
    "no keys in the file": ({"JWKS_FILE": __file__}, ['JWKS_FILE: not a JWK set ({"keys": […]})']),
    "another database": (
        {"DATABASE_URL": "mysql://me:planted@db/x"},
        ["DATABASE_URL: the scheme is 'mysql'; only PostgreSQL is supported: postgresql://user@host:5432/name"],
    ),
    "a hidden route": (
        {"ROUTES": '[{"prefix": "/health", "upstream": "http://a"}]'},
        ["ROUTES: /health: the gateway answers /health itself; this route only receives the paths below it"],
    ),
    "bits behind a prefix": (
        {"TRUSTED_PROXIES": "10.0.0.1/8, 192.0.2.0/24, all"},
        [
            "TRUSTED_PROXIES: '10.0.0.1/8' has host bits set; did you mean 10.0.0.0/8?",
            "TRUSTED_PROXIES: 'all' is not a network like 10.0.0.0/8 or 2001:db8::/32",
        ],
    ),
    "exempt": (
        {"RATE_LIMIT_EXEMPT": "10.0.0.1/8"},
        ["RATE_LIMIT_EXEMPT: '10.0.0.1/8' has host bits set; did you mean 10.0.0.0/8?"],
    ),
    "an address without a scheme": (
        {"USERS_SERVICE_URL": "users:8080", "PORT": "http"},
        ["PORT=http: not a whole number", f"USERS_SERVICE_URL: 'users:8080' {UPSTREAM}"],
    ),
    "with a password": (
        {"USERS_SERVICE_URL": "ftp://me:planted@users"},
        ["USERS_SERVICE_URL: an upstream is like http://host:port or https://host:port"],
    ),
    "two origins": (
        {"ALLOWED_ORIGINS": "app.example https://b.example ftp://c.example"},
        [f"ALLOWED_ORIGINS: 'app.example' {ORIGIN}", f"ALLOWED_ORIGINS: 'ftp://c.example' {ORIGIN}"],
    ),
    "a setting of a route": (
        {"ROUTES": '[{"prefix": "/a", "upstream": "http://a", "upstrem": "http://b"}]'},
        ["ROUTES.0.UPSTREM: a route has no such setting; did you mean upstream?"],
    ),
    "no JSON, and more": (
        {"ROUTES": "{broken", "LEASE_TTL_SECONDS": "soon"},
        [
            "LEASE_TTL_SECONDS=soon: not a number",
            'ROUTES: not a JSON list like [{"prefix": "/api/users", "upstream": "http://users:8080"}]',
        ],
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_clear_line_for_each_mistake(environment: Environment, capsys: pytest.CaptureFixture[str], case: str) -> None:
    values, lines = WRONG[case]
    environment(**values)
    assert check(capsys) == (BAD_CONFIGURATION, lines)


def test_all_mistakes_at_once(environment: Environment, capsys: pytest.CaptureFixture[str]) -> None:
    environment(RATE_LIMT_CLIENT="5", JWKS_FILE="/nope", ROUTES='[{"prefix": "/metrics", "upstream": "http://a"}]')
    code, lines = check(capsys)
    assert (code, len(lines)) == (BAD_CONFIGURATION, 3)


def test_a_delay_that_nobody_chose_is_warned_of(environment: Environment, capsys: pytest.CaptureFixture[str]) -> None:
    """What the balancer needs is not known here; a second is too short for most."""
    fleet = {"NODE_ENV": "production", "DATABASE_URL": "postgresql://db/x", "JWT_SECRET": "x" * 40}
    environment(**fleet)
    code, [line] = check(capsys)
    assert code == 0
    assert line.startswith("warning: SHUTDOWN_DELAY_SECONDS: not set, and the default of 1 s is too short")
    environment(**fleet, SHUTDOWN_DELAY_SECONDS="1")
    assert check(capsys) == (0, [])


def test_quotes_that_docker_keeps_are_told(environment: Environment, capsys: pytest.CaptureFixture[str]) -> None:
    """The same line of a file is another secret by `docker --env-file`, and no gateway would say so."""
    environment(JWT_SECRET='"planted in quotes, of more than 32 bytes"', SERVICE_NAME="'x'", DB_NAME='"', PORT="3000")
    code, lines = check(capsys)
    told = "the quotes are part of the value; docker's --env-file keeps quotes that a .env file removes"
    assert (code, lines) == (0, [f"warning: JWT_SECRET: {told}", f"warning: SERVICE_NAME: {told}"])


def test_what_belongs_to_others_is_no_mistake(environment: Environment, capsys: pytest.CaptureFixture[str]) -> None:
    """As shells, images, docker, Kubernetes and ECS set them, and an application's own."""
    environment(
        USERS_SERVICE_HOST="10.0.0.1",
        USERS_SERVICE_PORT="80",
        USERS_PORT_80_TCP_ADDR="10.0.0.1",
        AWS_DEFAULT_REGION="eu-central-1",
        AWS_ACCESS_KEY_ID="x",
        AWS_EXECUTION_ENV="x",
        ECS_CONTAINER_METADATA_URI_V4="http://x",
        KUBERNETES_SERVICE_HOST="10.0.0.1",
        KUBERNETES_SERVICE_PORT="443",
        KUBERNETES_SERVICE_PORT_HTTPS="443",
        KUBERNETES_PORT="tcp://10.0.0.1:443",
        KUBERNETES_PORT_443_TCP_ADDR="10.0.0.1",
        NODE_NAME="x",
        POD_NAMESPACE="x",
        POD_UID="x",
        HOSTNAME="x",
        LOGNAME="x",
        LANG="C",
        PYTHON_VERSION="3.11",
        FEATURE__NEW__UI="on",
        STRIPE_API_KEY="x",
        users_service_url="http://127.0.0.1:1",
    )
    assert check(capsys) == (0, [])
    assert [route.prefix for route in Settings().routes] == ["/api/users"]


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    assert "--check" in capsys.readouterr().out
