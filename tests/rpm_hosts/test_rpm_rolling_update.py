# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet of three distributions is updated under load."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.system.load import Watch
from tests.system.rollouts import digest, digests, nobody_notices, roll

if TYPE_CHECKING:
    from tests.system.fleet import Fleet


def test_nobody_notices_an_update_of_a_mixed_fleet(serving: Fleet) -> None:
    now = serving.gateway("host-1")["Config"]["Image"]
    other = next(image for image in serving.facts["gateway_images"].values() if image != now)
    with nobody_notices(serving, rate=100), Watch(serving.leaders) as watch:
        run = roll(serving, gateway_image=other)
    assert run.code == 0, run.output
    assert digests(serving) == {digest(other)}
    assert watch.most_at_once == 1, "never do two lead"
    assert watch.changes == 1, "leadership moves once"
    serving.assert_serving()


def test_a_bad_image_is_put_back_on_an_rpm_host(serving: Fleet) -> None:
    [now] = digests(serving)
    other = next(image for image in serving.facts["gateway_images"].values() if digest(image) != now)
    with nobody_notices(serving):
        run = roll(serving, "--limit", "host-3", gateway_image=other, rollout_version="3.0.0", gateway_health_timeout=6)
    assert run.code != 0
    assert run.says("host-3 failed", "3.0.0")
    assert digests(serving) == {now}
    serving.assert_serving()
