"""The sources of the configuration, its errors, and reloads when it changes."""

from __future__ import annotations

import io
import json
import logging
import signal
from typing import TYPE_CHECKING, Any

import pytest

from evenkeel_gateway import logs, main
from evenkeel_gateway.redaction import Redactor
from evenkeel_gateway.settings import ConfigurationError, Settings, load
from evenkeel_gateway.settings.layers import read
from support.load import Load
from support.wait import until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.gateway import GatewayProcess
    from support.servers import Backend

    Environment = Callable[..., None]
    Start = Callable[..., GatewayProcess]


@pytest.fixture
def files(tmp_path: Path, environment: Environment) -> Callable[..., None]:
    """Write these files; the variables are the environment."""

    def write(texts: dict[str, str], **variables: str) -> None:
        for name, text in texts.items():
            (tmp_path / name).write_text(text)
        environment(CONFIG_DIR=str(tmp_path), **variables)

    return write


def test_the_special_over_the_general_and_the_environment_over_all(files: Callable[..., None]) -> None:
    texts = {
        ".env": "PORT=1001\nSERVICE_NAME=one\nDB_NAME=one\nDB_HOST=one\nDB_USERNAME=one\n",
        ".env.local": "SERVICE_NAME=two\nDB_NAME=two\nDB_HOST=two\nDB_USERNAME=two\n",
        ".env.staging": "DB_NAME=three\nDB_HOST=three\nDB_USERNAME=three\n",
        ".env.staging.local": "DB_HOST=four\nDB_USERNAME=four\n",
        ".env.production": "PORT=9999\n",
    }
    files(texts, NODE_ENV="staging", DB_USERNAME="five")
    settings = load()
    assert [settings.port, settings.service_name, settings.db_name, settings.db_host, settings.db_username] == [
        1001,
        "two",
        "three",
        "four",
        "five",
    ]
    assert [path.name for path in settings.layers.files] == [".env", ".env.local", ".env.staging", ".env.staging.local"]


def test_a_file_says_which_environment_it_is(files: Callable[..., None]) -> None:
    files({".env": "NODE_ENV=staging\n", ".env.staging": "PORT=1002\n", ".env.local": ""})
    assert load().port == 1002


def test_the_same_folder_without_config_dir(files: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    files({".env": "PORT=1003\n"})
    monkeypatch.chdir(read().files[0].parent)
    monkeypatch.delenv("CONFIG_DIR")
    assert load().port == 1003


def test_what_a_file_may_hold(files: Callable[..., None]) -> None:
    files(
        {
            ".env": "# a remark\nexport PORT=1004  # another\nSERVICE_NAME='a b'\nDB_NAME=\"x # y\"\nDB_HOST=\n"
            'ROUTES=\'[{"prefix": "/a", "upstream": "http://a"}]\'\nUSERS_SERVICE_URL=http://users\n'
        }
    )
    settings = load()
    assert (settings.port, settings.service_name, settings.db_name, settings.db_host) == (1004, "a b", "x # y", None)
    assert [route.prefix for route in settings.routes] == ["/a", "/api/users"]


def test_what_a_file_does_not_do(files: Callable[..., None]) -> None:
    """As in docker's --env-file: nothing is put in the place of ${B}."""
    files({".env": "B=1\nSERVICE_NAME=${B}-$B\nDB_NAME='${B}'\n"})
    settings = load()
    assert (settings.service_name, settings.db_name) == ("${B}-$B", "${B}")


def test_nested_names(files: Callable[..., None]) -> None:
    files({".env": "DB__HOST=one\nDB__USERNAME=u\nFEATURE__NEW__UI=on\n"}, DB__HOST="two", DB__NAME="fleet")
    settings = load()
    assert (settings.db_host, settings.db_username, settings.db_name) == ("two", "u", "fleet")
    assert settings.layers.values["FEATURE_NEW_UI"] == "on"
    assert settings.layers.tree["db"] == {"host": "two", "username": "u", "name": "fleet"}
    assert settings.layers.tree["feature"] == {"new": {"ui": "on"}}


def test_every_problem_at_once(files: Callable[..., None]) -> None:
    files(
        {".env": "PORT=http\nthis is not a setting planted\nDB__HOST=a\nDB_HOST=b\n"},
        NODE_ENV="production",
        LOG_LEVEL="shout",
        ROUTES='[{"prefix": "no", "upstream": "http://a"}]',
        LEASE_TTL_SECONDS="3",
        AWS_SECRET_ARN="arn:x",
    )
    with pytest.raises(ConfigurationError) as error:
        load()
    text = "\n".join(error.value.problems)
    words = ("PORT", "LOG_LEVEL", "ROUTES.0.PREFIX", "LEASE_MARGIN_SECONDS", "AWS_REGION", "DB_HOST: set to two")
    for word in words:
        assert word in text
    assert ".env: line 2: not NAME=value" in text
    assert "planted" not in text


def test_a_file_that_can_not_be_read(files: Callable[..., None], tmp_path: Path) -> None:
    files({})
    (tmp_path / ".env").write_bytes(b"PORT=\xff\xfe\n")
    (tmp_path / ".env.local").mkdir()
    with pytest.raises(ConfigurationError) as error:
        load()
    assert ".env: not readable: not UTF-8" in str(error.value)
    assert ".env.local: not readable: Is a directory" in str(error.value)


def _text_fields() -> list[str]:
    return [name for name, field in Settings.model_fields.items() if name != "layers"]


@pytest.mark.parametrize("name", _text_fields())
def test_no_planted_secret_is_shown(environment: Environment, name: str) -> None:
    """In whatever field: by the name of the field, by what is known to be secret, or as the password of a URL."""
    environment(**{name.upper(): "https://me:planted-url@host/p"}, OTHER_PASSWORD="planted-password")
    secrets = logs.secrets_of(Settings.model_construct(layers=read()))
    values = {"nested": ["https://me:planted-url@host/p", {"password": "planted-deep"}], "text": "is planted-password"}
    assert "planted" not in _logged({name: values}, *secrets)


def _logged(fields: dict[str, Any], *known: str) -> str:
    stream, redactor = io.StringIO(), Redactor()
    redactor.learn(*known)
    logs.configure("info", redactor, stream)
    logging.getLogger("test").info("configuration", extra={"fields": fields})
    return stream.getvalue()


def test_the_snapshot_shows_no_secret(files: Callable[..., None]) -> None:
    files(
        {
            ".env": "JWT_SECRET=planted-jwt-long-enough-for-a-key-000\nAPI__STRIPE__SECRET_KEY=planted-nested\n"
            "SERVICE_NAME=name-with-planted-jwt-long-enough-for-a-key-000-in-it\n"
        },
        DATABASE_URL="postgresql://me:planted%40db@db/x",
        DB_PASSWORD="planted-pw",
        USERS_SERVICE_URL="http://users:8080",
        THIRD_PARTY_TOKEN="planted-token",
        AWS_SECRET_ACCESS_KEY="planted-aws",
        REQUIRED_SECRETS="JWT_SECRET",
        SOME_URL="redis://:planted-redis@cache",
    )
    settings = load()
    text = _logged(main.snapshot(settings), *logs.secrets_of(settings))
    assert "planted" not in text
    shown = json.loads(text)
    assert shown["database_url"] == "postgresql://me:[redacted]@db/x"
    assert shown["routes"][0]["upstream"] == ["http://users:8080"]
    assert shown["files"]


def test_a_gateway_that_reads_files(gateway: Start, backend: Backend, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(
        "JWT_SECRET=planted-secret-of-many-bytes-0123456789\nA__SECRET=planted-2\nDB_PASSWORD=planted-3\n"
        f"USERS_SERVICE_URL={backend.url}\n"
    )
    process = gateway(CONFIG_DIR=str(tmp_path)).ready()
    assert process.status("/api/users") == 200
    assert str(tmp_path / ".env") in process.log
    assert "planted" not in process.log


def configuration(process: GatewayProcess) -> dict[str, str]:
    found: dict[str, str] = process.request("/health/detailed").body["configuration"]
    return found


def test_routes_change_under_load_without_a_failed_request(gateway: Start, backend: Backend, tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text(f"A_SERVICE_URL={backend.url}\n")
    process = gateway(CONFIG_DIR=str(tmp_path), CONFIG_WATCH_SECONDS="0.2").ready()
    with Load(process.port, "/api/a") as load:
        for name in ("b", "c", "d"):
            file.write_text(f"A_SERVICE_URL={backend.url}\n{name.upper()}_SERVICE_URL={backend.url}\n")
            until(lambda name=name: process.status(f"/api/{name}") == 200, 10, "the new route is served")  # type: ignore[misc]
        assert process.status("/api/b") == 404
        assert configuration(process) == {"status": "current"}
        file.write_text("A_SERVICE_URL=nonsense\n")
        until(lambda: configuration(process)["status"] == "refused", 10, "it says so")
        assert "A_SERVICE_URL" in configuration(process)["error"]
        assert "gateway_configuration_current 0.0" in process.request("/metrics").body
        assert process.status("/api/health") == 200
        file.write_text(f"A_SERVICE_URL={backend.url}\n")
        until(lambda: configuration(process)["status"] == "current", 10, "it is mended")
        assert process.status("/api/d") == 404
    assert load.failures == []
    assert load.requests > 100


def test_a_signal_and_a_command_reload_too(gateway: Start, backend: Backend, tmp_path: Path) -> None:
    file = tmp_path / ".env"
    process = gateway(CONFIG_DIR=str(tmp_path), CONFIG_WATCH_SECONDS="0", RUNTIME_DIR=str(tmp_path / "run")).ready()
    file.write_text(f"A_SERVICE_URL={backend.url}\n")
    process.signal(signal.SIGHUP)
    until(lambda: process.status("/api/a") == 200, 10, "the new route is served")
    file.write_text(f"B_SERVICE_URL={backend.url}\n")
    done = process.command("reload")
    assert (done.returncode, json.loads(done.stdout)["configuration"]) == (0, "current")
    assert process.status("/api/b") == 200
    file.write_text("B_SERVICE_URL=nonsense\n")
    done = process.command("reload")
    assert done.returncode == 1
    assert "B_SERVICE_URL" in json.loads(done.stdout)["error"]
    assert process.status("/api/b") == 200


def test_what_only_the_start_reads_is_named(gateway: Start, tmp_path: Path) -> None:
    process = gateway(CONFIG_DIR=str(tmp_path), CONFIG_WATCH_SECONDS="0.2").ready()
    (tmp_path / ".env").write_text("SERVICE_NAME=another\n")
    until(lambda: configuration(process)["status"] == "refused", 10, "it says so")
    assert "SERVICE_NAME: changed, but only read at the start" in configuration(process)["error"]


def test_drain_and_undrain(gateway: Start, backend: Backend, tmp_path: Path) -> None:
    process = gateway(RUNTIME_DIR=str(tmp_path), USERS_SERVICE_URL=backend.url).ready()
    assert "connection" not in process.request("/api/users").headers
    done = process.command("drain")
    assert json.loads(done.stdout)["status"] == "draining"
    assert process.status("/api/health") == 503
    answer = process.request("/api/users")
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    # Also by one that was started since.
    assert process.command("reload").returncode == 0
    assert process.request("/api/users").headers["connection"] == "close"
    assert process.command("undrain").returncode == 0
    assert process.status("/api/health") == 200
    assert "connection" not in process.request("/api/users").headers
    assert json.loads(process.command("status").stdout)["requestsInFlight"] == 0
    # It can't be drained from outside.
    assert process.request("/drain", "POST").status == 404
    assert process.request("/api/drain", "POST").status == 404
    assert process.status("/api/health") == 200


def test_a_command_without_a_gateway(gateway: Start, tmp_path: Path) -> None:
    process = gateway(RUNTIME_DIR=str(tmp_path / "a")).ready()
    process.signal(signal.SIGTERM)
    process.wait()
    done = process.command("drain")
    assert done.returncode == 1
    assert "no gateway answers in this directory" in done.stderr
