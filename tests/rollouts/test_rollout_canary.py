# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A part of the fleet gets an image first, and a comparison of the clients' results decides."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.system.load import Clients
from tests.system.rollouts import BEHIND_IT, QUICK, digest, digests, nobody_notices, order, reports

if TYPE_CHECKING:
    from tests.system.fleet import Fleet, Process

pytestmark = pytest.mark.usefixtures("left_serving")

# Coarse, so that seconds are enough to tell.
COARSE = {
    "rollout_canary_seconds": 15,
    "rollout_canary_interval": 1,
    "rollout_canary_slower": 1.0,
    "rollout_canary_errors": 0.02,
}


def start(fleet: Fleet, **variables: Any) -> Process:
    return fleet.start_play("canary.yml", environment=fleet.operator(), **{**QUICK, **COARSE, **BEHIND_IT, **variables})


def verdict(fleet: Fleet) -> dict[str, Any]:
    """What the journal has of the last one."""
    judged = "FROM fleet_rollout_step WHERE step = 'judge' ORDER BY at DESC LIMIT 1"
    found: dict[str, Any] = json.loads(fleet.sql(f"SELECT detail {judged}"))
    return found


def test_an_equal_one_is_promoted_and_nobody_notices(serving: Fleet, images: tuple[str, str]) -> None:
    reports(serving)
    with nobody_notices(serving, rate=150):
        run = start(serving, gateway_image=images[1]).wait()
    assert run.code == 0, run.output
    assert digests(serving) == {digest(images[1])}
    (report,) = reports(serving)
    assert report["canary"] == verdict(serving)
    assert report["canary"]["result"] == "promoted"
    kinds = [phase["kind"] for phase in report["phases"]]
    assert kinds[kinds.index("update") + 1] == "judge", "one host is watched before others follow"


def test_one_that_fails_requests_is_put_back(serving: Fleet, images: tuple[str, str]) -> None:
    _first, *others = order(serving)
    nowhere = [{"prefix": "/api/users", "upstream": "http://127.0.0.1:9"}]
    broken = {**serving.variables["gateway_environment"], "ROUTES": json.dumps(nowhere)}
    with serving.untouched(*others), Clients(serving.facts["load_balancer"]["url"], rate=150) as clients:
        run = start(serving, gateway_image=images[1], gateway_environment=broken).wait()
    assert run.code != 0
    assert run.says("The canary is not promoted", "of its requests fail", f"Not touched: {', '.join(sorted(others))}")
    assert digests(serving) == {digest(images[0])}
    assert verdict(serving)["result"] == "condemned"
    assert 0 < len(clients.failures) < clients.answered / 2, "only those that came to the canary"
