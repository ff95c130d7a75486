# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host without a load balancer gets another image, and no client notices."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.system.load import MixedLoad
from tests.system.rollouts import digest, digests, order, roll

if TYPE_CHECKING:
    from tests.system.fleet import Fleet

RATE = 400
REQUESTS = 20_000


def test_there_and_back_under_load_of_all_kinds(serving: Fleet, images: tuple[str, str]) -> None:
    host = order(serving)[0]
    url = f"http://{serving.facts['hosts'][host]['ipv4']}"
    with MixedLoad(url, RATE, at_least=REQUESTS) as clients:
        for image in reversed(images):
            run = roll(serving, "--limit", host, rollout_lb="none", gateway_image=image)
            assert run.code == 0, run.output
            assert digests(serving, host) == {digest(image)}
    assert clients.failures == []
    assert clients.answered >= REQUESTS
    assert all(clients.counts[kind] >= 3 for kind in ("kept", "new", "slow", "stream", "websocket"))
    names = serving.on(host, "docker ps --all --format '{{.Names}}'").split()
    assert sorted(names) == ["bk-gateway-api", "bk-gateway-api-previous"]
    assert "elements" not in serving.on(host, "nft list set inet evenkeel_stand_in_bk_gateway_api ports")
    serving.assert_serving()
