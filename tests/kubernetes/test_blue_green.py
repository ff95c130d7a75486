# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""kubernetes_blue_green.yml on a real Kubernetes, under load."""

from __future__ import annotations

import re
import time

import pytest

from tests.kubernetes.cluster import (
    BAD_IMAGES,
    DEADLINE,
    NAME,
    NAMESPACE,
    RATE,
    Cluster,
    assert_agrees,
    hand_over,
    switch,
    wait_until,
)
from tests.kubernetes.runs import first_moment, knows, pods_with
from tests.system.load import MixedLoad, Watch


def test_the_requests_switch_and_go_back_without_a_failure(colored: Cluster) -> None:
    # As an autoscaler would: more than the manifest says.
    colored.kubectl("-n", NAMESPACE, "scale", "deployment", f"{NAME}-blue", "--replicas=3")
    colored.settle(f"{NAME}-blue")
    hand_over(colored, colored.names()[-1])
    with MixedLoad(colored.url, RATE) as load, Watch(colored.leaders()) as watch:
        run = switch(colored, kubernetes_image=colored.images["v2"], kubernetes_version="v2")
        time.sleep(5)
    assert run.code == 0, run.output
    assert load.failures == []
    print(f"{load.answered} requests, {load.counts}, {run.seconds:.0f} s, gap {watch.longest_without:.2f} s")
    assert (watch.changes, watch.most_at_once) == (1, 1)
    assert watch.longest_without <= 1
    assert_agrees(colored, "green")
    assert [phase["kind"] for phase in run.report["phases"]] == ["look", "plan", "deploy", "switch", "watch", "end"]
    assert [(one["name"], one["state"]) for one in run.report["hosts"]] == [(f"{NAME}-green", "done")]
    assert [change["to"] for change in run.report["leader_changes"]] == [colored.leader()]
    assert len(colored.pods()) == 3
    assert colored.images_of_pods() == {colored.images["v2"]}

    again = switch(colored, kubernetes_image=colored.images["v2"])
    assert (again.code, again.changed) == (0, 0), again.output

    with MixedLoad(colored.url, RATE) as load, Watch(colored.leaders()) as watch:
        back = switch(colored, kubernetes_color="blue")
        time.sleep(5)
    assert back.code == 0, back.output
    assert load.failures == []
    print(f"back: {load.answered} requests, {back.seconds:.0f} s, gap {watch.longest_without:.2f} s")
    assert (watch.changes, watch.most_at_once) == (1, 1)
    assert watch.longest_without <= 1
    assert_agrees(colored, "blue")
    assert colored.images_of_pods() == {colored.images["v1"]}


@pytest.mark.parametrize(("kind", "reason"), BAD_IMAGES)
def test_a_bad_image_leaves_the_other_colour_alone(colored: Cluster, kind: str, reason: str) -> None:
    image = colored.bad_image(kind)
    old, leader, reader = colored.names(), colored.leader(), colored.reader()
    before = colored.get("deployment", f"{NAME}-blue")["metadata"]
    with (
        MixedLoad(colored.url, RATE) as load,
        Watch(colored.leaders()) as watch,
        first_moment(lambda: bool(pods_with(image, reader))) as there,
        first_moment(lambda: knows(kind, reader, image)) as known,
    ):
        run = switch(colored, kubernetes_image=image, kubernetes_version="v3" if kind == "wrong-version" else "")
    assert run.code != 0
    told = run.first(reason)
    assert "blue gets the requests" in run.output, run.output
    assert (run.report["result"], [one["state"] for one in run.report["hosts"]]) == ("failed", ["failed"])
    assert re.search(reason, run.page)
    if known.moment is not None:
        print(f"{kind}: told {told - known.moment:.1f} s after Kubernetes knew, {run.seconds:.0f} s")
        assert told - known.moment <= 10
    else:
        # The controller looks at no deadline where a Deployment without pods gets some.
        assert kind == "never-ready"
        assert there.moment is not None
        print(f"{kind}: told {told - there.moment - DEADLINE:.1f} s after the deadline, {run.seconds:.0f} s")
        assert DEADLINE <= told - there.moment <= DEADLINE + 10
    assert load.failures == []
    assert watch.changes == 0
    wait_until(lambda: colored.names() == old, "the pods of green have ended")
    assert colored.leader() == leader
    assert_agrees(colored, "blue")
    after = colored.get("deployment", f"{NAME}-blue")["metadata"]
    assert (after["generation"], after["uid"]) == (before["generation"], before["uid"])
