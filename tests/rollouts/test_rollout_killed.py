# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rollouts whose controller or docker daemon is killed at a seeded moment; the next run finishes them.

KILLS=30 tries so many seeds, and KILLS_FROM=7 begins with the seventh.
"""

from __future__ import annotations

import os
import random
import time
from typing import TYPE_CHECKING

import pytest

from tests.system.fleet import Run, wait_until
from tests.system.rollouts import LOCK, digest, digests, hooks, last_words, nobody_notices, order, roll, start

if TYPE_CHECKING:
    from tests.system.fleet import Fleet, Process

# One of each kind.
FIRST = int(os.environ.get("KILLS_FROM", "2"))
SEEDS = range(FIRST, FIRST + int(os.environ.get("KILLS", "2")))
# How long a rollout takes here; learnt from those that are not killed.
lengths = [45.0]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_killed_rollout_is_finished_by_the_next_run(serving: Fleet, images: tuple[str, str], seed: int) -> None:
    luck = random.Random(seed)
    moment = luck.uniform(1.0, min(lengths))
    with nobody_notices(serving, rate=40):
        started = time.monotonic()
        process = start(serving, gateway_image=images[1], **LOCK)
        if seed % 3:
            time.sleep(moment)
            what, killed = "the controller", Run(-9, process.kill())
        else:
            what, killed = kill_daemon(serving, process, luck.uniform(0, 4))
        print(
            f"seed {seed}: {what} killed after {time.monotonic() - started:.1f} s, after: {last_words(killed.output)}"
        )
        finished = {
            host: serving.gateway(host)["Id"] for host in serving.hosts if is_finished(serving, host, images[1])
        }
        began = time.monotonic()
        run = roll(serving, gateway_image=images[1], rollout_lock_wait=60, **LOCK)
        if not finished:
            lengths.append(time.monotonic() - began)
    assert run.code == 0, killed.output + run.output
    assert digests(serving) == {digest(images[1])}
    assert {host: serving.gateway(host)["Id"] for host in finished} == finished, "what is finished is not done again"
    assert serving.out_of_the_balancer() == []
    assert serving.sql("SELECT count(*) FROM fleet_rollout WHERE finished_at IS NULL") == "0", "the lock is free"
    assert serving.sql("SELECT count(*) FROM ec2_launch WHERE draining_since IS NOT NULL") == "0"
    serving.assert_serving()
    assert time.monotonic() - started < 600


def test_a_daemon_that_is_killed_in_a_start_keeps_no_port(serving: Fleet, images: tuple[str, str]) -> None:
    host = order(serving)[0]
    at_once = "while read -r line; do kill -9 $(cat /run/docker.pid); break; done"
    watch = f"docker events --filter type=network --filter event=connect | {at_once}"
    serving.on(host, f"nohup timeout 120 sh -c '{watch}' >/dev/null 2>&1 &")
    with nobody_notices(serving):
        run = roll(serving, "--limit", host, gateway_image=images[1], **LOCK)
        assert run.code != 0
        assert run.says("The Docker engine did not answer POST /containers/")
        for image in reversed(images):
            again = roll(serving, "--limit", host, gateway_image=image, rollout_lock_wait=60, **LOCK)
            assert again.code == 0, run.output + again.output
    assert digests(serving, host) == {digest(images[0])}
    serving.assert_serving()


def test_a_resumed_rollout_that_fails_goes_back_everywhere(serving: Fleet, images: tuple[str, str]) -> None:
    first, second, _ = order(serving)
    with nobody_notices(serving):
        process = start(serving, gateway_image=images[1], **LOCK)
        wait_until(lambda: is_finished(serving, first, images[1]), f"{first} is updated")
        killed = Run(-9, process.kill())
        fails = hooks("after_host", "command.yml", happens="false", happens_to=second)
        policy = {"rollout_on_failure": "rollback_all", "rollout_lock_wait": 60}
        run = roll(serving, gateway_image=images[1], **LOCK, **fails, **policy)
    assert run.code != 0 and run.says(f"{second} failed"), killed.output + run.output
    assert digests(serving) == {digest(images[0])}, run.output
    assert serving.out_of_the_balancer() == []
    serving.assert_serving()


def kill_daemon(fleet: Fleet, process: Process, delay: float) -> tuple[str, Run]:
    """Of the host in work, which is out of the load balancer; the rollout fails, or does not mind."""
    wait_until(lambda: bool(fleet.out_of_the_balancer()), "a host is in work")
    host = fleet.out_of_the_balancer()[0]
    time.sleep(delay)
    fleet.on(host, "kill -9 $(cat /run/docker.pid)")
    run = process.wait()
    wait_until(lambda: fleet.on(host, "docker info", check=False) != "", f"the docker daemon of {host} is back")
    return f"dockerd of {host}", run


def is_finished(fleet: Fleet, host: str, image: str) -> bool:
    in_service = host not in fleet.out_of_the_balancer() and fleet.healthy(host)
    return in_service and digests(fleet, host) == {digest(image)}
