# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""kubernetes_blue_green.yml on a real Kubernetes, under load."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from tests.kubernetes.cluster import KILLS, KILLS_FROM, MISSING, NAME, NAMESPACE, RATE, Cluster, Run, wait_until
from tests.system.load import MixedLoad, Watch


@pytest.fixture
def colored(cluster: Cluster) -> Iterator[Cluster]:
    """Two pods of the first version as blue, none as green, with an autoscaler and a disruption budget."""
    cluster.deploy_colors(cluster.images["v1"])
    yield cluster
    cluster.kubectl("delete", "namespace", NAMESPACE, "--timeout=120s")


def switch(cluster: Cluster, **variables: object) -> Run:
    settings = {"kubernetes_bake": 5, "kubernetes_overlap": 5, "kubernetes_policy_api": "policy/v1beta1"}
    return cluster.play("kubernetes_blue_green", **{**settings, **variables})


def assert_agrees(cluster: Cluster, color: str) -> None:
    """All that knows a colour knows the same one."""
    service: dict[str, Any] = cluster.get("service", NAME)
    budget, scaler = cluster.get("pdb", NAME), cluster.get("hpa", NAME)
    assert service["spec"]["selector"]["color"] == color
    assert service["metadata"]["annotations"]["evenkeel.fleet/active-color"] == color
    assert budget["spec"]["selector"]["matchLabels"]["color"] == color
    assert scaler["spec"]["scaleTargetRef"]["name"] == f"{NAME}-{color}"
    other = {"blue": "green", "green": "blue"}[color]
    assert cluster.get("deployment", f"{NAME}-{other}")["spec"]["replicas"] == 0
    assert {one["metadata"]["labels"]["color"] for one in cluster.pods()} == {color}
    assert cluster.leader() in cluster.names()


def test_the_requests_switch_and_go_back_without_a_failure(colored: Cluster) -> None:
    # As an autoscaler would: more than the manifest says.
    colored.kubectl("-n", NAMESPACE, "scale", "deployment", f"{NAME}-blue", "--replicas=3")
    colored.settle(f"{NAME}-blue")
    with MixedLoad(colored.url, RATE) as load, Watch(colored.leaders()) as watch:
        run = switch(colored, kubernetes_image=colored.images["v2"], kubernetes_version="v2")
        time.sleep(5)
    assert run.code == 0, run.output
    assert load.failures == []
    print(f"{load.answered} requests, {run.seconds:.0f} s, gap {watch.longest_without:.2f} s")
    assert (watch.changes, watch.most_at_once) == (1, 1)
    assert watch.longest_without <= 1
    assert_agrees(colored, "green")
    assert len(colored.pods()) == 3
    assert colored.images_of_pods() == {colored.images["v2"]}

    again = switch(colored, kubernetes_image=colored.images["v2"])
    assert (again.code, again.changed) == (0, 0), again.output

    with MixedLoad(colored.url, RATE) as load, Watch(colored.leaders()) as watch:
        back = switch(colored, kubernetes_color="blue")
        time.sleep(5)
    assert back.code == 0, back.output
    assert load.failures == []
    assert (watch.changes, watch.most_at_once) == (1, 1)
    assert_agrees(colored, "blue")
    assert colored.images_of_pods() == {colored.images["v1"]}


@pytest.mark.parametrize("kind", ["missing", "crashing"])
def test_a_bad_image_leaves_the_other_colour_alone(colored: Cluster, kind: str) -> None:
    image = MISSING if kind == "missing" else colored.broken(kind)
    old, leader = colored.names(), colored.leader()
    with MixedLoad(colored.url, RATE) as load, Watch(colored.leaders()) as watch:
        run = switch(colored, kubernetes_image=image)
    assert run.code != 0
    assert ("ImagePull" if kind == "missing" else "JWT_SECRET is not set") in run.output, run.output
    assert "blue gets the requests" in run.output, run.output
    assert load.failures == []
    assert watch.changes == 0
    wait_until(lambda: colored.names() == old, "the pods of green have ended")
    assert colored.leader() == leader
    assert_agrees(colored, "blue")


def test_a_killed_switch_is_finished_by_the_next_run(colored: Cluster) -> None:
    color = "blue"
    with MixedLoad(colored.url, RATE / 3) as load:
        for number in range(KILLS_FROM, KILLS_FROM + KILLS):
            color = {"blue": "green", "green": "blue"}[color]
            image = colored.images["v2" if color == "green" else "v1"]
            wanted = {"kubernetes_image": image, "kubernetes_bake": 3, "kubernetes_overlap": 5}
            moment = random.Random(number).uniform(2, 45)
            killed = colored.start("kubernetes_blue_green", kubernetes_policy_api="policy/v1beta1", **wanted)
            time.sleep(moment)
            with suppress(ProcessLookupError):
                os.killpg(killed.pid, signal.SIGKILL)
            killed.wait()
            run = switch(colored, kubernetes_lock_wait=90, **wanted)
            assert run.code == 0, f"kill {number} after {moment:.1f} s: {run.output}"
            assert_agrees(colored, color)
            assert colored.images_of_pods() == {image}
    assert load.failures == []


def test_check_mode_switches_nothing(colored: Cluster) -> None:
    before = json.dumps([colored.get("service", NAME)["spec"], colored.names()])
    run = colored.play(
        "kubernetes_blue_green",
        "--check",
        "--diff",
        kubernetes_image=colored.images["v2"],
        kubernetes_policy_api="policy/v1beta1",
    )
    assert run.code == 0, run.output
    assert "would get the requests, as green" in run.output
    assert json.dumps([colored.get("service", NAME)["spec"], colored.names()]) == before
