# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema

from ansible_collections.evenkeel.fleet.plugins.plugin_utils._report.document import as_text, document
from ansible_collections.evenkeel.fleet.plugins.plugin_utils._report.html_page import Page
from ansible_collections.evenkeel.fleet.plugins.plugin_utils._report.kubernetes_tracker import KubernetesTracker
from ansible_collections.evenkeel.fleet.tests.unit.plugins.plugin_utils._report.told import BEGAN

SCHEMA = json.loads((Path(__file__).parents[5] / "docs" / "rollout-report.schema.json").read_text())

OLD_IMAGE, NEW_IMAGE = "registry/gateway@sha256:old", "registry/gateway@sha256:new"


def seen(image: str, available: int, **more: Any) -> dict[str, Any]:
    """A result of deployment_rollout."""
    replicas = {"wanted": 3, "updated": 3, "available": available}
    return {
        "before": OLD_IMAGE,
        "deployment": {"image": image, "replicas": replicas, "words": f"{available} of 3 available", "problem": ""},
        "progress": [f"1.0 s: {available} of 3 available"],
        "seconds": 4.0,
        **more,
    }


def on_kubernetes(*work: tuple[str, dict[str, Any]], result: str, reason: str = "") -> KubernetesTracker:
    """Phases and results of deployment_rollout in them; a handover follows the first one."""
    tracker = KubernetesTracker(BEGAN)

    def task(at: float, action: str, state: str, status: str, answer: dict[str, Any]) -> None:
        tracker.starts(at, "", action, state)
        tracker.ends(at + 4, "", action, state, status, answer, whole=True)

    def fact(at: float, **values: Any) -> None:
        tracker.ends(at, "", "set_fact", "", "ok", {"ansible_facts": values}, whole=True)

    lock = {"rollout_id": 9, "lock": {"holder": "ci@runner", "reason": "why"}}
    task(0, "rollout_lock", "acquired", "ok", lock)
    fact(4, kubernetes_plan={"deployments": ["gateway-blue"], "image": NEW_IMAGE, "words": ["blue gets it"]})
    at = 10.0
    for number, (phase, answer) in enumerate(work):
        fact(at, kubernetes_phase={"kind": phase, "deployment": "gateway-blue"})
        tracker.starts(at, "", "deployment_rollout", "")
        tracker.hears(at + 1, "1 of 3 pods updated")
        assert tracker.hosts["gateway-blue"].progress == "1 of 3 pods updated"
        status = "failed" if "msg" in answer else "ok"
        tracker.ends(at + 4, "", "deployment_rollout", "", status, answer, whole=True)
        if number == 0 and status == "ok":
            task(at + 4, "leader_handover", "", "ok", {"old": "pod-1", "new": "pod-4", "term": 2, "gap": 0.2})
        at += 10
    fact(at, kubernetes_result={"result": result, "words": [reason]})
    task(at, "rollout_lock", "released", "ok", {"lock": {"result": result}})
    if reason:
        tracker.ends(at + 4, "", "fail", "", "failed", {"msg": reason}, whole=True)
    tracker.finish(at + 5)
    return tracker


def test_a_rollout_on_kubernetes() -> None:
    tracker = on_kubernetes(
        ("deploy", seen(NEW_IMAGE, 3, outcome="succeeded")),
        ("deploy", seen(NEW_IMAGE, 3, outcome="succeeded")),
        result="succeeded",
    )
    assert (tracker.about.kind, tracker.result, tracker.rollout_id) == ("kubernetes", "succeeded", 9)
    assert (tracker.image, tracker.plan) == (NEW_IMAGE, ("blue gets it",))
    assert list(tracker.hosts) == ["gateway-blue"]
    blue = tracker.hosts["gateway-blue"]
    assert (blue.name, blue.state, [step.name for step in blue.steps]) == ("gateway-blue", "done", ["deploy"] * 2)
    assert [(one or {})["digest"] for one in (blue.before, blue.after)] == ["sha256:old", "sha256:new"]
    assert blue.deployment and blue.deployment["progress"] == ["1.0 s: 3 of 3 available"] * 2
    assert (blue.deployment["running"], blue.deployment["requested"]) == (3, 3)
    [change] = tracker.leader_changes
    assert (change.kind, change.old, change.new, change.gap) == ("handover", "pod-1", "pod-4", 0.2)
    assert [step.name for step in tracker.fleet_steps] == ["lock", "handover", "unlock"]
    assert ("gateway-blue", "deploying") in [(news.host, news.words) for news in tracker.take_news(50.0)]
    report = document(tracker, 50.0, BEGAN)
    jsonschema.validate(json.loads(as_text(report)), SCHEMA)
    page = Page().render(report)
    assert "Rollout 9 <b>succeeded</b>" in page
    assert "3 of 3 available" in page


def test_a_rollout_on_kubernetes_that_is_put_back_has_the_log_of_its_pod() -> None:
    failure = {"pod": "pod-9", "container": "gateway", "exit_code": 3, "log": ["boom"]}
    cause = "It fails.\nIts last log lines:\n  boom"
    tracker = on_kubernetes(
        ("deploy", seen(NEW_IMAGE, 2, outcome="failed", msg=cause, failures=[failure])),
        ("put_back", seen(OLD_IMAGE, 3, outcome="succeeded", rolled_back_to=OLD_IMAGE)),
        result="failed",
        reason="It fails. It was put back.",
    )
    assert (tracker.result, tracker.words) == ("failed", ("It fails. It was put back.",))
    assert [phase.kind for phase in tracker.phases] == ["look", "plan", "deploy", "put_back", "end"]
    assert tracker.hosts["gateway-blue"].state == "rolled back"
    [found] = tracker.failures
    assert (found.host, found.step, found.cause) == ("gateway-blue", "deploy", "It fails.")
    assert (found.exit_code, found.log) == (3, ("boom",))


def test_a_switch_of_colours_that_fails_while_it_is_watched() -> None:
    tracker = on_kubernetes(
        ("deploy", seen(NEW_IMAGE, 3)),
        ("watch", seen(NEW_IMAGE, 2, msg="pod-9 restarted after the rollout.")),
        result="failed",
        reason="pod-9 restarted.",
    )
    assert [step.name for step in tracker.hosts["gateway-blue"].steps] == ["deploy", "bake"]
    assert tracker.hosts["gateway-blue"].state == "failed"


def test_a_rollout_on_kubernetes_with_nothing_to_do() -> None:
    tracker = on_kubernetes(result="succeeded")
    assert (tracker.began_work, tracker.hosts["gateway-blue"].state) == (False, "current")
    refused = on_kubernetes(result="failed", reason="Nothing was changed.")
    assert (refused.began_work, refused.result) == (False, "failed")
    assert refused.hosts["gateway-blue"].state == "not touched"
