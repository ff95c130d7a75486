# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host whose port clients ask directly gets another image, and none of them notices."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.system.rollouts import digest, digests, order, roll

if TYPE_CHECKING:
    from tests.system.conftest import Fleet

LOAD = Path(__file__).parent / "mixed_load.py"
RATE = 400
REQUESTS = 20_000


def test_there_and_back_under_load_of_all_kinds(serving: Fleet, images: tuple[str, str]) -> None:
    host = order(serving)[0]
    address = serving.facts["hosts"][host]["ipv4"]
    command = [sys.executable, str(LOAD), address, "80", str(RATE), str(REQUESTS)]
    load = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        for image in reversed(images):
            run = roll(serving, "--limit", host, rollout_lb="none", gateway_image=image)
            assert run.code == 0, run.output
            assert digests(serving, host) == {digest(image)}
        told: dict[str, Any] = json.loads(load.communicate(timeout=120)[0])
    finally:
        load.kill()
    assert told["failures"] == []
    assert sum(told["done"].values()) >= REQUESTS
    assert all(told["done"][kind] >= 3 for kind in ("kept", "new", "slow", "stream", "websocket"))
    names = serving.on(host, "docker ps --all --format '{{.Names}}'").split()
    assert sorted(names) == ["bk-gateway-api", "bk-gateway-api-previous"]
    assert "elements" not in serving.on(host, "nft list set inet evenkeel_stand_in_bk_gateway_api ports")
    serving.assert_serving()
