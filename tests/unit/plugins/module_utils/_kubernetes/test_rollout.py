# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The decisions of a rollout, over readings that each test writes down. How Kubernetes itself moves is tested on it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from ansible_collections.evenkeel.fleet.plugins.module_utils._common.progress import OperationError
from ansible_collections.evenkeel.fleet.plugins.module_utils._kubernetes.api import (
    DEPLOYMENT,
    POD,
    REPLICA_SET,
    ResourceKind,
)
from ansible_collections.evenkeel.fleet.plugins.module_utils._kubernetes.deployment import Annotations
from ansible_collections.evenkeel.fleet.plugins.module_utils._kubernetes.readings import Reader
from ansible_collections.evenkeel.fleet.plugins.module_utils._kubernetes.rollout import (
    DeploymentRollout,
    RolloutReport,
    RolloutWish,
)

OLD, NEW = "i@sha256:1", "i@sha256:2"
BACK_OFF = {"waiting": {"reason": "ImagePullBackOff", "message": "not found"}}


class Scene:
    """A Deployment whose readings are given: after each write, the next list of them; the last one stays."""

    def __init__(self, *acts: list[dict[str, Any]]) -> None:
        self.acts = [list(act) for act in acts]
        self.writes: list[tuple[Any, bool]] = []
        self.seconds = 0.0
        self.logs: dict[str, list[str]] = {}

    @property
    def now(self) -> dict[str, Any]:
        return self.acts[0][0]

    def get(self, _kind: ResourceKind, _namespace: str, _name: str) -> dict[str, Any]:
        return dict(self.now["deployment"])

    def objects(self, kind: ResourceKind, _namespace: str, **_query: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = {REPLICA_SET.plural: self.now["sets"], POD.plural: self.now["pods"]}.get(
            kind.plural, []
        )
        if kind is POD and len(self.acts[0]) > 1:
            self.acts[0].pop(0)
        return found

    def patch(
        self, kind: ResourceKind, _namespace: str, _name: str, body: Any, *_how: str, dry_run: bool = False
    ) -> Mapping[str, Any]:
        assert kind is DEPLOYMENT
        self.writes.append((body, dry_run))
        before = self.now["deployment"]
        # A write to the annotations alone starts nothing.
        if not dry_run and (isinstance(body, list) or "spec" in body):
            self.acts.pop(0)
        return dict(before)

    def log(self, _namespace: str, pod: str, _container: str, lines: int, *, previous: bool = False) -> list[str]:
        return self.logs.get(pod, [])[-lines:] if previous else []

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds

    def run(self, **wish: Any) -> tuple[RolloutReport, str]:
        state = wish.pop("state", "update")
        check_mode = wish.pop("check_mode", False)
        report = RolloutReport(now=lambda: self.seconds, sleep=self.sleep, timeout=60)
        asked = {"annotations": Annotations("e.f"), "user": "ops", "clock": lambda: "now", "image": NEW, **wish}
        rollout = DeploymentRollout(Reader(self, "n", "gateway", ""), RolloutWish(**asked), report)  # type: ignore[arg-type]
        failure = ""
        try:
            (rollout.update if state == "update" else rollout.roll_back)(check_mode=check_mode)
        except OperationError as error:
            failure = str(error)
        return report, failure


def reading(
    image: str,
    *,
    updated: int = 2,
    old: int = 0,
    good: str = "",
    unfinished: str = "",
    pod: Mapping[str, Any] | None = None,
    conditions: list[dict[str, Any]] | None = None,
    seen: bool = True,
    paused: bool = False,
    restarts: int = 0,
) -> dict[str, Any]:
    """Revision 1 is OLD, 2 is NEW. pod: the state of the new template's container; without it, it is ready."""
    revision = {OLD: 1, NEW: 2}.get(image, 3)
    ready = pod is None
    template = {
        "metadata": {"labels": {"app": "gateway"}},
        "spec": {"containers": [{"name": "gateway", "image": image}]},
    }
    notes = {"deployment.kubernetes.io/revision": str(revision), "e.f/good-template": good}
    notes |= {"e.f/rolling-back-to": unfinished} if unfinished else {}
    status = {
        "observedGeneration": 2 if seen else 1,
        "replicas": updated + old,
        "updatedReplicas": updated,
        "availableReplicas": old + (updated if ready else 0),
        "conditions": conditions or [],
    }
    labels = {"pod-template-hash": f"h{revision}"}
    container = {"name": "gateway", "ready": ready, "restartCount": restarts, "state": pod or {"running": {}}}
    return {
        "deployment": {
            "metadata": {"name": "gateway", "uid": "u", "generation": 2, "annotations": notes},
            "spec": {
                "replicas": 2,
                "paused": paused,
                "selector": {"matchLabels": {"app": "gateway"}},
                "template": template,
            },
            "status": status,
        },
        "sets": [replica_set(1, OLD, old if revision == 2 else updated), replica_set(2, NEW, 0)],
        "pods": [
            {
                "metadata": {"name": f"gateway-h{revision}-1", "labels": labels},
                "spec": {"containers": [{"name": "gateway", "image": image}]},
                "status": {
                    "phase": "Running",
                    "containerStatuses": [container],
                    "conditions": [{"type": "Ready", "status": str(ready)}],
                },
            }
        ],
    }


def replica_set(revision: int, image: str, available: int) -> dict[str, Any]:
    return {
        "metadata": {
            "labels": {"pod-template-hash": f"h{revision}"},
            "annotations": {"deployment.kubernetes.io/revision": str(revision)},
            "ownerReferences": [{"uid": "u"}],
        },
        "spec": {
            "replicas": available,
            "template": {
                "metadata": {"labels": {"app": "gateway", "pod-template-hash": f"h{revision}"}},
                "spec": {"containers": [{"name": "gateway", "image": image}]},
            },
        },
        "status": {"availableReplicas": available},
    }


def image_of(body: Any) -> str:
    """What a write brings, of an update or of a way back."""
    template = body[1]["value"] if isinstance(body, list) else body["spec"]["template"]
    return str(template["spec"]["containers"][0]["image"])


def test_it_writes_once_and_follows_to_the_end() -> None:
    scene = Scene([reading(OLD)], [reading(NEW, seen=False), reading(NEW, updated=1, old=2), reading(NEW)])
    report, failure = scene.run(reason="1.4", rollout_id="7")
    assert (failure, report.outcome, report.changed, report.before) == ("", "succeeded", True, OLD)
    [(body, dry_run)] = scene.writes
    assert (image_of(body), dry_run) == (NEW, False)
    # The way back is the template that was complete before.
    assert body["metadata"]["annotations"]["e.f/good-template"] == "h1"
    assert [line.partition(" s: ")[2] for line in report.progress][1:] == [
        "the controller has not seen the change yet",
        "1 of 2 pods updated, 3 available, 2 old ones are left",
        "2 of 2 pods updated, 2 available",
    ]


def test_nothing_is_written_where_the_image_runs_already() -> None:
    scene = Scene([reading(NEW)])
    report, failure = scene.run()
    assert (failure, report.outcome, report.changed, scene.writes) == ("", "unchanged", False, [])


def test_a_rollout_that_a_killed_call_left_is_joined() -> None:
    scene = Scene([reading(NEW, updated=1, old=2), reading(NEW, updated=1, old=2), reading(NEW)])
    report, failure = scene.run()
    assert (failure, report.outcome, report.joined, report.changed, scene.writes) == ("", "succeeded", True, False, [])


def test_check_mode_asks_by_a_dry_run_alone() -> None:
    scene = Scene([reading(OLD)])
    report, failure = scene.run(check_mode=True)
    assert (failure, report.changed, report.outcome) == ("", True, "")
    assert [dry_run for _body, dry_run in scene.writes] == [True]


def test_a_paused_deployment_is_refused() -> None:
    scene = Scene([reading(OLD, paused=True)])
    _report, failure = scene.run()
    assert "is paused" in failure
    assert "kubectl -n n rollout resume deployment/gateway" in failure
    assert scene.writes == []


def test_an_image_that_cannot_be_pulled_is_put_back_soon() -> None:
    scene = Scene([reading(OLD)], [reading(NEW, updated=1, old=2, good="h1", pod=BACK_OFF)], [reading(OLD)])
    report, failure = scene.run(fail_after=5)
    assert "pod gateway-h2-1, container gateway: ImagePullBackOff: not found." in failure
    assert f"It was rolled back: {OLD} (revision 1) serves alone again." in failure
    assert (report.outcome, report.rolled_back_to, report.changed) == ("rolled_back", OLD, True)
    assert [image_of(body) for body, _dry_run in scene.writes] == [NEW, OLD]
    assert 5 <= scene.seconds < 8
    # Another writer's image would make this test, and so the whole write, fail.
    assert scene.writes[1][0][0] == {"op": "test", "path": "/spec/template/spec/containers/0/image", "value": NEW}


def test_a_crash_is_told_with_the_last_log_lines() -> None:
    crash = {"waiting": {"reason": "CrashLoopBackOff"}}
    scene = Scene([reading(OLD)], [reading(NEW, updated=1, old=2, pod=crash)])
    scene.logs["gateway-h2-1"] = ["starting", "JWT_SECRET is not set"]
    report, failure = scene.run(roll_back=False, log_lines=1)
    assert "\nIts last log lines:\n  JWT_SECRET is not set\nIt was left as it is, by on_failure=leave." in failure
    assert report.failures[0]["log"] == ["JWT_SECRET is not set"]
    assert report.outcome == "failed"


def test_a_pod_without_a_node_has_longer() -> None:
    waits = reading(NEW, updated=1, old=2, pod={})
    waits["pods"][0]["status"] = {
        "phase": "Pending",
        "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no cpu"}],
    }
    scene = Scene([reading(OLD)], [waits])
    _report, failure = scene.run(fail_after=5, schedule_within=30, roll_back=False)
    assert "FailedScheduling (Unschedulable): no cpu" in failure
    assert 30 <= scene.seconds < 33


def test_the_controllers_deadline_ends_it_with_what_the_pods_wait_for() -> None:
    exceeded = [{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "m"}]
    scene = Scene([reading(OLD)], [reading(NEW, updated=1, old=2, pod={"running": {}}, conditions=exceeded)])
    _report, failure = scene.run(roll_back=False)
    assert "it exceeded its progress deadline of 600 s" in failure
    assert "Pod gateway-h2-1 runs and is not ready." in failure
    assert scene.seconds < 3


def test_a_scaling_that_no_deadline_of_the_controllers_ends_fails_after_it_all_the_same() -> None:
    """The controller of a complete Deployment that gets more replicas does not look at its deadline."""
    waits = reading(NEW, updated=2, pod={"running": {}})
    waits["deployment"]["spec"]["progressDeadlineSeconds"] = 30
    scene = Scene([waits])
    report, failure = scene.run(roll_back=False)
    assert "it exceeded its progress deadline of 30 s" in failure
    assert "Pod gateway-h2-1 runs and is not ready." in failure
    assert (report.outcome, scene.writes) == ("failed", [])
    assert 32 <= scene.seconds < 34


def test_a_quota_that_leaves_no_room_is_told() -> None:
    quota = [{"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: pods=3"}]
    scene = Scene([reading(OLD)], [reading(NEW, updated=0, old=2, conditions=quota)])
    scene.acts[1][0]["pods"] = []
    _report, failure = scene.run(schedule_within=10, roll_back=False)
    assert "no pod can be created: exceeded quota: pods=3." in failure
    assert 10 <= scene.seconds < 13


def test_another_writers_image_is_left_alone() -> None:
    scene = Scene([reading(OLD)], [reading("i@sha256:3", updated=1, old=2)])
    report, failure = scene.run()
    assert "was superseded: its image is now i@sha256:3. Nothing was rolled back." in failure
    assert (report.outcome, len(scene.writes)) == ("superseded", 1)


def test_a_pod_that_restarts_while_it_is_watched_fails_the_rollout() -> None:
    calm, restarted = reading(NEW, good="h1"), reading(NEW, good="h1", restarts=1)
    scene = Scene([reading(OLD)], [calm, calm, calm, restarted], [reading(OLD)])
    report, failure = scene.run(watch=20)
    assert "pod gateway-h2-1 restarted after the rollout." in failure
    assert report.outcome == "rolled_back"


def test_pods_that_run_already_are_watched_too() -> None:
    scene = Scene([reading(NEW, good="h1"), reading(NEW, good="h1"), reading(NEW, good="h1", restarts=1)])
    report, failure = scene.run(watch=20, roll_back=False)
    assert "pod gateway-h2-1 restarted after the rollout." in failure
    assert (report.outcome, scene.writes) == ("failed", [])


def test_what_was_good_stays_known_when_a_way_back_is_interrupted() -> None:
    """The way back was under way, so the present template is incomplete, and still the good one."""
    scene = Scene([reading(OLD, updated=1, old=1, good="h1")], [reading(NEW)])
    scene.run()
    assert scene.writes[0][0]["metadata"]["annotations"]["e.f/good-template"] == "h1"


def test_rolled_back_goes_to_the_good_template_and_then_forth_again() -> None:
    scene = Scene([reading(NEW, good="h1")], [reading(OLD, good="h2")])
    report, failure = scene.run(state="rolled_back")
    assert (failure, report.outcome, report.rolled_back_to) == ("", "rolled_back", OLD)
    [(body, _dry_run)] = scene.writes
    assert image_of(body) == OLD
    assert body[2]["value"]["e.f/good-template"] == "h2"


def test_a_rollback_notes_its_target_until_it_is_complete() -> None:
    scene = Scene([reading(NEW, good="h1")], [reading(OLD, updated=1, old=2), reading(OLD, unfinished="h1")])
    report, failure = scene.run(state="rolled_back")
    assert (failure, report.outcome) == ("", "rolled_back")
    change, note = (written[0] for written in scene.writes)
    assert change[2]["value"]["e.f/rolling-back-to"] == "h1"
    assert note == {"metadata": {"annotations": {"e.f/rolling-back-to": None}}}


@pytest.mark.parametrize("complete", [False, True])
def test_a_rollback_that_was_killed_is_finished_by_the_next_one(complete: bool) -> None:
    """The good template is then the one that the killed one left."""
    done = reading(OLD, good="h2", unfinished="h1")
    midway = reading(OLD, updated=1, old=2, good="h2", unfinished="h1")
    scene = Scene([done] if complete else [midway, midway, done])
    report, failure = scene.run(state="rolled_back")
    assert (failure, report.outcome) == ("", "unchanged" if complete else "rolled_back")
    # A module outlives the controller that is killed. One that joined leaves the note, so that the next run finds it.
    forgotten = [{"metadata": {"annotations": {"e.f/rolling-back-to": None}}}]
    assert [body for body, _dry_run in scene.writes] == (forgotten if complete else [])


def test_an_update_forgets_an_unfinished_rollback() -> None:
    scene = Scene([reading(OLD, good="h2", unfinished="h1")], [reading(NEW)])
    scene.run()
    assert scene.writes[0][0]["metadata"]["annotations"]["e.f/rolling-back-to"] is None


def test_rolled_back_names_what_there_is_to_go_back_to() -> None:
    scene = Scene([reading(NEW, good="")])
    _report, failure = scene.run(state="rolled_back")
    assert (
        "no template of the Deployment gateway in the namespace n is known to be good but the present one." in failure
    )
    assert f"Set revision to one of: {OLD} (revision 1)." in failure
    _report, failure = scene.run(state="rolled_back", revision="9")
    assert "has no revision 9. It has" in failure
    assert scene.writes == []


@pytest.mark.parametrize(("until", "readings"), [("first_pod", 2), ("started", 0)])
def test_it_waits_no_further_than_told(until: str, readings: int) -> None:
    steps = [reading(NEW, updated=1, old=2, pod={"running": {}}), reading(NEW, updated=1, old=2), reading(NEW)]
    scene = Scene([reading(OLD)], steps)
    _report, failure = scene.run(until=until)
    assert failure == ""
    assert len(steps) - len(scene.acts[0]) == min(readings, len(steps) - 1)
