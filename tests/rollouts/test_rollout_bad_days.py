# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rollouts during failures: no host is drained on a question without an answer, and no client notices."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.system.rollouts import digest, digests, hooks, never_seen, nobody_notices, order, roll, start

if TYPE_CHECKING:
    from tests.system.fleet import Fleet


pytestmark = pytest.mark.usefixtures("left_serving")


def test_without_a_registry_nothing_begins(serving: Fleet, images: tuple[str, str]) -> None:
    missing = f"{images[0].partition('@')[0]}@sha256:{'0' * 64}"
    serving.service("stop", "registry")
    try:
        with serving.untouched(*serving.hosts):
            run = roll(serving, gateway_image=missing)
    finally:
        serving.service("start", "registry")
    assert run.code != 0
    assert run.says("Nothing was changed.", *(f"{host}: The image {missing} can't be pulled" for host in serving.hosts))


def test_a_full_disk_is_found_before_anybody_is_drained(serving: Fleet) -> None:
    third = order(serving)[-1]
    image = never_seen(serving, "larger", 30_000_000)
    serving.on(third, "mount -t tmpfs -o size=64k tmpfs /var/lib/docker/tmp")
    try:
        with serving.untouched(*serving.hosts[:1]):
            run = roll(serving, gateway_image=image)
    finally:
        serving.on(third, "umount /var/lib/docker/tmp")
    assert run.code != 0
    assert run.says("Nothing was changed.", f"{third}: The image {image} can't be pulled. The disk is full")


def test_an_unhealthy_follower_is_a_reason_not_to_begin(serving: Fleet, images: tuple[str, str]) -> None:
    first, second, _leader = order(serving)
    serving.on(first, "docker stop bk-gateway-api")
    try:
        with serving.untouched(second), nobody_notices(serving):
            run = roll(serving, gateway_image=images[1])
    finally:
        serving.on(first, "docker start bk-gateway-api")
    assert run.code != 0
    assert run.says("Nothing was changed.", f"Unhealthy before the start: {first}", "rollout_allow_unhealthy")


def test_as_many_stay_in_service_as_are_asked_for(serving: Fleet, images: tuple[str, str]) -> None:
    with serving.untouched(*serving.hosts):
        run = roll(serving, gateway_image=images[1], rollout_min_in_service=3)
    assert run.code != 0
    assert run.says("Nothing was changed.", "3 of 3 hosts are in service: with min_in_service 3", "Lower rollout_min")


def test_a_database_that_is_gone_before_the_permit(serving: Fleet, images: tuple[str, str]) -> None:
    first = order(serving)[0]
    gone = hooks("before_host", "command.yml", happens=f"docker stop {serving.name}-db", happens_to=first)
    try:
        with serving.untouched(*serving.hosts), nobody_notices(serving):
            run = roll(serving, gateway_image=images[1], rollout_lock_ttl=10, **gone)
            assert serving.out_of_the_balancer() == []
    finally:
        serving.service("start", "db")
    assert run.code != 0
    assert run.says(f"{first} was not allowed to leave service", "database")


def test_a_database_that_is_gone_before_the_handover(serving: Fleet, images: tuple[str, str]) -> None:
    _first, second, leader = order(serving)
    gone = hooks("after_batch", "command.yml", happens=f"docker stop {serving.name}-db", happens_to=second)
    try:
        with serving.untouched(leader), nobody_notices(serving):
            run = roll(serving, gateway_image=images[1], rollout_lock_ttl=10, **gone)
    finally:
        serving.service("start", "db")
    assert run.code != 0
    assert run.says(f"{leader} did not hand over", f"Not touched: {leader}")
    serving.assert_serving()

    with nobody_notices(serving):
        again = roll(serving, gateway_image=images[1], rollout_lock_wait=30)
    assert again.code == 0, again.output
    assert digests(serving) == {digest(images[1])}


AN_HOUR_AHEAD = """
import datetime, os, time
real, real_ns = time.time, time.time_ns
time.time, time.time_ns = lambda: real() + 3600, lambda: real_ns() + 3600 * 10**9
class Wrong(datetime.datetime):
    @classmethod
    def now(cls, zone=None):
        return cls.fromtimestamp(time.time(), zone)
datetime.datetime = Wrong
with open(os.path.dirname(__file__) + "/seen", "a") as seen:
    seen.write(".")
"""


@pytest.mark.weekly
def test_a_controller_whose_clock_is_an_hour_ahead(serving: Fleet, images: tuple[str, str], tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(AN_HOUR_AHEAD)
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    for name in ("hosts.yml", "group_vars"):
        (tmp_path / name).symlink_to(serving.inventory.parent / name)
    (tmp_path / "host_vars").mkdir()
    (tmp_path / "host_vars" / "localhost.yml").write_text(f"ansible_python_interpreter: {python}\n")

    first, *_others = order(serving)
    with nobody_notices(serving):
        run = start(serving, "--limit", first, inventory=tmp_path / "hosts.yml", gateway_image=images[1]).wait()
    assert run.code == 0, run.output
    assert digests(serving, first) == {digest(images[1])}
    assert len((tmp_path / "seen").read_text()) > 5, "its modules saw the wrong time"
    journal = "FROM fleet_rollout_step WHERE rollout_id = (SELECT max(id) FROM fleet_rollout)"
    assert serving.sql(f"SELECT count(*) > 3, max(abs(extract(epoch FROM now() - at))) < 600 {journal}") == "t|t"
    back = roll(serving, "--limit", first, gateway_image=images[0])
    assert back.code == 0, back.output


def test_a_host_that_dies_in_its_turn(serving: Fleet, images: tuple[str, str]) -> None:
    """Its requests in flight are lost with it; the others are neither drained nor updated."""
    first, *others = order(serving)
    dies = hooks("before_host", "command.yml", happens=f"docker kill {serving.name}-{first}", happens_to=first)
    with serving.untouched(*others):
        run = roll(serving, gateway_image=images[1], **dies)
        assert serving.out_of_the_balancer() in ([first], [])
        assert serving.proxies()
    assert run.code != 0
    assert run.says("UNREACHABLE", f"Not touched: {', '.join(sorted(others))}")

    serving.service("start", first)
    with nobody_notices(serving):
        again = roll(serving, gateway_image=images[1], rollout_lock_wait=30, rollout_allow_unhealthy=True)
    assert again.code == 0, again.output
    assert digests(serving) == {digest(images[1])}
