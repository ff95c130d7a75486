"""deploy/compose.yml: in keeping with the gateway's own settings, for Compose and for Swarm."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from dotenv import dotenv_values

from evenkeel_gateway import app
from evenkeel_gateway.main import main
from evenkeel_gateway.settings import load
from support.manifests import K8S

if TYPE_CHECKING:
    from collections.abc import Callable

FOLDER = K8S.parent
SECRETS = {"JWT_SECRET": "x" * 40, "DB_PASSWORD": "planted"}


@pytest.fixture
def service() -> Any:
    [found] = yaml.safe_load((FOLDER / "compose.yml").read_text())["services"].values()
    return found


@pytest.fixture
def configured(environment: Callable[..., None], service: Any) -> dict[str, str]:
    """Set what the gateway reads in the container; the image sets NODE_ENV."""
    values = dict(dotenv_values(FOLDER / service["env_file"]))
    found: dict[str, str] = {name: value or "" for name, value in values.items()} | service["environment"]
    environment(**{"NODE_ENV": "production"} | found | SECRETS)
    return found


def test_the_gateway_accepts_its_configuration(configured: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check"]) == 0
    told = capsys.readouterr()
    assert (told.out, told.err) == ("configuration ok\n", "")
    assert all(configured[name] == "" for name in SECRETS), "no secret is shipped"


@pytest.mark.usefixtures("configured")
def test_the_grace_periods_add_up(service: Any) -> None:
    settings = load()
    takes = max(settings.shutdown_delay_seconds, app.RESIGN_SECONDS) + settings.shutdown_grace_seconds
    assert takes + 2 <= float(service["stop_grace_period"].removesuffix("s")) <= takes + 30


def test_an_update_starts_before_it_stops(service: Any) -> None:
    deploy = service["deploy"]
    assert deploy["replicas"] > 1
    assert {deploy[name]["order"] for name in ("update_config", "rollback_config")} == {"start-first"}
    assert deploy["update_config"]["failure_action"] == "rollback"


def test_the_image_is_a_version_and_the_container_is_confined(service: Any) -> None:
    assert re.fullmatch(r"\$\{GATEWAY_IMAGE:-[\w./-]+:\d+\.\d+\.\d+\}", service["image"])
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert {volume["target"] for volume in service["volumes"] if volume["type"] == "tmpfs"} == {"/run/gateway", "/tmp"}
