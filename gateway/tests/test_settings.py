"""The environment, read and refused."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from pydantic import ValidationError

from evenkeel_gateway.main import BAD_CONFIGURATION, main, problems
from evenkeel_gateway.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    Environment = Callable[..., None]


def refused() -> list[str]:
    with pytest.raises(ValidationError) as error:
        Settings()
    return problems(error.value).splitlines()


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


def test_every_problem_is_reported_at_once_and_no_value(environment: Environment) -> None:
    environment(PORT="http", DB_SSLMODE="of course", LOG_LEVEL="shout", DATABASE_URL="x")
    text = "\n".join(refused())
    assert all(name in text for name in ("PORT", "DB_SSLMODE", "LOG_LEVEL"))
    assert "of course" not in text


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


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    assert "--check" in capsys.readouterr().out
