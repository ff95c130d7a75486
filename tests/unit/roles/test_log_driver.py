# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of a log driver are valid for it; otherwise engine and container do not start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

from ansible_collections.evenkeel.fleet.tests.unit.trusted import read

ROLES = Path(__file__).parents[3] / "roles"
ROTATED = {"max-size": "10m", "max-file": "3"}


def templated(name: str, **given: Any) -> Any:
    loader = DataLoader()
    variables: dict[str, Any] = {}
    for file in ("docker/defaults", "docker/vars", "gateway/defaults"):
        variables.update(read(ROLES / file / "main.yml"))
    return Templar(loader=loader, variables={**variables, **given}).template(variables[name])


@pytest.mark.parametrize("driver", ["json-file", "local"])
def test_drivers_that_rotate_get_limits(driver: str) -> None:
    config = templated("_docker_config", docker_config={"log-driver": driver})
    assert (config["log-driver"], config["log-opts"]) == (driver, ROTATED)
    assert templated("gateway_log_driver", docker_config={"log-driver": driver}) == driver
    assert templated("gateway_log_options", gateway_log_driver=driver) == ROTATED


def test_the_default_is_as_ever() -> None:
    assert templated("_docker_config")["log-driver"] == "json-file"
    assert templated("_docker_config", docker_log_options={"labels": "team"})["log-opts"] == {
        **ROTATED,
        "labels": "team",
    }
    assert (templated("gateway_log_driver"), templated("gateway_log_options")) == ("json-file", ROTATED)


@pytest.mark.parametrize("driver", ["journald", "awslogs", "none"])
def test_others_get_none_that_they_refuse(driver: str) -> None:
    config = templated("_docker_config", docker_config={"log-driver": driver}, docker_log_options={"tag": "x"})
    # In a merge patch, null takes out what an earlier run wrote.
    assert config["log-opts"] == {"max-size": None, "max-file": None, "tag": "x"}
    assert templated("gateway_log_options", docker_config={"log-driver": driver}) == {}
