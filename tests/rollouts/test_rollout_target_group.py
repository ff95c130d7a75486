# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rollouts behind a target group whose targets are the servers of the local load balancer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.system.fleet import wait_until
from tests.system.rollouts import BEHIND_IT, digest, digests, nobody_notices, roll, start

if TYPE_CHECKING:
    from tests.system.fleet import Fleet

pytestmark = pytest.mark.usefixtures("left_serving")


def test_nobody_notices_an_update_behind_a_target_group(serving: Fleet, images: tuple[str, str]) -> None:
    # The load balancer looks each second, and the test before may have stopped a gateway.
    wait_until(lambda: serving.healthy_targets() == len(serving.hosts), "all are in the group")
    with nobody_notices(serving, rate=100):
        process = start(serving, environment=serving.operator(), gateway_image=images[1], **BEHIND_IT)
        wait_until(lambda: serving.healthy_targets() == len(serving.hosts) - 1, "one host left the group")
        assert serving.out_of_the_balancer(), "so nothing is sent to it"
        run = process.wait()
    assert run.code == 0, run.output
    assert digests(serving) == {digest(images[1])}
    assert serving.healthy_targets() == len(serving.hosts)


def test_who_may_not_ask_the_target_group_drains_nobody(serving: Fleet, images: tuple[str, str]) -> None:
    denied = serving.operator("AKIADENIED")
    with serving.untouched(*serving.hosts):
        run = roll(serving, environment=denied, gateway_image=images[1], **BEHIND_IT)
    assert run.code != 0
    assert run.says("Nothing was changed.", "the role or user needs elasticloadbalancing:DescribeTargetGroups")
    assert serving.sql("SELECT count(*) FROM ec2_launch WHERE draining_since IS NOT NULL") == "0"
