"""The environment variables: valid and refused ones, and what is said of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from evenkeel_permissions.main import BAD_CONFIGURATION, main
from evenkeel_permissions.settings import ApiSettings, WorkerSettings
from evenkeel_permissions.settings.table import END, START, tables
from helpers.tokens import TOKENS, WRITER

if TYPE_CHECKING:
    from collections.abc import Callable

    from helpers.process import Process

    Start = Callable[..., Process]

README = Path(__file__).parent.parent / "README.md"
API = {"EPR_DATABASE_URL": "postgresql://db/permissions", "EPR_API_TOKENS": TOKENS}
WORKER = {"EPR_DATABASE_URL": "postgresql://db/permissions"}


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*ApiSettings.variables(), *WorkerSettings.variables(), "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)


def checked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str, **environment: str
) -> tuple[int, str]:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    code = main([command, "--check"])
    captured = capsys.readouterr()
    return code, captured.out + captured.err


def test_the_smallest_configurations(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert checked(monkeypatch, capsys, "worker", **WORKER) == (0, "configuration ok\n")
    assert checked(monkeypatch, capsys, "api", **API) == (0, "configuration ok\n")
    assert checked(monkeypatch, capsys, "migrate") == (0, "configuration ok\n")


@pytest.mark.parametrize(
    ("command", "name", "value", "problem"),
    [
        ("worker", "EPR_DATABASE_URL", "", "EPR_DATABASE_URL: is not set"),
        ("worker", "EPR_DATABASE_URL", "mysql://u:secret-word@h/d", "EPR_DATABASE_URL: the scheme is 'mysql'"),
        ("worker", "EPR_AUDIT_SQS_URL", "events", "EPR_AUDIT_SQS_URL: 'events' is not a queue URL"),
        ("worker", "EPR_AUDIT_SQS_MAX_MESSAGES", "11", "EPR_AUDIT_SQS_MAX_MESSAGES=11: must be at most 10"),
        ("worker", "EPR_AUDIT_SQS_WAIT_TIME", "x", "EPR_AUDIT_SQS_WAIT_TIME=x: not a whole number"),
        ("worker", "EPR_AUDIT_SQS_WAITTIME", "5", "is not read; did you mean EPR_AUDIT_SQS_WAIT_TIME?"),
        ("worker", "EPR_LOG_LEVEL", "LOUD", "EPR_LOG_LEVEL=loud: not one of"),
        ("api", "EPR_API_TOKENS", "", "EPR_AUTH_TRUSTED_PEERS: neither it nor EPR_API_TOKENS is set"),
        (
            "api",
            "EPR_API_TOKENS",
            '[{"name": "a", "token": "secret-word", "scopes": ["permissions:read"]}]',
            "[0].token",
        ),
        ("api", "EPR_API_TOKENS", "secret-word", "EPR_API_TOKENS: not JSON like"),
        ("api", "EPR_AUTH_TRUSTED_PEERS", "10.0.0.1/8", "EPR_AUTH_TRUSTED_PEERS: '10.0.0.1/8' is not a network"),
        ("api", "EPR_AUTH_USER_HEADER", "X User", "EPR_AUTH_USER_HEADER: 'X User' is not a header"),
        ("api", "EPR_REDIS_URL", "memcache://u:secret-word@h", "EPR_REDIS_URL: not like redis://"),
        ("api", "EPR_REDIS_URL", "https://x.upstash.io", "EPR_REDIS_TOKEN: is not set"),
        ("api", "EPR_AUDIT_TOPIC_ARN", "audit", "EPR_AUDIT_TOPIC_ARN: 'audit' is not the ARN"),
    ],
)
def test_what_is_refused(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
    name: str,
    value: str,
    problem: str,
) -> None:
    code, text = checked(monkeypatch, capsys, command, **((API if command == "api" else WORKER) | {name: value}))
    assert code == BAD_CONFIGURATION
    assert problem in text
    assert "secret-word" not in text


def test_all_errors_at_once(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    values = {"EPR_PORT": "0", "EPR_REDIS_CACHE_TTL": "x", "EPR_DATABASE_URL": ""}
    _, text = checked(monkeypatch, capsys, "api", **(API | values))
    assert [line.partition(" ")[2].partition("=")[0].partition(":")[0] for line in text.splitlines()] == [
        "EPR_DATABASE_URL",
        "EPR_PORT",
        "EPR_REDIS_CACHE_TTL",
    ]


def test_the_runbook_s_spellings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (WORKER | {"EPR_LOG_LEVEL": "INFO", "EPR_LOG_JSON": "true", "EPR_SQL_ECHO": "false"}).items():
        monkeypatch.setenv(name, value)
    settings = WorkerSettings()  # type: ignore[call-arg]
    assert (settings.log_level, settings.log_json, settings.sql_echo) == ("info", True, False)


@pytest.mark.parametrize(
    ("url", "region"),
    [
        ("https://sqs.eu-west-2.amazonaws.com/123456789012/audit", "eu-west-2"),
        ("http://127.0.0.1:4100/123456789012/audit", None),
    ],
)
def test_the_region_of_the_queue(monkeypatch: pytest.MonkeyPatch, url: str, region: str | None) -> None:
    for name, value in (WORKER | {"EPR_AUDIT_SQS_URL": url}).items():
        monkeypatch.setenv(name, value)
    assert WorkerSettings().queue_region == region  # type: ignore[call-arg]
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    assert WorkerSettings().queue_region == "us-east-1"  # type: ignore[call-arg]


def test_the_log_has_no_secrets(start: Start, conninfo: str) -> None:
    database = conninfo.replace("gateway@", "gateway:database-password-1@")
    process = start(
        "api",
        EPR_DATABASE_URL=database,
        EPR_API_TOKENS=TOKENS,
        EPR_REDIS_URL="https://u:redis-password-1@127.0.0.1:1",
        EPR_REDIS_TOKEN="redis-token-1",
        EPR_LOG_LEVEL="debug",
        EPR_SQL_ECHO="true",
        EPR_TYPO="1",
    ).answers("/readyz")
    process.request("GET", "/v1/check?subject=a&permission=b&entity=c", Authorization=f"Bearer {WRITER}")
    process.logged("configuration: EPR_TYPO")
    process.logged("sql")
    process.terminate()
    for secret in ("database-password-1", "redis-password-1", "redis-token-1", WRITER):
        assert secret not in process.log
    for line in process.log.splitlines():
        assert json.loads(line).keys() >= {"time", "level", "logger", "message"}


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as error:
        main(["--help"])
    assert error.value.code == 0
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("api", "worker", "migrate", "health"))
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip()
    with pytest.raises(SystemExit):
        main([])


def test_the_tables_of_the_readme_are_those_of_the_code() -> None:
    """`python -m evenkeel_permissions.settings.table README.md` writes them."""
    text = README.read_text()
    assert text[text.index(START) : text.index(END)] == f"{START}\n{tables()}\n"
