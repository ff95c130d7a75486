# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""kubernetes_rolling_update.yml on a real Kubernetes, under load."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import time
from contextlib import suppress

import pytest

from tests.kubernetes.cluster import KILLS, KILLS_FROM, MISSING, NAMESPACE, RATE, Cluster, wait_until
from tests.system.load import MixedLoad, Watch


def hand_over(cluster: Cluster, place: int) -> None:
    """Make the pod in this place, the oldest first, the leader."""
    target = cluster.names()[place]
    request = "UPDATE leader_lease SET requested_holder = %s, requested_by = 'test', reason = 'test', "
    if cluster.leader() == target:
        return
    with cluster.connect() as connection:
        connection.execute((request + "request_expires_at = clock_timestamp() + interval '20 s'").encode(), (target,))
    wait_until(lambda: cluster.leader() == target, f"{target} leads", 30)


@pytest.mark.parametrize("place", [0, 1, 2], ids=["oldest leads", "middle leads", "youngest leads"])
def test_no_request_fails_and_leadership_moves_once(serving: Cluster, place: int) -> None:
    hand_over(serving, place)
    old = serving.names()
    new = serving.images["v2"]
    with MixedLoad(serving.url, RATE) as load, Watch(serving.leaders()) as watch:
        time.sleep(3)
        run = serving.play("kubernetes_rolling_update", kubernetes_image=new, kubernetes_version="v2")
        time.sleep(12)
    print(f"{load.answered} requests, {load.counts}, {run.seconds:.0f} s, gap {watch.longest_without:.2f} s")
    assert run.code == 0, run.output
    assert load.failures == []
    assert load.answered > 1000
    assert (watch.changes, watch.most_at_once) == (1, 1)
    assert watch.longest_without <= 1
    assert serving.images_of_pods() == {new}
    assert serving.leader() in serving.names()
    assert not set(old) & set(serving.names())
    noted = serving.annotations()
    assert noted["evenkeel.fleet/rollout-id"].isdigit()
    assert {"evenkeel.fleet/updated-at", "evenkeel.fleet/updated-by"} <= set(noted)

    again = serving.play("kubernetes_rolling_update", kubernetes_image=new, kubernetes_version="v2")
    assert (again.code, again.changed, "runs already" in again.output) == (0, 0, True), again.output


def test_check_mode_shows_the_change_and_makes_none(serving: Cluster) -> None:
    before = serving.get("deployment", "gateway")
    run = serving.play("kubernetes_rolling_update", "--check", "--diff", kubernetes_image=serving.images["v2"])
    assert run.code == 0, run.output
    assert f'+          "image": "{serving.images["v2"]}"' in run.output.replace("\\", "")
    assert "would be rolled out" in run.output
    after = serving.get("deployment", "gateway")
    assert before["metadata"]["resourceVersion"] == after["metadata"]["resourceVersion"]


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("missing", "ImagePullBackOff|ErrImagePull"),
        ("crashing", "CrashLoopBackOff|crashes again and again"),
        ("never-ready", "exceeded its progress deadline of 60 s"),
        ("wrong-version", "report the version v2, not v3"),
    ],
)
def test_a_bad_image_is_put_back_with_its_reason(serving: Cluster, kind: str, reason: str) -> None:
    image = {"missing": MISSING, "wrong-version": serving.images["v2"]}.get(kind) or serving.broken(kind)
    old, leader = serving.names(), serving.leader()
    with MixedLoad(serving.url, RATE) as load, Watch(serving.leaders()) as watch:
        run = serving.play(
            "kubernetes_rolling_update",
            kubernetes_image=image,
            kubernetes_version="v3" if kind == "wrong-version" else "",
        )
        serving.settle()
    assert run.code != 0
    assert re.search(reason, run.output), run.output
    assert "It was put back" in run.output, run.output
    if kind == "crashing":
        assert "JWT_SECRET is not set" in run.output
    assert load.failures == []
    assert serving.images_of_pods() == {serving.images["v1"]}
    assert (serving.leader(), watch.changes) == (leader, 0)
    # No pod that served before was replaced.
    assert serving.names() == old
    print(f"{kind}: {run.seconds:.0f} s, {load.answered} requests")


def test_rollback_and_status(serving: Cluster) -> None:
    run = serving.play("kubernetes_rolling_update", kubernetes_image=serving.images["v2"])
    assert run.code == 0, run.output
    back = serving.play("kubernetes_rollback")
    assert back.code == 0, back.output
    serving.settle()
    assert serving.images_of_pods() == {serving.images["v1"]}
    status = serving.play("kubernetes_status")
    assert status.code == 0, status.output
    assert f"A rollback goes to {serving.images['v2'][:40]}" in status.output


def test_a_killed_rollout_is_finished_by_the_next_run(serving: Cluster) -> None:
    images = [serving.images["v2"], serving.images["v1"]]
    with MixedLoad(serving.url, RATE / 3) as load:
        for number in range(KILLS_FROM, KILLS_FROM + KILLS):
            image = images[number % 2]
            moment = random.Random(number).uniform(2, 30)
            killed = serving.start("kubernetes_rolling_update", kubernetes_image=image)
            time.sleep(moment)
            with suppress(ProcessLookupError):
                os.killpg(killed.pid, signal.SIGKILL)
            killed.wait()
            run = serving.play("kubernetes_rolling_update", kubernetes_image=image, kubernetes_lock_wait=90)
            assert run.code == 0, f"kill {number} after {moment:.1f} s: {run.output}"
            serving.settle()
            assert serving.images_of_pods() == {image}
            assert serving.leader() in serving.names()
    assert load.failures == []


def test_an_evicted_leader_hands_over_before_its_pod_goes(serving: Cluster) -> None:
    leader = serving.leader()
    metadata = {"name": leader, "namespace": NAMESPACE}
    eviction = json.dumps({"apiVersion": "policy/v1beta1", "kind": "Eviction", "metadata": metadata})
    with MixedLoad(serving.url, RATE) as load, Watch(serving.leaders()) as watch:
        path = f"/api/v1/namespaces/{NAMESPACE}/pods/{leader}/eviction"
        serving.kubectl("create", "--raw", path, "-f", "-", stdin=eviction)
        serving.settle()
    assert load.failures == []
    assert serving.leader() not in ("", leader)
    assert (watch.changes, watch.most_at_once) == (1, 1)
    assert watch.longest_without <= 1
