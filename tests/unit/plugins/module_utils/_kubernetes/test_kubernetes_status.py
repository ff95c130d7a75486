# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.evenkeel.fleet.plugins.module_utils._kubernetes.status import rows, status_of, words

DIGEST = "sha256:" + "ab" * 32
LOCK = {"holder": "ops@desk", "since": "10:00", "reason": "1.4", "expired": False, "rollout_id": 7}


def pod(name: str, **changes: Any) -> dict[str, Any]:
    base = {"name": name, "ready": True, "ends": False, "updated": True, "image": f"r/g@{DIGEST}", "node": "n"}
    return {**base, "restarts": 0, "trouble": "", **changes}


def deployment(*pods: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "image": f"r/g@{DIGEST}",
        "revision": 4,
        "complete": True,
        "paused": False,
        "replicas": {"wanted": 2, "updated": 2, "available": 2},
        "words": "2 of 2 pods updated, 2 available",
        "good": {"image": "r/g:1", "template": "h", "revision": 3},
        "annotations": {"updated-at": "09:00", "updated-by": "ci@runner", "reason": "1.3"},
        "problem": "",
        "pods": list(pods),
        **changes,
    }


def status(found: dict[str, Any], **reports: Any) -> dict[str, Any]:
    return status_of(found, name="gateway-blue", namespace="gateway", color="blue", **reports)


def test_it_is_shown_who_leads_and_where_a_rollback_goes() -> None:
    scaler = {
        "metadata": {"name": "gateway"},
        "spec": {"scaleTargetRef": {"name": "gateway-blue"}, "minReplicas": 2, "maxReplicas": 9},
    }
    shown = status(deployment(pod("a"), pod("b")), leader={"leader": "b"}, journal={"lock": LOCK}, autoscalers=[scaler])
    assert shown["problems"] == []
    assert [row[-1] for row in rows(shown)] == ["leads", "", "leader"]
    assert words(shown) == [
        "gateway-blue in gateway: r/g@sha256:abababababab, revision 4, 2 of 2 pods available",
        "The Service selects blue.",
        "The autoscaler gateway keeps 2 to 9 pods.",
        "A rollback goes to r/g:1, revision 3.",
        "Last rollout: 09:00 by ci@runner (1.3)",
        "Locked by ops@desk since 10:00 (1.4)",
    ]


@pytest.mark.parametrize(
    ("found", "reports", "problem"),
    [
        (deployment(pod("a", ready=False, trouble="pod a: CrashLoopBackOff")), {}, "Pod a is not ready: pod a: Crash"),
        (deployment(problem="exceeded quota."), {}, "gateway-blue does not progress: exceeded quota."),
        (deployment(complete=False), {}, "is not complete, and no rollout holds the lock: 2 of 2"),
        (deployment(paused=True), {}, "gateway-blue is paused"),
        (deployment(), {"journal": {"lock": {**LOCK, "expired": True}}}, "rollout 7 of ops@desk ended without"),
        (deployment(), {"leader": {"msg": "the database did not answer"}}, "the database did not answer"),
        (deployment(), {"leader": {"leader": None}}, "No instance leads."),
    ],
)
def test_each_problem_is_a_sentence(found: dict[str, Any], reports: dict[str, Any], problem: str) -> None:
    [told] = status(found, **reports)["problems"]
    assert problem in told


def test_a_rollout_under_way_and_an_unknown_leader_are_no_problem() -> None:
    shown = status(deployment(pod("a"), complete=False), leader={"skipped": True}, journal={"lock": LOCK})
    assert shown["problems"] == []
    assert rows(shown)[1][-1] == "?"
