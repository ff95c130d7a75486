# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rollouts that are killed or fail anywhere, are run again, and are then taken back: each host runs what it ran before.

The plan, the journal's summary and the digests of a rollback are the real ones; hosts and database are a model.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.evenkeel.fleet.plugins.module_utils._fleetdb import journal
from ansible_collections.evenkeel.fleet.plugins.module_utils._rollout.look import digests_before, fleet_of, next_step

NEW = "v2"
KNOBS = {"batches": [1], "max_unavailable": 1, "min_in_service": 1}


class KilledError(Exception):
    """The controller is gone."""


@dataclass
class Row:
    digest: str | None
    result: str | None = None
    steps: list[dict[str, Any]] = field(default_factory=list)

    @property
    def past(self) -> journal.Past:
        return journal.Past(self.digest, self.result, journal.hosts(self.steps))


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
                return {"digest": row.digest, "hosts": hosts}
        return {}

    def run(self, *, back: bool = False, kill: int | None = None, fails: str | None = None) -> str:
        self.patience = kill
        undone = self.undone() if back else {}
        if back and not undone:
            return "nothing to do"
        for row in self.rows:
            row.result = row.result or "abandoned"
        row = Row(None if back else NEW)
        self.rows.append(row)
        try:
            row.result = self._work(row, undone, fails)
        except KilledError:
            return "killed"
        return row.result

    def _work(self, row: Row, undone: dict[str, Any], fails: str | None) -> str:
        self.tick()
        looks = {name: {"serving": {"digest": digest} if digest else {}} for name, digest in self.runs.items()}
        instances = [{"instance_id": f"i-{name}", "fresh": True, "leads": name == self.leader} for name in self.runs]
        hosts = {name: f"i-{name}" for name in self.runs}
        fleet = fleet_of(hosts, looks, instances, list(self.out.values()))
        wanted = digests_before(undone, looks, hosts) if undone else NEW
        for name, digest in self.runs.items():
            row.steps.append({"host": name, "step": journal.PLAN, "result": "succeeded", "digest": digest})
        events: list[dict[str, Any]] = []
        while (step := next_step(fleet, wanted, {**KNOBS, "allow_unhealthy": True}, hosts, events))["kind"] != "end":
            assert step["kind"] in ("update", "hand_over"), step
            if step["kind"] == "hand_over":
                self.leader = step["candidates"][0]
                events.append({"kind": "handed_over", "host": self.leader})
                continue
            for name in step["hosts"]:
                digest = wanted if isinstance(wanted, str) else wanted[name]
                events.append(self._update(row, name, digest, fails=name == fails))
        return str(step["result"])

    def _update(self, row: Row, name: str, digest: str, *, fails: bool) -> dict[str, Any]:
        self.tick()
        row.steps.append({"host": name, "step": journal.PERMIT, "result": "succeeded"})
        self.out[name] = {"instance_id": f"i-{name}", "host": name, "reason": None}
        self.tick()
        old = self.runs[name] or self.stopped[name]
        self.stopped[name], self.runs[name] = old, None
        self.tick()
        self.runs[name] = old if fails else digest
        self.tick()
        swap = {"host": name, "step": journal.SWAP, "result": "failed" if fails else "succeeded"}
        row.steps.append(swap if fails else {**swap, "digest": digest})
        row.steps.append({"host": name, "step": journal.ACTIVE, "result": "succeeded"})
        del self.out[name]
        self.tick()
        return {"kind": "failed", "host": name, "serves": True} if fails else {"kind": "done", "host": name}


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
