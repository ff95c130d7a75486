# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet that serves is brought to another image, on good days and bad ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.system.conftest import wait_until
from tests.system.load import Clients, Watch

if TYPE_CHECKING:
    from tests.system.conftest import Fleet, Run

QUICK: dict[str, Any] = {"rollout_bake_seconds": 2, "rollout_max_unavailable": 1}


def roll(fleet: Fleet, *arguments: str, **variables: Any) -> Run:
    return fleet.start_play("rolling_update.yml", *arguments, **{**QUICK, **variables}).wait()


def digests(fleet: Fleet) -> dict[str, str]:
    return {host: fleet.gateway(host)["Config"]["Image"].partition("@")[2] for host in fleet.hosts}


@pytest.fixture
def images(serving: Fleet) -> tuple[str, str]:
    """The image that all hosts run, and another one."""
    now = serving.gateway("host-1")["Config"]["Image"]
    return now, next(image for image in serving.facts["gateway_images"].values() if image != now)


def test_nobody_notices_an_update(serving: Fleet, images: tuple[str, str]) -> None:
    _before, after = images
    (first,) = serving.leaders()
    with Clients(serving.facts["load_balancer"]["url"], rate=100) as clients, Watch(serving.leaders) as watch:
        run = roll(serving, gateway_image=after)
    assert run.code == 0, run.output
    assert clients.failures == []
    assert clients.answered > 500
    assert set(digests(serving).values()) == {after.partition("@")[2]}
    assert watch.most_at_once == 1, "never do two lead"
    assert watch.changes == 1, "leadership moves once"
    assert serving.leaders() != [first]
    serving.assert_serving()

    with serving.untouched(*serving.hosts):
        again = roll(serving, gateway_image=after)
    assert again.code == 0, again.output
    assert again.changed() <= {"host-1"}, "it has nothing to do but to write its journal"


def test_check_mode_shows_the_plan_and_touches_nothing(serving: Fleet, images: tuple[str, str]) -> None:
    (leader,) = serving.leaders()
    with serving.untouched(*serving.hosts):
        run = roll(serving, "--check", gateway_image=images[1])
    assert run.code == 0, run.output
    assert run.says(f"hand leadership over from {leader}", f"update {leader} (the leader, last)")


def test_a_missing_image_touches_nothing(serving: Fleet, images: tuple[str, str]) -> None:
    missing = f"{images[0].partition('@')[0]}@sha256:{'0' * 64}"
    with serving.untouched(*serving.hosts):
        run = roll(serving, gateway_image=missing)
    assert run.code != 0
    assert run.says("Nothing was changed.", "host-1", "can't be pulled")
    serving.assert_serving()


def test_a_gateway_of_another_version_is_put_back_and_the_rest_untouched(
    serving: Fleet, images: tuple[str, str]
) -> None:
    before, after = images
    (leader,) = serving.leaders()
    first, *others = [host for host in serving.hosts if host != leader] + [leader]
    with serving.untouched(*others):
        run = roll(serving, gateway_image=after, rollout_version="no-such-version", gateway_health_timeout=8)
    assert run.code != 0
    assert run.says(f"{first} failed", "no-such-version", "It serves with what it had before")
    assert set(digests(serving).values()) == {before.partition("@")[2]}
    serving.assert_serving()


def test_without_a_database_nobody_is_drained(serving: Fleet, images: tuple[str, str]) -> None:
    serving.service("stop", "db")
    try:
        with serving.untouched(*serving.hosts):
            run = roll(serving, gateway_image=images[1])
    finally:
        serving.service("start", "db")
    assert run.code != 0
    assert run.says("database")
    serving.assert_serving()


def test_killed_in_the_middle_it_is_finished_by_the_next_run(serving: Fleet, images: tuple[str, str]) -> None:
    _before, after = images
    ttl = 20
    killed = serving.start_play("rolling_update.yml", **QUICK, gateway_image=after, rollout_lock_ttl=ttl)
    wait_until(lambda: not all(map(serving.healthy, serving.hosts)), "a gateway is being replaced")
    killed.kill()
    with Clients(serving.facts["load_balancer"]["url"], rate=50) as clients:
        run = roll(serving, gateway_image=after, rollout_lock_wait=90, rollout_lock_ttl=90)
    assert run.code == 0, run.output
    assert clients.failures == []
    assert set(digests(serving).values()) == {after.partition("@")[2]}
    serving.assert_serving()
