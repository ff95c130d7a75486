"""Secrets: where they come from, what is logged if they can't be read, and that no log has them."""

from __future__ import annotations

import io
import json
import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from psycopg.conninfo import conninfo_to_dict

from evenkeel_gateway import logs, secret_sources
from evenkeel_gateway.redaction import REDACTED, Redactor
from evenkeel_gateway.secrets import SecretError, Secrets
from evenkeel_gateway.settings import Settings
from evenkeel_gateway.settings.layers import read

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.servers import SecretsManager

DATABASE = {
    "engine": "postgres",
    "host": "db",
    "port": 5433,
    "username": "u",
    "password": "p@ss:word",
    "dbname": "fleet",
}


def load() -> Secrets:
    return secret_sources.load(Settings(), Redactor())


def test_from_secrets_manager(environment: Callable[..., None], secrets_manager: SecretsManager) -> None:
    app = secrets_manager.store("app", {"JWT_SECRET": "s3cret", "REDIS_URL": "redis://r"})
    database = secrets_manager.store("db", DATABASE)
    environment(
        **secrets_manager.environment,
        NODE_ENV="production",
        AWS_SECRET_ARN=app,
        AWS_DB_SECRET_ARN=database,
        DB_SSLROOTCERT="/ca.pem",
        DB_SSLMODE="verify-full",
    )
    found = load()
    assert found.values == {"JWT_SECRET": "s3cret", "REDIS_URL": "redis://r"}
    assert found.missing == []
    assert conninfo_to_dict(found.conninfo or "") == {
        "host": "db", "port": "5433", "user": "u", "password": "p@ss:word", "dbname": "fleet",
        "sslmode": "verify-full", "sslrootcert": "/ca.pem",
    }  # fmt: skip


def test_a_secret_that_lacks_a_name(environment: Callable[..., None], secrets_manager: SecretsManager) -> None:
    environment(**secrets_manager.environment, AWS_SECRET_ARN=secrets_manager.store("app", {"JWT_SECRET": ""}))
    assert load().missing == ["JWT_SECRET"]


@pytest.mark.parametrize(
    ("arn", "value", "words"),
    [
        ("denied", None, ["AWS_SECRET_ARN=", "AccessDeniedException", "secretsmanager:GetSecretValue"]),
        ("absent", None, ["ResourceNotFoundException", "no such secret"]),
        ("text", "hunter22 is not JSON", ["not a JSON object"]),
        ("list", ["hunter22"], ["not a JSON object"]),
    ],
)
def test_a_secret_that_can_not_be_had_is_named(
    environment: Callable[..., None], secrets_manager: SecretsManager, arn: str, value: object, words: list[str]
) -> None:
    stored = secrets_manager.store(arn, value)
    if value is None:
        del secrets_manager.secrets[stored]
    environment(**secrets_manager.environment, AWS_SECRET_ARN=stored)
    with pytest.raises(SecretError) as error:
        load()
    assert all(word in str(error.value) for word in words)
    assert "hunter22" not in str(error.value)


def test_a_database_secret_that_lacks_a_key(environment: Callable[..., None], secrets_manager: SecretsManager) -> None:
    arn = secrets_manager.store("db", {"host": "db"})
    environment(**secrets_manager.environment, AWS_DB_SECRET_ARN=arn)
    with pytest.raises(SecretError, match="missing username, password"):
        load()


def test_secrets_manager_out_of_reach(environment: Callable[..., None]) -> None:
    environment(
        AWS_REGION="eu-central-1",
        AWS_SECRET_ARN="arn:aws:x",
        AWS_ENDPOINT_URL_SECRETS_MANAGER="http://127.0.0.1:9",
        AWS_ACCESS_KEY_ID="a",
        AWS_SECRET_ACCESS_KEY="b",
    )
    with pytest.raises(SecretError, match=r"AWS_SECRET_ARN=arn:aws:x: .*127.0.0.1:9"):
        load()


def test_from_the_environment(environment: Callable[..., None]) -> None:
    environment(REQUIRED_SECRETS="JWT_SECRET, OTHER", JWT_SECRET="s3cret", DATABASE_URL="postgresql://u:pw@db/x")
    found = load()
    assert found.values == {"JWT_SECRET": "s3cret"}
    assert found.missing == ["OTHER"]
    assert conninfo_to_dict(found.conninfo or "")["sslmode"] == "require"


def test_the_url_decides_on_tls(environment: Callable[..., None]) -> None:
    environment(DATABASE_URL="postgresql://u:pw@db/x?sslmode=disable")
    assert conninfo_to_dict(load().conninfo or "")["sslmode"] == "disable"


def test_parts_and_the_way_round_a_pooler(environment: Callable[..., None]) -> None:
    environment(DB_HOST="pooler", DB_PORT="6432", DB_USERNAME="u", DB_DIRECT_HOST="db", DB_DIRECT_PORT="5432")
    conninfo = load().conninfo or ""
    direct = conninfo_to_dict(secret_sources.direct_conninfo(Settings(), conninfo))
    assert (direct["host"], direct["port"], direct["user"]) == ("db", "5432", "u")
    assert conninfo_to_dict(conninfo)["host"] == "pooler"


@pytest.fixture
def written() -> tuple[Redactor, io.StringIO]:
    redactor, stream = Redactor(), io.StringIO()
    logs.configure("info", redactor, stream)
    return redactor, stream


def test_known_values_are_blotted_out_everywhere(written: tuple[Redactor, io.StringIO]) -> None:
    redactor, stream = written
    redactor.learn("hunter22", "hunter22-and-more")
    log = logging.getLogger("test")
    log.info("it is %s", "hunter22-and-more", extra={"fields": {"a": {"b": ["x hunter22 y"]}}})
    try:
        raise ValueError("hunter22")  # noqa: TRY301
    except ValueError:
        log.exception("failed")
    text = stream.getvalue()
    assert "hunter22" not in text
    assert "and-more" not in text
    assert all(json.loads(line)["level"] for line in text.splitlines())


def test_passwords_in_urls_and_sensitive_names(written: tuple[Redactor, io.StringIO]) -> None:
    _, stream = written
    fields = {
        "database_url": "postgresql://user:planted1@db/x",
        "db_password": "planted2",
        "nested": {"api_key": "planted3"},
        "aws_secret_arn": "arn:aws:secretsmanager:eu-central-1:1:secret:x",
        "port": 3000,
    }
    logging.getLogger("test").info("redis://:planted4@r", extra={"fields": fields})
    line = json.loads(stream.getvalue())
    assert "planted" not in stream.getvalue()
    assert line["database_url"] == "postgresql://user:[redacted]@db/x"
    assert line["aws_secret_arn"].startswith("arn:")
    assert line["port"] == 3000


SECRET_CASES = json.loads((Path(__file__).parents[2] / "tests" / "data" / "secrets.json").read_text())


@pytest.mark.parametrize("case", SECRET_CASES, ids=lambda case: f"{case['name']}={case['value'][:24]}")
def test_secrets_are_judged_as_the_roles_judge_them(
    written: tuple[Redactor, io.StringIO], case: dict[str, Any]
) -> None:
    _, stream = written
    logging.getLogger("test").info("it is", extra={"fields": {case["name"]: case["value"]}})
    shown = json.loads(stream.getvalue())[case["name"]]
    assert (REDACTED in shown) is case["secret"]
    assert case["secret"] or shown == case["value"]


@pytest.mark.parametrize("case", SECRET_CASES, ids=lambda case: f"{case['name']}={case['value'][:24]}")
def test_a_secret_of_the_environment_is_learnt(environment: Callable[..., None], case: dict[str, Any]) -> None:
    name = re.sub(r"(?<=[a-z])(?=[A-Z])|[-.]", "_", case["name"]).upper()
    environment(**{name: case["value"]})
    learnt = logs.secrets_of(Settings.model_construct(layers=read()))
    known_secret = name.lower() == "database_url"
    assert any(text in case["value"] for text in learnt) is (case["secret"] or known_secret)
