# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The shutdown delay of the gateway: at least as long as the load balancer needs to notice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

from ansible_collections.evenkeel.fleet.tests.unit.trusted import trusted

ROLES = Path(__file__).parents[3] / "roles"
CHOSEN = {"gateway_image": "gateway", "gateway_aws_region": "", "gateway_secret_arn": "", "gateway_db_secret_arn": ""}
# What the gateway takes for the requests in flight after the delay.
GRACE_SECONDS = 25


def container(**chosen: Any) -> dict[str, Any]:
    """What the role declares, with its defaults and what an operator chooses."""
    files = [ROLES / "gateway" / part / "main.yml" for part in ("defaults", "vars")]
    variables = {name: value for file in files for name, value in yaml.safe_load(file.read_text()).items()}
    templar = Templar(loader=DataLoader(), variables=trusted(variables | CHOSEN | chosen))
    declared: dict[str, Any] = templar.template(trusted("{{ _gateway_container }}"))
    return declared


def defaults_of_the_balancer() -> int:
    found = yaml.safe_load((ROLES / "load_balancer" / "defaults" / "main.yml").read_text())
    return int(found["load_balancer_health_interval"]) * int(found["load_balancer_unhealthy_threshold"])


@pytest.mark.parametrize(
    ("chosen", "delay"),
    [
        ({}, None),
        ({"rollout_lb": "none"}, None),
        ({"rollout_lb": "haproxy"}, None),
        ({"rollout_lb": "haproxy", "gateway_shutdown_delay": "4"}, 4),
        ({"rollout_lb": "target_group"}, defaults_of_the_balancer()),
        ({"rollout_lb": "target_group", "load_balancer_health_interval": "5"}, 10),
        ({"load_balancer_health_interval": 30, "load_balancer_unhealthy_threshold": 3}, 90),
        ({"rollout_lb": "target_group", "gateway_environment": {"SHUTDOWN_DELAY_SECONDS": "7"}}, 7),
    ],
)
def test_it_serves_on_until_the_balancer_has_noticed(chosen: dict[str, Any], delay: int | None) -> None:
    declared = container(**chosen)
    found = declared["env"].get("SHUTDOWN_DELAY_SECONDS")
    assert found == (None if delay is None else str(delay))
    assert int(declared["stop_timeout"]) >= min(delay or 1, 90) + GRACE_SECONDS


def test_a_time_to_stop_that_is_chosen_is_kept() -> None:
    assert int(container(gateway_stop_timeout=40)["stop_timeout"]) == 40
