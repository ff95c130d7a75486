# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What tests of a fleet share, whatever fleet the fixture `fleet` is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.system.fleet import Fleet, wait_until


@pytest.fixture(scope="session")
def serving(fleet: Fleet) -> Fleet:
    """The fleet, bootstrapped by the test that asked for it first."""
    return fleet.serve()


@pytest.fixture
def left_serving(serving: Fleet) -> Iterator[None]:
    """What the next test finds: a fleet that serves, whole, and that no rollout holds."""
    yield
    # Of a test that failed meanwhile.
    serving.interrupt_plays()
    serving.assert_serving()
    left_out = serving.out_of_the_balancer()
    if left_out:
        # The next test is not to fail for this one.
        serving.start_play("admit.yml", "--limit", ",".join(left_out)).wait()
    assert left_out == []
    # A rollout that lost its database can't give its lock back: that ends by itself.
    held = "SELECT count(*) FROM fleet_rollout WHERE finished_at IS NULL AND expires_at > now()"
    wait_until(lambda: serving.sql(held) == "0", "the lock of the fleet is free")


@pytest.fixture
def images(serving: Fleet) -> tuple[str, str]:
    """The image that all hosts run, and another one."""
    now = serving.gateway("host-1")["Config"]["Image"]
    return now, next(image for image in serving.facts["gateway_images"].values() if image != now)
