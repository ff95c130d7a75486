# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rollouts that are killed or fail, run again and are rolled back: each host runs what it ran before.

The plan, the journal's summary and the digests of a rollback are the real ones; hosts and database are a model.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.evenkeel.fleet.plugins.module_utils._fleetdb import journal
from ansible_collections.evenkeel.fleet.plugins.module_utils._rollout.playbook import (
    digests_before,
    fleet_of,
    next_step,
)

NEW = "v2"
CANARY = "the canary"
POLICY = {"batches": [1], "max_unavailable": 1, "min_in_service": 1}


class KilledError(Exception):
    """The controller is gone."""


@dataclass
class Row:
    digest: str | None
    result: str | None = None
    steps: list[dict[str, Any]] = field(default_factory=list)

    @property
    def past(self) -> journal.PastRollout:
        return journal.PastRollout(self.digest, self.result, journal.hosts(self.steps))


@dataclass
class World:
    """What hosts run, None in the middle of a swap, whose old container the next call starts again; and the journal."""

    runs: dict[str, str | None]
    stopped: dict[str, str] = field(default_factory=dict)
    out: dict[str, dict[str, Any]] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    leader: str = "a"
    patience: int | None = None

    def tick(self) -> None:
        """A moment in which the controller may be killed."""
        if self.patience == 0:
            raise KilledError
        if self.patience is not None:
            self.patience -= 1

    def undone(self) -> dict[str, Any]:
        """As rollback.yml chooses it, from what rollout_info tells."""
        for number in range(len(self.rows) - 1, -1, -1):
            row = self.rows[number]
            if row.digest and row.past.hosts:
                earlier = [one.past for one in reversed(self.rows[:number])]
                hosts = {name: {"before": journal.origin(name, row.past, earlier)} for name in row.past.hosts}
                return {"digest": row.digest, "hosts": hosts, "inherited": journal.inherited(row.past, earlier)}
        return {}

    def run(
        self,
        *,
        back: bool = False,
        kill: int | None = None,
        fails: str | None = None,
        limit: str = "",
        **policy: Any,
    ) -> str:
        """`fails`: a host whose new container fails, or the canary's. `limit`: the names of the selected hosts."""
        self.patience = kill
        undone = self.undone() if back else {}
        if back and not undone:
            return "nothing to do"
        for row in self.rows:
            row.result = row.result or "abandoned"
        row = Row(None if back else NEW)
        self.rows.append(row)
        try:
            row.result = self._work(
                row, undone, fails, limit or self.runs, {**POLICY, "allow_unhealthy": True, **policy}
            )
        except KilledError:
            return "killed"
        return row.result

    def before(self, row: Row) -> dict[str, Any]:
        """As rollout_info tells it of the rollout that runs."""
        past = self.rows[: self.rows.index(row)]
        earlier = [one.past for one in reversed(past)]
        return {name: {"before": journal.origin(name, row.past, earlier)} for name in row.past.hosts}

    def _work(
        self, row: Row, undone: dict[str, Any], fails: str | None, selected: Iterable[str], policy: dict[str, Any]
    ) -> str:
        self.tick()
        runs = {name: self.runs[name] for name in selected}
        looks = {name: {"serving": {"digest": digest} if digest else {}} for name, digest in runs.items()}
        instances = [{"instance_id": f"i-{name}", "fresh": True, "leads": name == self.leader} for name in self.runs]
        hosts = {name: f"i-{name}" for name in self.runs}
        for name, digest in runs.items():
            row.steps.append({"host": name, "step": journal.PLAN, "result": "succeeded", "digest": digest})
        before = self.before(row)
        fleet = fleet_of(hosts, looks, instances, list(self.out.values()), before=before)
        wanted = digests_before(undone, looks, runs) if undone else NEW
        events: list[dict[str, Any]] = []
        if next_step(fleet, wanted, policy, runs)["kind"] == "refused":
            row.steps.clear()
            return "refused"
        while (step := next_step(fleet, wanted, policy, runs, events))["kind"] != "end":
            assert step["kind"] in ("update", "hand_over", "judge", "put_back"), step
            if step["kind"] == "hand_over":
                self.leader = step["candidates"][0]
                events.append({"kind": "handed_over", "host": self.leader})
            for name in step["hosts"] if step["kind"] == "judge" else ():
                events.append({"kind": "condemned" if fails == CANARY else "promoted", "host": name})
            for name in step["hosts"] if step["kind"] == "update" else ():
                digest = wanted if isinstance(wanted, str) else wanted[name]
                self._replace(row, name, before[name]["before"] if name == fails else digest, fails=name == fails)
                kind = {"kind": "failed", "serves": True} if name == fails else {"kind": "done"}
                events.append({**kind, "host": name})
            for name in step["hosts"] if step["kind"] == "put_back" else ():
                self._replace(row, name, before[name]["before"])
                events.append({"kind": "put_back", "host": name})
        return str(step["result"])

    def _replace(self, row: Row, name: str, digest: str, *, fails: bool = False) -> None:
        """A host leaves, gets this image, and comes back; where it fails, it is the one that it had."""
        self.tick()
        row.steps.append({"host": name, "step": journal.PERMIT, "result": "succeeded"})
        self.out[name] = {"instance_id": f"i-{name}", "host": name, "reason": None}
        self.tick()
        self.stopped[name], self.runs[name] = self.runs[name] or self.stopped[name], None
        self.tick()
        self.runs[name] = digest
        self.tick()
        swap = {"host": name, "step": journal.SWAP, "result": "failed" if fails else "succeeded"}
        row.steps.append(swap if fails else {**swap, "digest": digest})
        row.steps.append({"host": name, "step": journal.ACTIVE, "result": "succeeded"})
        del self.out[name]
        self.tick()


names = ("a", "b", "c")
runs = st.fixed_dictionaries({name: st.sampled_from(["v0", "v1", NEW]) for name in names})
a_kill = st.integers(0, 16)
a_bad_day = st.fixed_dictionaries({"kill": st.none() | a_kill, "fails": st.none() | st.sampled_from(names)})


@settings(max_examples=400, deadline=None)
@given(
    before=runs, bad_days=st.lists(a_bad_day, max_size=3), finished=st.booleans(), kills=st.lists(a_kill, max_size=2)
)
def test_a_rollback_brings_back_what_was_there(
    before: dict[str, str], bad_days: list[dict[str, Any]], finished: bool, kills: list[int]
) -> None:
    world = World(dict(before))
    # One that has succeeded is over: what follows is another rollout.
    for day in bad_days:
        if world.run(**day) == "succeeded":
            break
    else:
        if finished:
            assert world.run() == "succeeded"
            assert set(world.runs.values()) == {NEW}
    for kill in kills:
        world.run(back=True, kill=kill)
    assert world.run(back=True) in ("succeeded", "nothing to do")
    assert world.runs == before
    assert not world.out


def test_every_moment_of_one_kill_and_one_resume() -> None:
    for kill in range(16):
        world = World({"a": "v1", "b": "v1", "c": "v0"})
        assert world.run(kill=kill) == "killed"
        world.run()
        assert set(world.runs.values()) == {NEW}
        world.run(back=True)
        assert world.runs == {"a": "v1", "b": "v1", "c": "v0"}, kill


def test_a_rollout_that_was_finished_with_a_limit_is_taken_back_everywhere() -> None:
    for kill in range(16):
        before = {"a": "v1", "b": "v1", "c": "v0"}
        world = World(dict(before))
        assert world.run(kill=kill) == "killed"
        left = "".join(name for name, digest in world.runs.items() if digest != NEW or name in world.out)
        if left and world.run(limit=left) == "succeeded":
            assert set(world.runs.values()) == {NEW}, kill
            assert world.run(back=True) == "succeeded", kill
            assert world.runs == before, kill


def test_a_drain_in_between_and_a_rollback_that_was_given_up_hide_nothing() -> None:
    world = World({"a": "v1", "b": "v1", "c": "v1"})
    world.run(kill=10)
    drained = [{"host": "b", "step": step, "result": "succeeded"} for step in journal.SERVICE]
    world.rows.append(Row(None, "succeeded", drained))
    world.run(back=True, kill=1)
    world.run()
    world.run(back=True)
    assert set(world.runs.values()) == {"v1"}


def test_what_was_finished_before_is_not_taken_back_with_the_next() -> None:
    world = World({"a": "v1", "b": "v1", "c": "v1"})
    assert world.run() == "succeeded"
    assert world.run() == "succeeded"
    world.run(back=True)
    assert set(world.runs.values()) == {NEW}


@settings(max_examples=250, deadline=None)
@given(
    before=runs,
    kills=st.lists(a_kill, min_size=1, max_size=3),
    fails=st.sampled_from([*names, CANARY]),
    on_failure=st.sampled_from(["rollback_host", "rollback_all", "stop"]),
    again=st.none() | a_kill,
)
def test_what_fails_after_a_resume_goes_back_whoever_updated_it(
    before: dict[str, str], kills: list[int], fails: str, on_failure: str, again: int | None
) -> None:
    """`again`: the run that puts them back is killed, too, and the next one fails like it."""
    world = World(dict(before))
    for kill in kills:
        if world.run(kill=kill) == "succeeded":
            return
    policy: dict[str, Any] = {"on_failure": on_failure, "canary": 1 if fails == CANARY else 0}
    if again is not None and world.run(kill=again, fails=fails, **policy) == "succeeded":
        return
    result = world.run(fails=fails, **policy)
    if result == "succeeded":
        assert set(world.runs.values()) == {NEW}
    elif result == "refused":
        return  # a canary without other hosts to compare it with
    elif on_failure == "rollback_all" or (on_failure == "rollback_host" and fails == CANARY):
        # The leader stays: there is no second handover.
        assert {name: digest for name, digest in world.runs.items() if name != world.leader} == {
            name: digest for name, digest in before.items() if name != world.leader
        }
    else:
        assert fails == CANARY or world.runs[fails] == before[fails]
    world.run(back=True)
    assert world.runs == before
