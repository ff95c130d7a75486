# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.evenkeel.fleet.plugins.filter.rollout_step import rollout_step
from ansible_collections.evenkeel.fleet.plugins.module_utils._rollout.playbook import checkpoint, fleet_of

OLD, NEW = "sha256:old", "sha256:new"
HOSTS = {"a": "i-1", "b": "i-2", "c": "i-3"}
POLICY = {"batches": [1, "50%"], "max_unavailable": "50%", "min_in_service": "1", "on_failure": "rollback_host"}


def state(**changes: Any) -> dict[str, Any]:
    """Three hosts with the old image, of which a leads."""
    instances = [
        {"instance_id": identity, "fresh": True, "leads": name == "a", "draining_since": None}
        for name, identity in HOSTS.items()
    ]
    looks = {name: {"serving": {"digest": OLD}} for name in HOSTS}
    return {"hosts": HOSTS, "looks": looks, "instances": instances, "interrupted": [], **changes}


def step(*events: dict[str, Any], fleet: dict[str, Any] | None = None, **policy: Any) -> dict[str, Any]:
    return rollout_step(events, fleet=fleet or state(), wanted=NEW, policy={**POLICY, **policy}, selected=list(HOSTS))


def test_the_leader_comes_last_after_a_handover() -> None:
    first = step()
    assert (first["kind"], first["hosts"], first["min_in_service"]) == ("update", ["b"], 1)
    assert first["plan"] == [
        "update b",
        "update c",
        "hand leadership over from a",
        "update a (the leader, last)",
        "verify, and release the lock",
    ]
    assert first["batches"] == [["b"], ["c"], ["a"]]
    done = [{"kind": "done", "host": "b"}, {"kind": "done", "host": "c"}]
    handover = step(*done)
    assert (handover["kind"], handover["hosts"], handover["candidates"]) == ("hand_over", ["a"], ["b", "c"])
    assert step(*done, {"kind": "handed_over", "host": "b"})["hosts"] == ["a"]


def test_a_failure_ends_it_and_says_why() -> None:
    end = step({"kind": "failed", "host": "b", "serves": True, "words": "it crashed"})
    assert (end["kind"], end["result"]) == ("end", "failed")
    assert end["words"] == ["b failed: it crashed. Its previous image serves again.", "Not touched: a, c."]


def test_what_must_not_begin_is_refused() -> None:
    nobody = [{**instance, "leads": False} for instance in state()["instances"]]
    refused = step(fleet=state(instances=nobody))
    assert refused["kind"] == "refused"
    assert refused["plan"] == refused["words"]
    assert refused["batches"] == []
    assert "No gateway leads" in refused["words"][0]
    assert step(batches=["many"])["kind"] == "refused"
    assert step(min_in_service="most")["min_in_service"] == len(HOSTS), "unknown is never few"


def test_more_steps_than_ansible_can_nest_are_refused() -> None:
    hosts = {f"host-{number}": f"i-{number}" for number in range(120)}
    instances = [
        {"instance_id": identity, "fresh": True, "leads": name == "host-0", "draining_since": None}
        for name, identity in hosts.items()
    ]
    looks = {name: {"serving": {"digest": OLD}} for name in hosts}
    large = {"hosts": hosts, "looks": looks, "instances": instances}
    kinds = {}
    for batches in ([1], [1, "10%"]):
        policy = {**POLICY, "batches": batches}
        kinds[len(batches)] = rollout_step([], fleet=large, wanted=NEW, policy=policy, selected=list(hosts))
    assert kinds[1]["kind"] == "refused"
    assert kinds[1]["words"][0].startswith("The plan has 122 steps, and Ansible can't nest more than 110.")
    assert kinds[2]["kind"] == "update"


def test_a_host_that_was_left_out_of_service_is_seen_to_first() -> None:
    fleet = state(interrupted=[{"instance_id": "i-3", "host": "c"}])
    assert step(fleet=fleet)["hosts"] == ["c"]


def test_a_host_that_somebody_keeps_out_of_service_is_not_touched() -> None:
    kept = {"instance_id": "i-3", "host": "c", "by": "ops@desk", "since": "10:00", "reason": "new disk"}
    assert (
        "c is kept out of service by ops@desk since 10:00: new disk"
        in step(fleet=state(interrupted=[kept]))["words"][0]
    )
    marked = [
        {**one, "draining_since": "10:00" if one["instance_id"] == "i-3" else None} for one in state()["instances"]
    ]
    assert "c is kept out of service by a mark" in step(fleet=state(instances=marked))["words"][0]
    broken_off = {**kept, "reason": None}
    assert step(fleet=state(instances=marked, interrupted=[broken_off]))["hosts"] == ["c"]


def test_who_is_not_known_is_not_healthy() -> None:
    gone = [instance for instance in state()["instances"] if instance["instance_id"] != "i-2"]
    hosts = {host.name: host for host in fleet_of(HOSTS, {"a": {}, "c": {"serving": None}}, gone)}
    assert not hosts["b"].healthy, "the database does not know it"
    assert not hosts["a"].healthy, "it runs nothing"
    assert hosts["b"].digest is None, "it was not asked"


def test_hosts_that_run_it_are_left_alone() -> None:
    looks = {name: {"serving": {"digest": NEW if name == "b" else OLD}} for name in HOSTS}
    first = step(fleet=state(looks=looks))
    assert first["hosts"] == ["c"]
    assert first["plan"][0] == f"already on {NEW}: b"
    everywhere = {name: {"serving": {"digest": NEW}} for name in HOSTS}
    assert step(fleet=state(looks=everywhere))["kind"] == "end"


def test_a_host_with_other_settings_gets_the_same_image_anew() -> None:
    looks = {name: {"serving": {"digest": NEW}, "as_declared": name != "c"} for name in HOSTS}
    assert step(fleet=state(looks=looks))["hosts"] == ["c"]


@pytest.mark.parametrize(
    ("shares", "before", "now", "pauses"),
    [
        ([], 0, 3, False),
        ([1], 0, 1, True),
        ([1], 1, 2, False),
        (["50%"], 2, 3, True),
        (["50%", 5], 3, 6, True),
        ([2], 0, 3, True),
        ([2], 2, 2, False),
    ],
)
def test_a_checkpoint_is_come_to_once(shares: list[int | str], before: int, now: int, pauses: bool) -> None:
    assert checkpoint(shares, 6, before, now) is pauses


def test_the_next_step_knows_of_checkpoints() -> None:
    done = [{"kind": "done", "host": "b"}]
    known: dict[str, Any] = {
        "fleet": state(),
        "wanted": NEW,
        "policy": POLICY,
        "selected": list(HOSTS),
        "checkpoints": ["33%"],
    }
    after = rollout_step(done, **known, updated=0)
    assert (after["updated"], after["checkpoint"]) == (1, True)
    assert not rollout_step(done, **known, updated=1)["checkpoint"]


def test_a_rollout_is_taken_back_where_its_image_runs() -> None:
    oldest = "sha256:oldest"
    before: dict[str, Any] = {"a": {"before": OLD}, "b": {"before": oldest}, "c": {"before": OLD}}
    undone = {"digest": NEW, "hosts": before}
    looks = {name: {"serving": {"digest": NEW}, "as_declared": False} for name in HOSTS}
    looks["c"] = {"serving": {"digest": OLD}, "as_declared": False}

    def back(*events: dict[str, Any], looks: dict[str, Any] = looks) -> dict[str, Any]:
        known: dict[str, Any] = {"fleet": state(looks=looks), "wanted": NEW, "policy": POLICY, "selected": list(HOSTS)}
        return rollout_step(events, **known, undone=undone)

    first = back()
    assert first["digests"] == {"a": OLD, "b": oldest, "c": OLD}
    assert first["plan"] == [
        "stay as they are: c",
        "update b",
        "hand leadership over from a",
        "update a (the leader, last)",
        "verify, and release the lock",
    ]
    assert back({"kind": "done", "host": "b"})["candidates"] == ["b", "c"]
    nothing = back(looks={**looks, "b": {"serving": None}})
    assert nothing["digests"]["b"] == oldest, "one that runs nothing gets what it ran before"
    before["b"] = {"before": None}
    unknown = back()
    assert unknown["kind"] == "refused"
    assert "no earlier image of: b." in unknown["words"][0]
    del before["b"]
    assert back()["kind"] == "refused", "it runs the image, and the rollout knows nothing of it"
    assert back(looks={**looks, "b": {"serving": {"digest": oldest}}})["digests"]["b"] == oldest
