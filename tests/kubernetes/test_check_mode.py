# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check mode of each playbook: it shows what would change, and changes nothing."""

from __future__ import annotations

import json
from typing import Any

from tests.kubernetes.cluster import NAME, NAMESPACE, Cluster, wait_until
from tests.kubernetes.runs import Run, kill

KINDS = "deployments,services,horizontalpodautoscalers,poddisruptionbudgets,pods"
OPEN = "SELECT count(*) FROM scoped_rollout WHERE finished_at IS NULL"
# The lock of a controller whose machine is gone.
LEFT = "('kubernetes/gateway/gateway', 'ops@elsewhere', 'test', clock_timestamp() + interval '1 h')"


def state(cluster: Cluster) -> str:
    """All that an operator's playbook may change: the objects, and the rows of the lock and the journal."""
    listed = json.loads(cluster.kubectl("-n", NAMESPACE, "get", KINDS, "-o", "json"))["items"]
    objects = [[one["kind"], written(one["metadata"]), one["spec"]] for one in listed]
    rows = cluster.sql(
        "SELECT (SELECT count(*) FROM scoped_rollout), (SELECT count(*) FROM scoped_rollout_step), "
        "(SELECT holder FROM leader_lease), (SELECT count(*) FROM scoped_rollout WHERE finished_at IS NULL)"
    )
    return json.dumps([objects, rows], sort_keys=True, indent=1)


def written(metadata: dict[str, Any]) -> dict[str, Any]:
    """Without what controllers keep there by themselves."""
    annotations = {
        key: value for key, value in metadata.get("annotations", {}).items() if not key.startswith("autoscaling.")
    }
    return {"name": metadata["name"], "labels": metadata.get("labels"), "annotations": annotations}


def check(cluster: Cluster, playbook: str, **variables: object) -> Run:
    """A run that may change nothing."""
    before = state(cluster)
    run = cluster.play(playbook, "--check", "--diff", kubernetes_policy_api="policy/v1beta1", **variables)
    assert run.code == 0, run.output
    assert state(cluster) == before, run.output
    return run


def added(run: Run) -> set[str]:
    """The lines that its diffs add, without quotes and commas."""
    lines = run.output.replace("\\n", "\n").replace('\\"', '"').splitlines()
    stripped = [line.strip() for line in lines]
    return {line[1:].strip().rstrip(",").replace('"', "") for line in stripped if line.startswith("+")}


def test_check_mode_of_every_playbook(colored: Cluster) -> None:
    new = colored.images["v2"]
    # The tables of the lock, and a revision to go back to.
    killed = colored.start("kubernetes_rolling_update", kubernetes_image=new)
    wait_until(lambda: colored.get("deployment", f"{NAME}-blue")["metadata"]["generation"] > 1, "the image changes")
    kill(killed)
    killed.wait()
    colored.settle(f"{NAME}-blue")

    wait_until(lambda: colored.sql(OPEN) == [(0,)], "the lock of the killed controller is released", 30)
    colored.sql(f"INSERT INTO scoped_rollout (scope, holder, reason, expires_at) VALUES {LEFT}")
    run = check(colored, "kubernetes_unlock")
    assert "would be ended" in run.output
    assert colored.sql(OPEN) == [(1,)]
    run = colored.play("kubernetes_unlock")
    assert (run.code, colored.sql(OPEN)) == (0, [(0,)]), run.output

    old = colored.images["v1"]
    run = check(colored, "kubernetes_rolling_update", kubernetes_image=old)
    assert "would be rolled out" in run.output
    assert f"image: {old}" in added(run)

    run = check(colored, "kubernetes_rollback")
    assert "would be rolled back" in run.output
    assert f"image: {old}" in added(run)

    run = check(colored, "kubernetes_status")
    assert f"{NAME}-blue" in run.output

    # Green has the old image already, and no pods.
    run = check(colored, "kubernetes_blue_green", kubernetes_color="green")
    assert "would get the requests, as green" in run.output
    wanted = {"replicas: 2", "replicas: 0", "color: green", f"name: {NAME}-green"}
    assert wanted <= added(run), run.output
    assert "evenkeel.fleet/active-color: green" in added(run)

    other = f"127.0.0.1:5000/gateway-v1@sha256:{'1' * 64}"
    run = check(colored, "kubernetes_blue_green", kubernetes_image=other)
    assert {f"image: {other}", *wanted} <= added(run), run.output
