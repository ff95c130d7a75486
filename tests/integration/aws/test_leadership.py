# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent's configuration matches the metrics that the gateway exposes."""

from __future__ import annotations

import yaml
from evenkeel_gateway import exposition  # noqa: F401 (it registers the metric)
from evenkeel_gateway.metrics import REGISTRY

from tests.integration.support import CHECKOUT


def test_the_gateway_shows_what_the_agent_sends() -> None:
    defaults = yaml.safe_load((CHECKOUT / "roles/cloudwatch_agent/defaults/main.yml").read_text())
    shown = {family.name: family.type for family in REGISTRY.collect()}
    assert {name: shown.get(name) for name in defaults["cloudwatch_agent_gateway_metrics"]} == {
        "gateway_election_leader": "gauge"
    }
