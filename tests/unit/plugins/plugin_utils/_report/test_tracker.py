# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import random
from typing import Any

import pytest

from ansible_collections.evenkeel.fleet.plugins.plugin_utils._report.document import as_text, document
from ansible_collections.evenkeel.fleet.plugins.plugin_utils._report.html_page import Page
from ansible_collections.evenkeel.fleet.plugins.plugin_utils._report.live_view import live_view
from ansible_collections.evenkeel.fleet.plugins.plugin_utils._report.results import clean, step_of
from ansible_collections.evenkeel.fleet.plugins.plugin_utils._report.tracker import Tracker
from ansible_collections.evenkeel.fleet.tests.unit.plugins.plugin_utils._report.told import (
    BEGAN,
    begun,
    facts,
    recording,
    step,
    told,
    update,
)

PAGE = Page()
SWAPPED = {"outcome": "swapped", "seconds": {"stop": 1.0, "start": 0.5, "gate": 2.0, "total": 3.6}}


def words(tracker: Tracker, now: float = 1e9) -> list[str]:
    return [f"{news.host}: {news.words}" if news.host else news.words for news in tracker.take_news(now)]


def test_a_rollout_that_went_well() -> None:
    tracker = told(recording("succeeded"))
    assert tracker.result == "succeeded"
    assert {host.name: (host.state, host.batch) for host in tracker.hosts.values()} == {
        "host-2": ("done", 1),
        "host-3": ("done", 2),
        "host-1": ("done", 3),
    }
    assert [phase.kind for phase in tracker.phases] == [
        "look",
        "plan",
        "update",
        "update",
        "hand_over",
        "update",
        "end",
    ]
    (change,) = tracker.leader_changes
    assert (change.old, change.new, change.kind, change.term) == ("host-1", "host-2", "handover", 2)
    assert change.gap is not None
    assert change.gap < 1
    assert tracker.holder == "ci@runner-3"
    assert tracker.hosts["host-1"].before["version"] == "v1"  # type: ignore[index]
    assert tracker.hosts["host-1"].after["version"] == "v2"  # type: ignore[index]
    assert tracker.failures == []


def test_the_requests_are_those_since_the_first_drain_also_where_the_count_begins_anew() -> None:
    counts = [1000, 1300, 50, None, 80]
    drains = [
        step(5.0 * number, "a", "target_drain", "drained", {"requests": count}) for number, count in enumerate(counts)
    ]
    tracker = told([*begun("a"), *(event for drain in drains for event in drain)])
    assert tracker.requests == 300 + 50 + 30
    assert told(begun("a")).requests is None


def test_the_phases_are_all_of_the_time() -> None:
    tracker = told(recording("succeeded"))
    for before, after in zip(tracker.phases, tracker.phases[1:]):
        assert before.ended == after.began
    assert tracker.phases[0].began == 0
    assert tracker.phases[-1].ended == tracker.ended


def test_own_waits_are_what_the_modules_say() -> None:
    host = told(recording("succeeded")).hosts["host-1"]
    assert host.waits == {"permit": 0.0, "drain": 0.015, "swap": 4.611, "admit": 0.004, "bake": 3.017}
    swap = next(step for step in host.steps if step.name == "swap")
    assert sum(swap.parts.values()) == pytest.approx(4.611, abs=0.3)
    seconds = host.seconds(0)
    assert seconds is not None
    assert seconds > sum(host.waits.values())


def test_a_rollout_that_failed() -> None:
    tracker = told(recording("failed"))
    assert tracker.result == "failed"
    assert {host.name: host.state for host in tracker.hosts.values()} == {
        "host-1": "rolled back",
        "host-2": "not touched",
        "host-3": "not touched",
    }
    assert tracker.hosts["host-1"].serves is True
    (failure,) = tracker.failures
    assert (failure.host, failure.step) == ("host-1", "swap")
    assert "says version v1, not no-such-version" in failure.cause
    assert failure.log
    assert not any(line in failure.cause for line in failure.log), "the log is not said twice"
    assert tracker.words[0].startswith("host-1 failed")


def test_what_began_is_said_unless_it_is_skipped() -> None:
    tracker = told([*begun("a"), ("starts", 10.0, "a", "target_drain", "drained")], finish=None)
    said = words(tracker, 10.1)
    assert "a: draining" not in said
    tracker.ends(10.2, "a", "target_drain", "drained", "skipped", {}, whole=False)
    assert words(tracker) == []
    assert tracker.hosts["a"].state == "waiting"
    tracker.starts(11.0, "a", "container_swap", "")
    assert words(tracker, 11.5) == ["a: swapping"], "a long one is said while it lasts"


def test_a_skipped_end_is_no_end() -> None:
    events = [*begun("a"), ("starts", 5.0, "a", "rollout_lock", "released")]
    tracker = told([*events, ("ends", 5.1, "a", "rollout_lock", "released", "skipped", {}, True)], finish=None)
    assert [phase.kind for phase in tracker.phases] == ["look", "plan"]
    assert [step.name for step in tracker.fleet_steps] == ["lock"]


def test_a_host_that_comes_back_only_after_its_way_back() -> None:
    failed = {"msg": "it crashed", "outcome": "failed", "exit_code": 3, "log": ["boom"]}
    events = [*begun("a", "b"), *update("a", 10.0, failed, "failed")]
    first = told([*events, *facts(20.0, rollout_event={"kind": "failed", "host": "a"})], finish=None)
    assert first.hosts["a"].state == "rolling back"
    out = told([*events, *facts(20.0, rollout_event={"kind": "failed", "host": "a", "serves": False})], finish=None)
    assert (out.hosts["a"].state, out.hosts["a"].serves) == ("failed", False)
    assert out.failures[0].exit_code == 3


def test_a_rollback_is_told_what_it_is_once_that_is_known() -> None:
    """It takes the lock before anything is to be seen, and what its module does is a template."""
    lock = {"rollout_id": 9, "lock": {"holder": "ci@runner", "reason": "rollback of rollout 7", "digest": None}}
    about = {"image": "", "fleet": {"a": "i-a"}, "plan": ["update a"], "batches": [["a"]], **lock}
    events = [
        *step(0.0, "a", "container_swap", "pulled", {"seconds": {"total": 0.1}}),
        *facts(1.0, rollout_about=about),
        *facts(2.0, rollout_step={"kind": "update", "hosts": ["a"]}),
        ("starts", 3.0, "a", "container_swap", ""),
        ("ends", 5.0, "a", "container_swap", "restored", "ok", {"seconds": {"total": 1.5}}, False),
    ]
    tracker = told(events)
    assert (tracker.rollout_id, tracker.reason) == (9, "rollback of rollout 7")
    assert [(s.name, s.result) for s in tracker.hosts["a"].steps] == [("pull", "succeeded"), ("put_back", "succeeded")]
    assert live_view(tracker, 6.0, 80, 9)[0] == "rollout 9: rollback of rollout 7  ci@runner"


def test_a_host_that_turned_leader_is_put_off_and_no_failure() -> None:
    refused = {"msg": "it leads", "refusal": "leading", "leader": "i-a"}
    events = [
        *begun("a", "b"),
        *facts(10.0, rollout_step={"kind": "update", "hosts": ["a"]}),
        *step(10.0, "a", "instance_drain", "drained", refused, "failed"),
        *facts(12.0, rollout_event={"kind": "put_off", "host": "a"}),
    ]
    tracker = told(events, finish=None)
    assert tracker.hosts["a"].state == "put off"
    assert tracker.failures == []
    assert tracker.name_of(tracker.leader) == "a"


def test_a_host_that_ends_without_a_word_is_unreachable_by_the_word_of_the_rollout() -> None:
    events = [
        *begun("a", "b"),
        *facts(10.0, rollout_step={"kind": "update", "hosts": ["a"]}),
        ("starts", 11.0, "a", "container_swap", ""),
        *facts(20.0, rollout_events=[{"kind": "unreachable", "host": "a"}]),
    ]
    assert told(events, finish=None).hosts["a"].state == "unreachable"


def test_an_election_that_nobody_asked_for_is_told() -> None:
    leads = step(5.0, "a", "leader_info", "", {"leader": "i-a", "term": 3})
    tracker = told([*begun("a", "b"), *leads, *step(9.0, "a", "leader_info", "", {"leader": "i-b", "term": 4})])
    (change,) = tracker.leader_changes
    assert (change.kind, change.old, change.new, change.term) == ("election", "a", "b", 4)


def test_how_long_it_goes_on_is_known_from_the_batches_before() -> None:
    first = [*begun("a", "b", "c"), *update("a", 10.0, SWAPPED)]
    assert told(first, finish=None).expected(15.0) is None
    second = told([*first, *facts(30.0, rollout_step={"kind": "update", "hosts": ["b"]})], finish=None)
    assert second.expected(35.0) == pytest.approx(15 + 20)
    assert second.expected(70.0) == pytest.approx(20), "late is not negative"


def test_a_run_that_was_interrupted_says_so() -> None:
    tracker = told([*begun("a", "b"), *update("a", 10.0, SWAPPED)], finish="interrupted")
    assert tracker.result == "interrupted"
    assert tracker.hosts["b"].state == "not touched"


@pytest.mark.parametrize(
    ("action", "state", "name"),
    [
        ("container_swap", "", "swap"),
        ("container_swap", "pulled", "pull"),
        ("instance_drain", "", "permit"),
        ("instance_drain", "active", "active"),
        ("rollout_lock", "renewed", ""),
        ("debug", "", ""),
    ],
)
def test_a_step_is_known_by_its_module(action: str, state: str, name: str) -> None:
    assert step_of(action, state) == name


def test_nothing_of_a_stranger_moves_the_cursor_or_tells_a_secret() -> None:
    assert clean("red \x1b[31m\u202e") == "red \N{REPLACEMENT CHARACTER}[31m\N{REPLACEMENT CHARACTER}"
    secret = {"msg": "password=hunter2hunter2", "log": ["Authorization: Bearer abcdefghijklmnop"]}
    tracker = told([*begun("a"), *update("a", 10.0, secret, "failed")])
    said = repr(tracker.failures) + repr(words(tracker))
    assert "hunter2" not in said
    assert "abcdefghijklmnop" not in said


KEYS = ("msg", "log", "seconds", "serving", "leader", "ansible_facts", "lock", "refusal", "new", "waited", "failed")


def anything(chance: random.Random, depth: int = 0) -> Any:
    kinds: list[Any] = [None, True, -1, 2.5, "", "text\x1b[2J", "\ud800"]
    if depth < 3:
        kinds += [
            [anything(chance, depth + 1) for _number in range(chance.randrange(3))],
            {name: anything(chance, depth + 1) for name in chance.sample(FACTS, 2)},
        ]
    return chance.choice(kinds)


FACTS = (
    "rollout_about",
    "rollout_step",
    "rollout_event",
    "rollout_events",
    "kubernetes_plan",
    "kind",
    "host",
    "hosts",
    "plan",
    "total",
)
ACTIONS = ("container_swap", "rollout_lock", "instance_drain", "leader_handover", "fail", "set_fact", "else")


@pytest.mark.parametrize("seed", range(5))
def test_a_result_of_any_shape_breaks_nothing(seed: int) -> None:
    chance = random.Random(seed)
    for _number in range(200):
        result = {key: anything(chance) for key in chance.sample(KEYS, 5)}
        status, state = chance.choice(["ok", "failed", "skipped", "unreachable"]), chance.choice(["", "released"])
        event = step(5.0, "a", chance.choice(ACTIONS), state, result, status)
        tracker = told([*begun("a"), *event, *event])
        report = document(tracker, 9.0, BEGAN)
        as_text(report).encode()
        PAGE.render(report).encode()
        assert live_view(tracker, 9.0, 60, 10)


PLAN = {
    "services": {
        "api": {"changed": True, "current": "arn:aws:ecs:x:1:task-definition/api:1", "steps": ["register a revision"]},
        "worker": {"changed": False, "current": "arn:aws:ecs:x:1:task-definition/worker:4", "steps": []},
    }
}


def deployed(result: dict[str, Any], status: str = "ok") -> Tracker:
    lock = {"results": [{"rollout_id": 9, "lock": {"holder": "ci@runner", "reason": "why"}}]}
    tracker = told(
        [
            *step(0, "", "ecs_services_info", "", PLAN),
            *step(1, "", "rollout_lock", "acquired", lock),
            *step(2, "api", "ecs_task_definition", "", {}),
            ("starts", 3, "api", "ecs_deploy", ""),
        ],
        finish=None,
    )
    tracker.hears(4, "IN_PROGRESS: 1 of 2 tasks running")
    assert (tracker.hosts["api"].state, tracker.hosts["api"].progress) == (
        "deploying",
        "IN_PROGRESS: 1 of 2 tasks running",
    )
    tracker.ends(9, "api", "ecs_deploy", "", status, result, whole=False)
    became = {"result": "failed" if status == "failed" else "succeeded", "words": "words"}
    tracker.ends(9, "", "set_fact", "", "ok", {"ansible_facts": {"ecs_results": {"api": became}}}, whole=True)
    if status == "failed":
        tracker.ends(9, "", "fail", "", "failed", {"msg": ["api: failed: it crashed"]}, whole=True)
    tracker.finish(10)
    return tracker


def test_a_deployment_of_services() -> None:
    tracker = deployed(
        {"outcome": "succeeded", "task_definition": "arn:aws:ecs:x:1:task-definition/api:2", "events": ["one started"]}
    )
    assert (tracker.about.kind, tracker.result, tracker.rollout_id) == ("deployment", "succeeded", 9)
    assert tracker.plan == ("api: register a revision",)
    assert {host.name: host.state for host in tracker.hosts.values()} == {"api": "done", "worker": "current"}
    api = tracker.hosts["api"]
    assert api.deployment and api.deployment["events"] == ["one started"]
    assert [(one or {})["version"] for one in (api.before, api.after)] == ["api:1", "api:2"]
    assert [phase.kind for phase in tracker.phases] == ["look", "plan", "deploy"]


def test_a_deployment_that_fails_has_the_exit_code_and_the_log_of_its_task() -> None:
    task = {"containers": [{"name": "api", "exit_code": 3, "reason": ""}], "log": ["api: boom"]}
    tracker = deployed(
        {
            "msg": "It fails.\nIts last log lines:\n  api: boom\nIt was rolled back.",
            "rolled_back_to": "arn:aws:ecs:x:1:task-definition/api:1",
            "failures": [task],
        },
        "failed",
    )
    assert (tracker.result, tracker.words) == ("failed", ("api: failed: it crashed",))
    assert tracker.hosts["api"].state == "rolled back"
    [failure] = tracker.failures
    assert (failure.host, failure.step, failure.exit_code, failure.log) == ("api", "deploy", 3, ("api: boom",))
    assert failure.cause == "It fails.\nIt was rolled back."
