# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""kubernetes_rolling_update.yml on a real Kubernetes, under load."""

from __future__ import annotations

import re
import time

import pytest

from tests.kubernetes.cluster import BAD_IMAGES, NAME, RATE, Cluster, hand_over
from tests.kubernetes.runs import first_moment, knows
from tests.system.load import MixedLoad, Watch


@pytest.mark.parametrize("place", [0, 1, 2], ids=["oldest leads", "middle leads", "youngest leads"])
def test_no_request_fails_and_leadership_moves_once(serving: Cluster, place: int) -> None:
    hand_over(serving, serving.names()[place])
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
    assert (run.report["kind"], run.report["result"]) == ("kubernetes", "succeeded")
    [member] = run.report["hosts"]
    assert (member["name"], member["state"], member["after"]["image"]) == (NAME, "done", new)
    [change] = run.report["leader_changes"]
    assert (change["kind"], change["to"], change["from"] in old) == ("handover", serving.leader(), True)
    assert "3 pods updated" in run.page

    again = serving.play("kubernetes_rolling_update", kubernetes_image=new, kubernetes_version="v2")
    assert (again.code, again.changed, "runs already" in again.output) == (0, 0, True), again.output
    assert again.report == {}, "it had nothing to do"


@pytest.mark.parametrize(("kind", "reason"), BAD_IMAGES)
def test_a_bad_image_is_put_back_with_its_reason(serving: Cluster, kind: str, reason: str) -> None:
    image = serving.bad_image(kind)
    old, leader, reader = serving.names(), serving.leader(), serving.reader()
    version = "v3" if kind == "wrong-version" else ""
    with (
        MixedLoad(serving.url, RATE) as load,
        Watch(serving.leaders()) as watch,
        first_moment(lambda: knows(kind, reader, image)) as known,
    ):
        run = serving.play("kubernetes_rolling_update", kubernetes_image=image, kubernetes_version=version)
        serving.settle()
    assert run.code != 0
    assert "It was put back" in run.output, run.output
    assert (run.report["result"], run.report["hosts"][0]["state"]) == ("failed", "rolled back")
    assert re.search(reason, run.page)
    assert known.moment is not None
    late = run.first(reason) - known.moment
    print(f"{kind}: told {late:.1f} s after Kubernetes knew, {run.seconds:.0f} s, {load.answered} requests")
    assert late <= 10
    assert load.failures == []
    assert serving.images_of_pods() == {serving.images["v1"]}
    assert (serving.leader(), watch.changes) == (leader, 0)
    # No pod that served before was replaced.
    assert serving.names() == old


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
