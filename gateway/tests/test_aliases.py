"""Variables under the names that other deployments use: Kubernetes' pods, Gunicorn, settings without their unit."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import evenkeel_gateway
from evenkeel_gateway.checks import other_names
from evenkeel_gateway.identity import discover
from evenkeel_gateway.main import main
from evenkeel_gateway.settings import Settings, load
from evenkeel_gateway.settings.aliases import ALIASES, GUNICORN, WITHOUT_EFFECT

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.gateway import GatewayProcess

    Environment = Callable[..., None]

README = Path(evenkeel_gateway.__file__).parents[2] / "README.md"


@pytest.mark.parametrize(("alias", "name"), [(alias, name) for name, aliases in ALIASES.items() for alias in aliases])
def test_each_alias_sets_its_variable(environment: Environment, alias: str, name: str) -> None:
    before = getattr(Settings(), name.lower())
    environment(**{alias: "512"})
    assert str(getattr(Settings(), name.lower())).removesuffix(".0") == "512" != str(before)
    environment(**{alias: "512", name: "300"})
    assert str(getattr(Settings(), name.lower())).removesuffix(".0") == "300", "the gateway's own name wins"


def test_hierarchical_names_of_a_runbook(environment: Environment) -> None:
    environment(PROXY__TIMEOUT__READ="10", PROXY__TIMEOUT__CONNECT="2", PROXY__POOL__MAXSIZE="40")
    settings = load()
    found = (settings.proxy_timeout_read_seconds, settings.proxy_timeout_connect_seconds, settings.proxy_pool_maxsize)
    assert found == (10, 2, 40)
    assert settings.layers.tree["proxy"]["timeout"] == {"read": "10", "connect": "2"}
    assert other_names(settings) == []


def test_a_pod_is_what_the_downward_api_says(environment: Environment) -> None:
    """The metadata service of the node is not asked: asking this one would fail."""
    environment(
        NODE_ENV="production",
        DATABASE_URL="postgresql://db/x",
        POD_NAME="gateway-blue-5c9-x7",
        POD_IP="10.42.0.7",
        AWS_EC2_METADATA_SERVICE_ENDPOINT="http://127.0.0.1:9",
    )
    found = discover(Settings())
    assert (found.instance_id, found.private_ip) == ("gateway-blue-5c9-x7", "10.42.0.7")


def test_check_names_what_to_rename(environment: Environment, capsys: pytest.CaptureFixture[str]) -> None:
    environment(
        WSGI_GRACEFUL_TIMEOUT="30",
        WSGI_WORKERS="4",
        WSGI_LIMIT_REQUEST_FIELDS="50",
        PROXY_MAX_HEADERS="60",
        STALE_INSTANCE_THRESHOL_SECONDS="20",
    )
    assert main(["--check"]) == 0
    assert capsys.readouterr().err.splitlines() == [
        "warning: WSGI_GRACEFUL_TIMEOUT: Gunicorn's name, read as SHUTDOWN_GRACE_SECONDS; rename it",
        "warning: WSGI_LIMIT_REQUEST_FIELDS: Gunicorn's name, not read, as PROXY_MAX_HEADERS is set; remove it",
        "warning: WSGI_WORKERS: Gunicorn's, without effect: HAProxy serves all requests with PROXY_THREADS threads",
    ]


def test_a_wrong_value_is_named_as_it_was_set(environment: Environment, capsys: pytest.CaptureFixture[str]) -> None:
    environment(WSGI_GRACEFUL_TIMEOUT="soon")
    assert main(["--check"]) == 2
    assert capsys.readouterr().err == "configuration: WSGI_GRACEFUL_TIMEOUT=soon: not a number\n"


def test_a_starting_gateway_warns_too(gateway: Callable[..., GatewayProcess]) -> None:
    log = gateway(WSGI_MAX_REQUESTS="1000").ready().log
    assert re.search(r'"level": "warning".*WSGI_MAX_REQUESTS: Gunicorn\'s, without effect', log)


def test_the_readme_has_the_whole_table() -> None:
    section = README.read_text().partition("\n### Gunicorn's settings\n")[2].partition("\n#")[0]
    found = re.findall(r"^\| (`WSGI_.+?) \| (.+?) \|", section, re.MULTILINE)
    rows = {name: read_as for names, read_as in found for name in re.findall(r"WSGI_\w+", names)}
    assert rows.keys() == {*GUNICORN, *WITHOUT_EFFECT}
    for alias, name in GUNICORN.items():
        assert rows[alias] == f"`{name}`"
    assert {rows[name] for name in WITHOUT_EFFECT} == {"none"}
