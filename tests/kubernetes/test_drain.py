# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Evictions and the drain of a node, under load."""

from __future__ import annotations

import json
import time

from tests.kubernetes.cluster import NAME, NAMESPACE, RATE, Cluster, wait_until
from tests.system.load import MixedLoad, Watch


def test_an_evicted_leader_hands_over_before_its_pod_goes(serving: Cluster) -> None:
    leader = serving.leader()
    metadata = {"name": leader, "namespace": NAMESPACE}
    eviction = json.dumps({"apiVersion": "policy/v1beta1", "kind": "Eviction", "metadata": metadata})
    with MixedLoad(serving.url, RATE) as load, Watch(serving.leaders()) as watch:
        path = f"/api/v1/namespaces/{NAMESPACE}/pods/{leader}/eviction"
        serving.kubectl("create", "--raw", path, "-f", "-", stdin=eviction)
        wait_until(lambda: serving.leader() not in ("", leader), "another pod leads", 10)
        # The pod is still there, and serves what it has.
        assert leader in [one["metadata"]["name"] for one in serving.get("pods")["items"]]
        serving.settle()
    assert load.failures == []
    assert (watch.changes, watch.most_at_once) == (1, 1)
    assert watch.longest_without <= 1


def test_the_drain_of_the_node_loses_no_request(serving: Cluster) -> None:
    """All pods leave it, one after the other. The only node takes their successors, as a second one would."""
    budget = {
        "apiVersion": "policy/v1beta1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": NAME, "namespace": NAMESPACE},
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app.kubernetes.io/name": NAME}}},
    }
    serving.kubectl("apply", "-f", "-", stdin=json.dumps(budget))
    wait_until(lambda: serving.get("pdb", NAME)["status"].get("disruptionsAllowed") == 1, "the budget is known", 30)
    old = serving.names()
    with MixedLoad(serving.url, RATE) as load, Watch(serving.leaders()) as watch:
        drain = serving.kubectl_in_background("drain", "node-1", "--pod-selector", f"app.kubernetes.io/name={NAME}")
        try:
            wait_until(lambda: serving.cordoned("node-1"), "the node is cordoned", 30)
            serving.kubectl("uncordon", "node-1")
            said = drain.communicate(timeout=180)[0]
        finally:
            drain.kill()
            serving.kubectl("uncordon", "node-1")
        serving.settle()
        time.sleep(3)
    assert drain.returncode == 0, said
    assert "node/node-1 drained" in said or "evicted" in said, said
    assert load.failures == []
    assert not set(old) & set(serving.names())
    print(f"{load.answered} requests, {watch.changes} changes of the leader, gap {watch.longest_without:.2f} s")
    # The next leader is the oldest pod, which may be the next to be evicted.
    assert 1 <= watch.changes <= len(old)
    assert watch.most_at_once == 1
    assert watch.longest_without <= 1
    assert serving.leader() in serving.names()
