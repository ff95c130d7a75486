# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import replace

import pytest

from ansible_collections.evenkeel.fleet.plugins.module_utils._rollout.plan import (
    Event,
    FleetHost,
    Rollout,
    Step,
    planned_steps,
    replay,
)
from ansible_collections.evenkeel.fleet.plugins.module_utils._rollout.policy import Policy, at_least, at_most
from ansible_collections.evenkeel.fleet.plugins.module_utils._rollout.preconditions import RolloutRefusedError, begin

ONE_BY_ONE = Policy(batches=(1,))


def fleet(count: int, leader: int = 1, **changed: FleetHost) -> list[FleetHost]:
    hosts = [FleetHost(f"host-{number}", "old", leads=number == leader) for number in range(1, count + 1)]
    return [changed.get(host.name.replace("-", "_"), host) for host in hosts]


def shape(steps: list[Step]) -> list[tuple[str, ...]]:
    return [(step.kind, *step.hosts) for step in steps]


def told(rollout: Rollout, *events: Event) -> tuple[Step, Rollout]:
    """What comes next after this was heard."""
    for event in events:
        rollout = rollout.after(event)
    return rollout.advance()


def at(rollout: Rollout, *events: Event) -> tuple[Step, Rollout]:
    """The same, with a step begun before each event that needs one."""
    step, rollout = rollout.advance()
    for event in events:
        rollout = rollout.after(event)
        step, rollout = rollout.advance()
    return step, rollout


def reasons(hosts: list[FleetHost], policy: Policy | None = None, selected: list[str] | None = None) -> str:
    with pytest.raises(RolloutRefusedError) as caught:
        begin(hosts, "new", policy, selected)
    return str(caught.value)


def test_followers_in_growing_batches_then_the_leader_alone() -> None:
    steps = planned_steps(begin(fleet(20, leader=3), "new"))
    assert [len(step.hosts) for step in steps if step.kind == "update"] == [1, 2, 5, 5, 5, 1, 1]
    assert steps[-3].kind == "hand_over"
    assert (steps[-3].hosts, steps[-3].candidates[0]) == (("host-3",), "host-1")
    assert steps[-2] == Step("update", ("host-3",))
    assert (steps[-1].result, steps[-1].words) == ("succeeded", ("Updated: 20. Already on the image: 0.",))


def test_three_hosts() -> None:
    assert shape(planned_steps(begin(fleet(3), "new"))) == [
        ("update", "host-2"),
        ("update", "host-3"),
        ("hand_over", "host-1"),
        ("update", "host-1"),
        ("end",),
    ]


def test_who_runs_it_already_is_left_alone() -> None:
    hosts = fleet(4, host_2=FleetHost("host-2", "new"))
    rollout = begin(hosts, "new")
    assert rollout.skipped == ("host-2",)
    assert shape(planned_steps(rollout))[:2] == [("update", "host-3"), ("update", "host-4")]


def test_nothing_to_do() -> None:
    hosts = [FleetHost("host-1", "new", leads=True), FleetHost("host-2", "new", healthy=False)]
    assert shape(planned_steps(begin(hosts, "new"))) == [("end",)]


def test_a_leader_that_is_updated_already_keeps_leading() -> None:
    hosts = fleet(3, host_1=FleetHost("host-1", "new", leads=True))
    assert shape(planned_steps(begin(hosts, "new"))) == [("update", "host-2"), ("update", "host-3"), ("end",)]


def test_what_a_dead_controller_left_draining_is_finished_first() -> None:
    hosts = fleet(4, host_4=FleetHost("host-4", "new", draining=True))
    rollout = begin(hosts, "new", ONE_BY_ONE)
    assert shape(planned_steps(rollout))[:2] == [("update", "host-4"), ("update", "host-2")]


def test_a_part_of_the_fleet_keeps_the_rules_of_the_whole() -> None:
    hosts = fleet(8, leader=1)
    assert shape(planned_steps(begin(hosts, "new", selected=["host-1", "host-2"]))) == [
        ("update", "host-2"),
        ("hand_over", "host-1"),
        ("update", "host-1"),
        ("end",),
    ]
    assert "update another host as well" in reasons(hosts, selected=["host-1"])
    updated = fleet(8, host_5=FleetHost("host-5", "new"))
    assert planned_steps(begin(updated, "new", selected=["host-1"]))[0].candidates == ("host-5",)
    assert "Not in the fleet: host-9." in reasons(hosts, selected=["host-1", "host-9"])


def test_one_host_only() -> None:
    assert "no host may be taken out of service" in reasons(fleet(1))
    assert shape(planned_steps(begin(fleet(1), "new", Policy(min_in_service=0)))) == [("update", "host-1"), ("end",)]


def test_a_fleet_that_does_not_elect() -> None:
    hosts = fleet(3, leader=0)
    assert "No gateway leads" in reasons(hosts)
    assert shape(planned_steps(begin(hosts, "new", Policy(elects=False)))) == [
        ("update", "host-1"),
        ("update", "host-2"),
        ("update", "host-3"),
        ("end",),
    ]


def test_each_host_to_a_digest_of_its_own() -> None:
    hosts = [FleetHost("host-1", "new", leads=True), FleetHost("host-2", "new"), FleetHost("host-3", "older")]
    wanted = {"host-1": "old", "host-2": "oldest", "host-3": "older"}
    rollout = begin(hosts, wanted)
    assert rollout.skipped == ("host-3",)
    steps = planned_steps(rollout)
    assert shape(steps) == [("update", "host-2"), ("hand_over", "host-1"), ("update", "host-1"), ("end",)]
    assert steps[1].candidates == ("host-2", "host-3")
    with pytest.raises(RolloutRefusedError, match=r"no earlier image of: host-2.*--limit"):
        begin(hosts, {"host-1": "old", "host-3": "older"})
    only_the_leader = begin(hosts, {"host-1": "old", "host-3": "older"}, selected=["host-1"])
    assert shape(planned_steps(only_the_leader))[0] == ("hand_over", "host-1")


def test_who_is_kept_out_of_service_is_not_touched() -> None:
    kept = FleetHost("host-2", "old", draining=True, kept_out="by ops@desk: new disk")
    hosts = fleet(4, host_2=kept)
    assert "host-2 is kept out of service by ops@desk: new disk. Admit it" in reasons(hosts)
    others = ["host-1", "host-3", "host-4"]
    assert "max_unavailable 25%" in reasons(hosts, selected=others), "it counts as out of service"
    steps = planned_steps(begin(hosts, "new", Policy(max_unavailable=2), others))
    assert shape(steps)[:2] == [("update", "host-3"), ("update", "host-4")]
    assert steps[2].candidates == ("host-3", "host-4")


def test_two_leaders() -> None:
    hosts = fleet(3, host_2=FleetHost("host-2", "old", leads=True))
    assert "host-1 and host-2 say that they lead" in reasons(hosts)
    assert "host-1 and host-2 say that they lead" in reasons(hosts, Policy(elects=False))


def test_an_unhealthy_follower() -> None:
    hosts = fleet(4, host_3=FleetHost("host-3", "old", healthy=False))
    assert "Unhealthy before the start: host-3." in reasons(hosts)
    allowed = Policy(allow_unhealthy=True, max_unavailable=2, min_in_service=3)
    rollout = begin(hosts, "new", allowed)
    assert shape(planned_steps(rollout))[:2] == [("update", "host-3"), ("update", "host-2")]
    step, _unused = at(rollout, Event("failed", "host-3"))
    assert step.words[0] == "host-3 failed. It is out of service."
    others = ["host-1", "host-2"]
    assert "3 of 4 hosts are in service: with min_in_service 3" in reasons(hosts, allowed, others)
    assert "max_unavailable 1" in reasons(hosts, Policy(allow_unhealthy=True, max_unavailable=1), others)


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        (Policy(batches=()), "rollout_batches is empty"),
        (Policy(batches=(0,)), "rollout_batches: 0 is out of range"),
        (Policy(batches=("x",)), "'x' is neither a number of hosts nor a percentage"),
        (Policy(batches=(1, "101%")), "101% is out of range"),
        (Policy(max_unavailable="0%"), "rollout_max_unavailable: 0% is out of range"),
        (Policy(max_unavailable=-1), "-1 is neither"),
        (Policy(min_in_service=4), "rollout_min_in_service is 4, and the fleet has 3 hosts"),
        (Policy(min_in_service=3), "with min_in_service 3"),
        (Policy(min_in_service="100%"), "with min_in_service 100%"),
        (Policy(on_failure="panic"), "use one of rollback_host, rollback_all, stop"),
    ],
)
def test_wishes_that_cannot_be(policy: Policy, words: str) -> None:
    assert words in reasons(fleet(3), policy)


def test_percentages() -> None:
    assert [at_most("10%", count) for count in (1, 9, 10, 19, 20, 1000)] == [1, 1, 1, 1, 2, 100]
    assert [at_least("50%", count) for count in (1, 2, 3, 5)] == [1, 1, 2, 3]
    assert (at_least(0, 5), at_most(7, 5)) == (0, 7)


def test_a_failure_ends_it_and_the_rest_stays_untouched() -> None:
    step, _unused = at(
        begin(fleet(4), "new", ONE_BY_ONE), Event("done", "host-2"), Event("failed", "host-3", serves=True)
    )
    assert (step.kind, step.result) == ("end", "failed")
    assert step.words == (
        "host-3 failed. Its previous image serves again.",
        "On the new image: host-2.",
        "Not touched: host-1, host-4.",
    )


def test_the_others_of_a_batch_finish_before_the_end() -> None:
    rollout = begin(fleet(12), "new", Policy(batches=(3,)))
    step, rollout = at(rollout, Event("failed", "host-2", serves=True, words="no answer"))
    assert step == Step("wait", ("host-3", "host-4"))
    step, rollout = told(rollout, Event("done", "host-3"), Event("unreachable", "host-4"))
    assert step.words[0] == "host-2 failed: no answer. Its previous image serves again."
    assert "host-4 can't be reached." in step.words


def test_all_are_put_back_but_who_leads() -> None:
    policy = Policy(batches=(1,), on_failure="rollback_all")
    done = [Event("done", f"host-{number}") for number in (2, 3)]
    rollout = begin(fleet(4), "new", policy)
    step, before = at(rollout, *done, Event("failed", "host-4", serves=True))
    assert step == Step("put_back", ("host-3",))
    step, after = told(before, Event("put_back", "host-3"))
    assert step == Step("put_back", ("host-2",))
    step, _unused = told(after, Event("put_back", "host-2"))
    assert step.words == ("host-4 failed. Its previous image serves again.", "Not touched: host-1.")
    step, _unused = told(before, Event("not_put_back", "host-3", words="disk full"))
    assert step.words[1:3] == ("host-3 could not be put back: disk full.", "Still on the new image: host-3, host-2.")

    step, _unused = at(
        rollout,
        *done,
        Event("done", "host-4"),
        Event("handed_over", "host-3"),
        Event("failed", "host-1", serves=True),
        Event("put_back", "host-4"),
        Event("put_back", "host-2"),
    )
    assert (step.kind, step.words[1]) == (
        "end",
        "host-3 leads and stays on the new image: a rollout hands over only once.",
    )


def test_a_host_that_turned_leader_comes_last() -> None:
    rollout = begin(fleet(3), "new")
    step, rollout = at(rollout, Event("put_off", "host-2"))
    assert step == Step("update", ("host-1",))
    step, rollout = told(rollout, Event("done", "host-1"))
    assert step == Step("update", ("host-3",))
    step, rollout = told(rollout, Event("done", "host-3"))
    assert step == Step("hand_over", ("host-2",), ("host-1", "host-3"))
    step, rollout = told(rollout, Event("handed_over", "host-1"))
    assert step == Step("update", ("host-2",))
    step, _unused = told(rollout, Event("done", "host-2"))
    assert step.result == "succeeded"


def test_leadership_that_keeps_moving() -> None:
    step, _unused = at(
        begin(fleet(3), "new"), *(Event("put_off", host) for host in ("host-2", "host-1", "host-3", "host-2"))
    )
    assert "leadership keeps moving" in step.words[0]


def test_no_second_handover() -> None:
    done = [Event("done", host) for host in ("host-2", "host-3")]
    step, _unused = at(begin(fleet(3), "new"), *done, Event("handed_over", "host-2"), Event("put_off", "host-1"))
    assert "host-1 leads again after the handover" in step.words[0]


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (Event("handed_over", "host-1"), "host-1 leads after the handover."),
        (Event("handed_over"), "No gateway leads after the handover."),
        (Event("handover_failed", words="not confirmed"), "host-1 did not hand over: not confirmed."),
        (Event("lock_lost"), "The lock on the fleet was lost."),
    ],
)
def test_a_handover_that_fails(event: Event, words: str) -> None:
    done = [Event("done", host) for host in ("host-2", "host-3")]
    _unused, rollout = at(begin(fleet(3), "new"), *done)
    rollout = rollout.after(event)
    if event.kind == "lock_lost":
        rollout = rollout.after(Event("handed_over", "host-2"))
    step, _end = rollout.advance()
    assert (step.kind, step.words[0]) == ("end", words)


def test_leadership_that_moves_by_itself_needs_no_handover() -> None:
    done = [Event("done", host) for host in ("host-2", "host-3")]
    rollout = begin(fleet(3), "new")
    assert replay(rollout, done).kind == "hand_over"
    assert replay(rollout, [*done, Event("leader", "host-3")]) == Step("update", ("host-1",))
    assert replay(rollout, [*done, Event("leader")]).words[0] == "No gateway leads."


def test_replayed_events_lead_to_where_the_rollout_was() -> None:
    rollout = begin(fleet(3), "new")
    events: list[Event] = []
    for step in planned_steps(rollout):
        assert replay(rollout, events) == step
        if step.kind == "hand_over":
            events.append(Event("handed_over", step.candidates[0]))
        elif step.kind == "update":
            events += [Event("done", host) for host in step.hosts]
    news = Event("out_of_service", "host-3")
    assert replay(rollout, [Event("done", "host-2"), news]).kind == "end"


def test_a_lost_lock_ends_it_without_touching_anybody() -> None:
    policy = Policy(batches=(1,), on_failure="rollback_all")
    step, _unused = at(
        begin(fleet(4), "new", policy), Event("done", "host-2"), Event("lock_lost"), Event("done", "host-3")
    )
    assert (step.kind, step.words[0]) == ("end", "The lock on the fleet was lost.")


def test_a_permit_that_is_refused_and_a_host_that_dies_end_it() -> None:
    rollout = begin(fleet(3), "new")
    step, _unused = at(rollout, Event("refused", "host-2", words="the database does not answer"))
    assert step.words[0] == "host-2 was not allowed to leave service: the database does not answer."
    assert "Not touched: host-1, host-2, host-3." in step.words
    step, _unused = at(rollout, Event("out_of_service", "host-3"), Event("done", "host-2"))
    assert step.words[0] == "host-3 went out of service."


def test_answers_that_nobody_asked_for() -> None:
    _unused, rollout = begin(fleet(3), "new").advance()
    for event in (
        Event("done", "host-3"),
        Event("put_back", "host-2"),
        Event("leader", "host-9"),
        Event("handover_failed"),
        Event("x"),
    ):
        with pytest.raises(ValueError, match=event.kind):
            rollout.after(event)


CANARY = Policy(batches=(1, "50%"), max_unavailable="50%", canary="20%")


def judged(rollout: Rollout, kind: str, words: str = "") -> tuple[Step, Rollout]:
    """What comes after the canary was judged."""
    step, rollout = rollout.advance()
    while step.kind == "update":
        step, rollout = told(rollout, *(Event("done", host) for host in step.hosts))
    assert step.kind == "judge"
    return told(rollout, *(Event(kind, host, words=words) for host in step.hosts))


def test_a_canary_is_judged_beside_the_others_before_they_follow() -> None:
    steps = planned_steps(begin(fleet(10), "new", CANARY))
    assert [(step.kind, len(step.hosts)) for step in steps] == [
        ("update", 1),
        ("update", 1),
        ("judge", 10),
        ("update", 5),
        ("update", 2),
        ("hand_over", 1),
        ("update", 1),
        ("end", 0),
    ]
    assert steps[2].candidates == tuple(f"host-{number}" for number in (1, 4, 5, 6, 7, 8, 9, 10))


def test_a_canary_that_is_condemned_is_put_back() -> None:
    step, rollout = judged(begin(fleet(10), "new", CANARY), "condemned", "2 % of its requests fail")
    assert shape([step]) == [("put_back", "host-3", "host-2")]
    step, _end = told(rollout, Event("put_back", "host-2"), Event("put_back", "host-3"))
    assert (step.kind, step.result) == ("end", "failed")
    assert step.words[0] == "The canary is not promoted: 2 % of its requests fail."


def test_a_canary_stays_where_an_operator_wants_to_look_at_it() -> None:
    step, _end = judged(begin(fleet(10), "new", replace(CANARY, on_failure="stop")), "condemned")
    assert (step.kind, step.result) == ("end", "failed")
    assert "On the new image: host-2, host-3." in step.words


def test_a_canary_that_was_never_judged_is_judged_by_the_next_run() -> None:
    hosts = fleet(10, host_2=FleetHost("host-2", "new"), host_3=FleetHost("host-3", "new"))
    step, _end = begin(hosts, "new", CANARY).advance()
    assert step.kind == "judge"


def test_a_host_that_is_lost_while_it_is_watched_ends_it() -> None:
    rollout = begin(fleet(10), "new", replace(CANARY, canary=1))
    step, rollout = at(rollout, Event("done", "host-2"))
    answers = [Event("promoted" if host != "host-5" else "unreachable", host) for host in step.hosts]
    step, _end = told(rollout, *answers)
    assert (step.result, step.words[0]) == ("failed", "host-5 can't be reached.")


@pytest.mark.parametrize(
    ("hosts", "canary", "reason"),
    [
        (fleet(3), "100%", "no host is left to compare it with"),
        (fleet(1), 1, "no host is left to compare it with"),
        (fleet(2, host_1=FleetHost("host-1", "old", leads=True, healthy=False)), 1, "no other host is in service"),
        (fleet(3), "many", "rollout_canary: 'many' is neither"),
    ],
)
def test_a_canary_needs_somebody_beside_it(hosts: list[FleetHost], canary: str, reason: str) -> None:
    assert reason in reasons(
        hosts, Policy(canary=canary, allow_unhealthy=True, max_unavailable="100%", min_in_service=0)
    )


RESUMED = [
    FleetHost("host-1", "old", leads=True, before="old"),
    FleetHost("host-2", "new", before="old"),
    FleetHost("host-3", "new", before="new"),
    FleetHost("host-4", "old", before="old"),
    FleetHost("host-5", None, healthy=False, draining=True, before="old"),
]


def test_a_resumed_rollout_puts_back_what_the_killed_one_updated() -> None:
    rollout = begin(RESUMED, "new", Policy(batches=(1,), max_unavailable=2, on_failure="rollback_all"))
    step, rollout = at(rollout, Event("done", "host-5"), Event("failed", "host-4", serves=True))
    assert shape([step]) == [("put_back", "host-5")]
    step, rollout = at(rollout, Event("put_back", "host-5"))
    assert shape([step]) == [("put_back", "host-2")], "host-3 ran it before"
    step, _end = at(rollout, Event("put_back", "host-2"))
    assert step.words == ("host-4 failed. Its previous image serves again.", "Not touched: host-1.")


def test_what_a_killed_rollout_left_out_of_service_is_put_back_after_a_failure() -> None:
    rollout = begin(RESUMED, "new", Policy(batches=(1,), max_unavailable=2))
    step, rollout = told(rollout, Event("out_of_service", "host-4"))
    assert shape([step]) == [("put_back", "host-5")]
    stops = begin(RESUMED, "new", Policy(batches=(1,), max_unavailable=2, on_failure="stop"))
    step, _end = told(stops, Event("out_of_service", "host-4"))
    assert step.words[1:] == ("On the new image: host-2.", "Not touched: host-1, host-4, host-5.")
