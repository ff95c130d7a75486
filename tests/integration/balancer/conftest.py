# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.balancer.balancers import Balancer, Upstream


@pytest.fixture
def upstreams() -> Iterator[dict[str, Upstream]]:
    started = {name: Upstream(name) for name in "ab"}
    yield started
    for upstream in started.values():
        upstream.stop()


@pytest.fixture
def pair(tmp_path: Path, upstreams: dict[str, Upstream]) -> Iterator[tuple[Balancer, Balancer]]:
    ports = [upstream.port for upstream in upstreams.values()]
    started: list[Balancer] = []
    try:
        for name in ("one", "two"):
            started.append(Balancer(tmp_path / name, *ports))
        yield started[0], started[1]
    finally:
        for balancer in started:
            balancer.stop()
