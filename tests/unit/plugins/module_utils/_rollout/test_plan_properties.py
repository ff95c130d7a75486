# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules of a rollout, for any fleet and any sequence of failures; a broken rule is detected.

A world is played: it knows what every host really does, draws what goes wrong, and checks each step against the rules
by what it knows itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ansible_collections.evenkeel.fleet.plugins.module_utils._rollout.plan import (
    Event,
    FleetHost,
    Rollout,
    Step,
    Wanted,
    planned_steps,
)
from ansible_collections.evenkeel.fleet.plugins.module_utils._rollout.policy import (
    ON_FAILURE,
    Policy,
    at_least,
    at_most,
    is_set,
)
from ansible_collections.evenkeel.fleet.plugins.module_utils._rollout.preconditions import RolloutRefusedError, begin

shares = st.one_of(st.integers(1, 12), st.integers(1, 100).map("{}%".format))
policy = st.builds(
    Policy,
    batches=st.lists(shares, min_size=1, max_size=4).map(tuple),
    max_unavailable=shares,
    min_in_service=st.one_of(st.integers(0, 5), st.integers(0, 90).map("{}%".format)),
    on_failure=st.sampled_from(ON_FAILURE),
    elects=st.just(True),
    allow_unhealthy=st.booleans(),
    canary=st.one_of(st.just(0), shares),
)


@st.composite
def fleets(draw: Callable[..., Any]) -> list[FleetHost]:
    count = draw(st.integers(1, 14))
    leader = draw(st.integers(0, count - 1))
    # Most are as they should be, or hardly a rollout would begin.
    moods = (["fine"], ["fine", "updated"], ["fine"] * 7 + ["updated", "unhealthy", "draining"])
    state = st.sampled_from(draw(st.sampled_from(moods)))
    hosts = []
    for number in range(count):
        is_now = draw(state)
        hosts.append(
            FleetHost(
                f"host-{number}",
                "new" if is_now == "updated" else "old",
                healthy=is_now != "unhealthy",
                draining=is_now == "draining",
                leads=number == leader,
                before=draw(st.sampled_from([None, "old"])) if is_now in ("updated", "draining") else None,
            )
        )
    return hosts


@st.composite
def parts(draw: Callable[..., Any]) -> tuple[list[FleetHost], list[str]]:
    hosts = draw(fleets())
    every = [host.name for host in hosts]
    return hosts, draw(st.one_of(st.just(every), st.lists(st.sampled_from(every), unique=True)))


class World:
    """A fleet that is being rolled, with a will of its own."""

    def __init__(self, hosts: list[FleetHost], selected: list[str], rollout: Rollout, data: st.DataObject) -> None:
        self.names = [host.name for host in hosts]
        self.selected = set(selected)
        self.serving = {host.name for host in hosts if host.serves}
        self.updated = {host.name for host in hosts if host.digest == "new" and not host.draining}
        # Those that an unfinished rollout updated, or left out of service.
        self.inherited = {host.name for host in hosts if host.name in self.updated & self.selected and host.before}
        self.left_out = {host.name for host in hosts if host.draining and host.before} & self.selected
        self.leader = next(host.name for host in hosts if host.leads)
        self.known_leader = self.leader
        self.rollout = rollout
        self.policy = rollout.policy
        self.draw = data.draw
        # Troubles of one kind keep others from being met: not every day has all of them.
        self.faults = self.draw(st.sampled_from([0, 0, 1, 4]))
        self.elections = self.draw(st.sampled_from([0, 2, 6]))
        self.touched: Counter[str] = Counter()
        self.handovers = 0
        self.batches = 0
        self.judged = self.condemned = False
        self.failed = False
        self.lock_lost = False
        self.events = 0

    def play(self, mishaps: bool) -> Step:
        while True:
            step, self.rollout = self.rollout.advance()
            self.events += 1
            assert self.events <= 6 * len(self.names) + 12, "it does not end"
            if step.kind == "end":
                assert step.words
                # Leadership that moves by itself may leave no host to hand over to, or none that may leave.
                assert step.result == "failed" if self.failed else self.rollout.put_off or step.result == "succeeded"
                return step
            assert not self.lock_lost, "another rollout has the fleet"
            getattr(self, f"do_{step.kind}")(step, mishaps)
            if mishaps and self.faults and self.one_in(25):
                self.lock_lost = self.failed = True
                self.tell(Event("lock_lost"))
            if mishaps and self.faults and self.serving and self.one_in(25):
                victim = self.draw(st.sampled_from(sorted(self.serving)))
                self.serving.discard(victim)
                self.failed = True
                self.tell(Event("out_of_service", victim))

    def do_update(self, step: Step, mishaps: bool) -> None:
        assert not self.failed, "after a failure no host is updated"
        size = self.policy.batches[min(self.batches, len(self.policy.batches) - 1)]
        self.batches += 1
        assert 0 < len(step.hosts) <= at_most(size, len(self.names))
        assert set(step.hosts) <= self.selected
        assert not set(step.hosts) & self.updated
        if len(self.names) > 1:
            assert self.known_leader not in step.hosts, "the leader is never updated"
        if is_set(self.policy.canary) and not self.judged:
            canaries = (self.updated & self.serving) | set(step.hosts)
            assert len(canaries) <= at_most(self.policy.canary, len(self.names)), "too many canaries"
        self.may_leave(step)
        # An election that the rollout has not heard of; after the handover it is the worst time for one.
        if mishaps and self.draw(st.integers(1, 6)) <= max(self.elections, 3 * self.handovers):
            self.leader = self.draw(st.sampled_from([*self.names, *step.hosts * 40]))
        for host in self.any_order(step.hosts):
            if host == self.leader and len(self.names) > 1:
                self.known_leader = host
                still = self.rollout.put_off
                self.tell(Event("put_off", host))
                self.failed |= host in still
                continue
            outcomes = ["done"] * 12 + ["failed", "failed back", "unreachable", "refused"] * self.faults
            outcome = self.draw(st.sampled_from(outcomes)) if mishaps else "done"
            if outcome == "refused":
                self.failed = True
                self.tell(Event("refused", host))
                continue
            self.touched[host] += 1
            self.failed |= outcome != "done"
            if outcome == "done":
                self.serving.add(host)
                self.updated.add(host)
            elif outcome != "failed back":
                self.serving.discard(host)
            else:
                self.serving.add(host)
            self.tell(Event(outcome.split()[0], host, serves=outcome == "failed back"))

    def do_judge(self, step: Step, mishaps: bool) -> None:
        assert is_set(self.policy.canary) and not self.failed and not self.judged
        self.judged = True
        others = set(step.candidates)
        assert others and others == self.serving - self.updated
        assert set(step.hosts) - others == self.serving & self.updated != set()
        verdict = self.draw(st.sampled_from(["promoted"] * 6 + ["condemned"])) if mishaps else "promoted"
        for host in self.any_order(step.hosts):
            answer = "unreachable" if mishaps and self.faults and self.one_in(20) else verdict
            self.failed |= answer != "promoted"
            self.condemned |= answer == "condemned"
            if answer == "unreachable":
                self.serving.discard(host)
            self.tell(Event(answer, host))

    def do_put_back(self, step: Step, mishaps: bool) -> None:
        assert self.failed or self.rollout.put_off
        assert self.policy.on_failure != "stop"
        left_out = self.left_out - set(self.touched)
        if self.policy.on_failure == "rollback_all" or self.condemned:
            assert set(step.hosts) <= (self.updated & (self.inherited | set(self.touched))) | left_out
        else:
            assert set(step.hosts) <= left_out
        assert self.known_leader not in step.hosts or len(self.names) == 1
        self.may_leave(step)
        for host in self.any_order(step.hosts):
            self.touched[host] += 1
            outcome = self.draw(st.sampled_from(["put_back"] * 6 + ["not_put_back", "unreachable"]))
            if outcome == "put_back":
                self.updated.discard(host)
                self.serving.add(host)
            else:
                self.serving.discard(host)
            self.tell(Event(outcome if mishaps else "put_back", host))

    def do_hand_over(self, step: Step, mishaps: bool) -> None:
        assert not self.failed
        self.handovers += 1
        assert self.handovers <= 1, "a second handover"
        assert self.judged or not is_set(self.policy.canary), "the leader goes without a verdict"
        assert step.hosts == (self.known_leader,)
        assert set(step.candidates) <= self.updated & self.serving - set(step.hosts)
        left = self.selected - self.updated
        assert left == {self.known_leader}, "the leader comes last"
        self.may_leave(step)
        outcome = self.draw(st.sampled_from(["moved"] * 8 + ["failed", "stays", "nobody"])) if mishaps else "moved"
        self.failed |= outcome != "moved"
        if outcome == "moved":
            self.leader = self.known_leader = self.draw(st.sampled_from(step.candidates))
            self.tell(Event("handed_over", self.leader))
        elif outcome == "failed":
            self.tell(Event("handover_failed"))
        else:
            self.tell(Event("handed_over", self.known_leader if outcome == "stays" else ""))

    def may_leave(self, step: Step) -> None:
        leaving = self.serving & set(step.hosts)
        if leaving:
            self.room_for(len(leaving))

    def room_for(self, count: int) -> None:
        left = len(self.serving) - count
        assert left >= at_least(self.policy.min_in_service, len(self.names)), "fewer than min_in_service"
        out = len(self.names) - left
        assert out <= at_most(self.policy.max_unavailable, len(self.names)), "more than max_unavailable"

    def tell(self, event: Event) -> None:
        self.rollout = self.rollout.after(event)

    def any_order(self, hosts: tuple[str, ...]) -> list[str]:
        order: list[str] = self.draw(st.permutations(hosts))
        return order

    def one_in(self, count: int) -> bool:
        return bool(self.draw(st.integers(1, count)) == count)


def digests_of_their_own(hosts: list[FleetHost]) -> tuple[list[FleetHost], Wanted]:
    """The same fleet, of which each host is to go to another digest, as in a rollback."""
    known = [
        replace(host, digest=f"{host.digest} of {host.name}", before=host.before and f"{host.before} of {host.name}")
        for host in hosts
    ]
    return known, {host.name: f"new of {host.name}" for host in hosts}


def play(
    part: tuple[list[FleetHost], list[str]], wishes: Policy, data: st.DataObject, *, mishaps: bool
) -> World | None:
    hosts, selected = part
    known, wanted = digests_of_their_own(hosts) if data.draw(st.booleans()) else (hosts, "new")
    try:
        rollout = begin(known, wanted, wishes, selected)
    except RolloutRefusedError as refused:
        assert all(reason.endswith(".") for reason in refused.reasons)
        return None
    world = World(hosts, selected, rollout, data)
    end = world.play(mishaps)
    if end.result == "succeeded":
        assert world.selected <= world.updated
    if not (world.failed or world.rollout.put_off):
        assert not [host for host, times in world.touched.items() if times > 1], "touched twice without a failure"
    assert set(world.touched) <= world.selected
    return world


bad_days = settings(
    max_examples=400,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@bad_days
@given(part=parts(), wishes=policy, data=st.data())
def test_on_any_day(part: tuple[list[FleetHost], list[str]], wishes: Policy, data: st.DataObject) -> None:
    play(part, wishes, data, mishaps=True)


@bad_days
@given(part=parts(), wishes=policy, data=st.data())
def test_on_a_sunny_day(part: tuple[list[FleetHost], list[str]], wishes: Policy, data: st.DataObject) -> None:
    """What begins comes to its end, whatever was out of service before; and the plan that is shown is what happens."""
    world = play(part, wishes, data, mishaps=False)
    if world is not None:
        assert not world.failed
        assert world.selected <= world.updated
        hosts, selected = part
        plan = planned_steps(begin(hosts, "new", wishes, selected))
        leader = next(host.name for host in hosts if host.leads)
        updates = [step.hosts for step in plan if step.kind == "update"]
        if len(hosts) > 1 and leader in world.touched:
            assert updates[-1] == (leader,)
        assert world.handovers == [step.kind for step in plan].count("hand_over")
        assert Counter(name for batch in updates for name in batch) == world.touched


def without_minimum(rollout: Rollout) -> int:
    policy = replace(rollout.policy, min_in_service=0)
    return ORIGINAL_ROOM(replace(rollout, policy=policy))


def everybody(rollout: Rollout) -> tuple[str, ...]:
    return rollout.pending


def heedless(rollout: Rollout) -> tuple[Step, Rollout]:
    return ORIGINAL_ADVANCE(replace(rollout, failures=()))


ORIGINAL_ROOM, ORIGINAL_ADVANCE = Rollout.room, Rollout.advance


@pytest.mark.parametrize(
    ("rule", "broken"),
    [
        ("room", without_minimum),
        ("room", lambda _rollout: 1000),
        ("followers", everybody),
        ("may_hand_over", lambda _rollout: True),
        ("may_be_put_off", lambda _rollout, _host: True),
        ("advance", heedless),
        ("canaries_left", lambda rollout: len(rollout.hosts)),
        ("to_be_judged", lambda _rollout: False),
    ],
    ids=[
        "min_in_service",
        "max_unavailable",
        "leader last",
        "one handover",
        "it ends",
        "a failure stops it",
        "canary",
        "verdict",
    ],
)
def test_a_broken_rule_is_noticed(monkeypatch: pytest.MonkeyPatch, rule: str, broken: Callable[..., Any]) -> None:
    monkeypatch.setattr(Rollout, rule, broken)
    with pytest.raises((AssertionError, RecursionError)):
        test_on_any_day()
