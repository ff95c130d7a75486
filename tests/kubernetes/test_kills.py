# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A controller that is killed: the next run finishes what it began. KILLS moments of each playbook are tried."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.kubernetes.cluster import KILLS, NAME, RATE, Cluster, assert_agrees, wait_until
from tests.kubernetes.runs import Run, kill
from tests.system.load import MixedLoad, Watch

NOTE = "evenkeel.fleet/rolling-back-to"
# What a run needs before it changes anything, and how long one takes, in seconds.
EARLIEST, ROLLOUT, SWITCH = 2.0, 24.0, 32.0
# The lock of a controller that was killed expires soon.
LOCK = {"kubernetes_lock_ttl": 10, "kubernetes_lock_wait": 60}
COLORS = {
    **LOCK,
    "kubernetes_bake": 3,
    "kubernetes_overlap": 4,
    "kubernetes_policy_api": "policy/v1beta1",
}


@contextmanager
def watched(cluster: Cluster) -> Iterator[None]:
    """No request fails, and there are never two leaders."""
    with MixedLoad(cluster.url, RATE / 3) as load, Watch(cluster.leaders()) as watch:
        yield
    print(f"{load.answered} requests, {watch.changes} changes of the leader, gap {watch.longest_without:.2f} s")
    assert load.failures == []
    assert watch.most_at_once == 1


def moments(seed: str, longest: float, count: int = KILLS) -> Iterator[float]:
    """One in each of `count` equal parts of the time."""
    chance, part = random.Random(seed), (longest - EARLIEST) / count
    for number in range(count):
        yield EARLIEST + part * (number + chance.random())


def killed_after(cluster: Cluster, moment: float, playbook: str, **variables: object) -> str:
    """Start it and kill it. Returns when that was, for messages."""
    process = cluster.start(playbook, **{**LOCK, **variables})
    time.sleep(moment)
    ended = process.poll() is not None
    kill(process)
    process.wait()
    words = f"{playbook} killed after {moment:.1f} s{', when it had ended' if ended else ''}"
    print(words)
    return words


def assert_finished(cluster: Cluster, run: Run, when: str, image: str, before: str) -> None:
    """The Deployment has the image alone, and knows what was good before."""
    assert run.code == 0, f"{when}: {run.output}"
    cluster.settle()
    assert cluster.images_of_pods() == {image}, when
    assert cluster.leader() in cluster.names(), when
    noted = cluster.annotations()
    assert NOTE not in noted, when
    assert image_of_template(cluster, noted["evenkeel.fleet/good-template"]) == before, when


def image_of_template(cluster: Cluster, template: str) -> str:
    found = cluster.get("replicaset", f"{NAME}-{template}")
    return str(found["spec"]["template"]["spec"]["containers"][0]["image"])


def test_a_killed_rolling_update_is_finished_by_the_next_run(serving: Cluster) -> None:
    image, before = serving.images["v2"], serving.images["v1"]
    with watched(serving):
        for moment in moments("rolling", ROLLOUT):
            when = killed_after(serving, moment, "kubernetes_rolling_update", kubernetes_image=image)
            run = serving.play("kubernetes_rolling_update", kubernetes_image=image, **LOCK)
            assert_finished(serving, run, when, image, before)
            image, before = before, image


def test_a_killed_rollback_is_finished_by_the_next_run(serving: Cluster) -> None:
    image, before = serving.images["v1"], serving.images["v2"]
    run = serving.play("kubernetes_rolling_update", kubernetes_image=before)
    assert run.code == 0, run.output
    with watched(serving):
        for moment in moments("rollback", ROLLOUT):
            when = killed_after(serving, moment, "kubernetes_rollback")
            # One that was killed after its last step had nothing left to do, and the next would go forth again.
            if serving.get("deployment", NAME)["spec"]["template"]["spec"]["containers"][0]["image"] == before or (
                NOTE in serving.annotations()
            ):
                run = serving.play("kubernetes_rollback", **LOCK)
            assert_finished(serving, run, when, image, before)
            image, before = before, image


def test_a_rollback_that_ends_without_its_controller_is_not_taken_back(serving: Cluster) -> None:
    """Kubernetes finishes it, and the module outlives its controller. The next run does not go forth again."""
    old, new = serving.images["v1"], serving.images["v2"]
    run = serving.play("kubernetes_rolling_update", kubernetes_image=new)
    assert run.code == 0, run.output
    with watched(serving):
        process = serving.start("kubernetes_rollback", **LOCK)
        wait_until(lambda: NOTE in serving.annotations(), "the rollback begins")
        # The first new pod is ready, and the run waits for the others.
        time.sleep(8)
        kill(process)
        process.wait()
        serving.settle()
        time.sleep(5)
        run = serving.play("kubernetes_rollback", **LOCK)
        assert_finished(serving, run, "killed midway", old, new)


def test_a_killed_switch_is_finished_by_the_next_run(colored: Cluster) -> None:
    """With an image, and back by the colour alone, in turn. Both are killed, however few moments there are."""
    images = {"blue": colored.images["v1"], "green": colored.images["v2"]}
    color = "blue"
    with watched(colored):
        for moment in moments("switch", SWITCH, max(KILLS, 2)):
            color = {"blue": "green", "green": "blue"}[color]
            wanted = {"kubernetes_color": "blue"} if color == "blue" else {"kubernetes_image": images[color]}
            when = killed_after(colored, moment, "kubernetes_blue_green", **{**COLORS, **wanted})
            run = colored.play("kubernetes_blue_green", **COLORS, **wanted)
            assert run.code == 0, f"{when}: {run.output}"
            assert_agrees(colored, color)
            assert colored.images_of_pods() == {images[color]}, when
