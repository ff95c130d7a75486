# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lock of a rollout and its journal, on a real PostgreSQL."""

from __future__ import annotations

import json
import random
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from typing import Any

import psycopg
import pytest

from ansible_collections.evenkeel.fleet.plugins.module_utils._fleetdb.errors import FleetError, RefusalError
from ansible_collections.evenkeel.fleet.plugins.module_utils._fleetdb.rollout_lock import LockRenewal
from ansible_collections.evenkeel.fleet.plugins.module_utils._fleetdb.schema import create_missing
from ansible_collections.evenkeel.fleet.plugins.module_utils._fleetdb.scope import Scope
from tests.integration.fleetdb.fleets import Fleet, database, migrated
from tests.integration.support import Running, run_module, start_module

CATALOGUE = (
    "SELECT table_name, column_name, data_type, is_nullable, column_default, is_identity, identity_generation"
    " FROM information_schema.columns WHERE table_name ~ '^(fleet|scoped)_rollout' ORDER BY 1, ordinal_position",
    "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint"
    " WHERE conrelid::regclass::text ~ '^(fleet|scoped)_rollout' ORDER BY 1, 2",
    "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE tablename ~ '^(fleet|scoped)_rollout' ORDER BY 1, 2",
)


@pytest.fixture
def expire(fleet: Fleet) -> Any:
    return lambda: fleet.query("UPDATE fleet_rollout SET expires_at = clock_timestamp() WHERE finished_at IS NULL")


def test_the_tables_are_those_of_the_gateways(fleet: Fleet, cluster: Any) -> None:
    [(name,)] = fleet.query("SELECT current_database() || '_ours'")
    fleet.query(f"CREATE DATABASE {name}")
    ours = Fleet(cluster.conninfo(name))
    ours.query("CREATE TABLE ec2_launch (instance_id text PRIMARY KEY, launched_at timestamptz)")
    ours.query("CREATE TABLE ec2_heartbeat (instance_id text, last_heartbeat timestamptz, is_leader bool)")
    with ThreadPoolExecutor(4) as pool:
        held = [one for one in pool.map(lambda _: refusal_of(ours.acquire), range(4)) if one is None]
    assert len(held) == 1, "of several at once, one makes the tables and has the lock"
    ours.acquire(renewal=LockRenewal(scope=Scope("ecs/production/permissions")))
    for sql in CATALOGUE:
        assert ours.query(sql) == fleet.query(sql)


def test_a_gateway_finds_the_tables_made_already(empty: str) -> None:
    with database(empty) as connected, connected.transaction() as connection:
        create_missing(connection, Scope("ecs/production/permissions"))
    migrated(empty)


def refusal_of(call: Any, *values: Any, **options: Any) -> str | None:
    try:
        call(*values, **options)
    except RefusalError as error:
        return error.refusal
    return None


def test_the_second_is_told_who_holds_it(fleet: Fleet) -> None:
    fleet.populate(2)
    first = fleet.acquire(holder="ci@runner-3", reason="gateway 1.4.0")
    with pytest.raises(RefusalError, match=r"locked by ci@runner-3 since .*gateway 1\.4\.0.*expires in") as caught:
        fleet.acquire()
    lock = caught.value.facts["lock"]
    assert (lock["rollout_id"], lock["host"], lock["expired"]) == (first["rollout_id"], "runner-3", False)
    assert 110 < lock["expires_in"] <= 120
    assert fleet.drain(2, 1)["refusal"] == "locked"
    assert fleet.drain(2, 1, rollout_id=first["rollout_id"])["refusal"] is None


def test_of_many_at_once_one_gets_it(fleet: Fleet) -> None:
    fleet.populate(1)
    with ThreadPoolExecutor(8) as pool:
        refusals = list(pool.map(lambda _: refusal_of(fleet.acquire), range(8)))
    assert (refusals.count(None), refusals.count("locked")) == (1, 7)
    assert fleet.query("SELECT count(*) FROM fleet_rollout") == [(1,)]


def test_of_many_at_once_one_gets_it_without_a_lease_to_queue_at(fleet: Fleet) -> None:
    fleet.populate(1)
    fleet.query("DROP TABLE leader_lease CASCADE")
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda _: refusal_of(fleet.acquire), range(8))).count(None) == 1


def test_waiting_in_line(fleet: Fleet) -> None:
    fleet.populate(1)
    first = fleet.acquire()["rollout_id"]
    with ThreadPoolExecutor(1) as pool:
        second = pool.submit(fleet.acquire, wait=20)
        time.sleep(0.3)
        assert not second.done()
        fleet.release(first)
        taken = second.result(20)
    assert taken["rollout_id"] > first and taken["waited"] > 0.2 and taken["took_over"] is None
    started = time.monotonic()
    said: list[str] = []
    with pytest.raises(RefusalError, match="Waited 1 s"):
        fleet.acquire(wait=1, say=said.append)
    assert time.monotonic() - started < 4
    [line] = said
    assert line.startswith("The fleet is locked by ci@runner since")
    assert line.endswith("Waiting, for 1 s at most.")


def test_an_expired_lock_is_taken_over_and_its_owner_refused(fleet: Fleet, expire: Any) -> None:
    fleet.populate(3)
    dead = fleet.acquire(holder="ci@dead")["rollout_id"]
    assert fleet.drain(3, 1, rollout_id=dead)["refusal"] is None
    expire()
    taken = fleet.acquire(holder="ci@alive")
    assert taken["took_over"]["rollout_id"] == dead and taken["took_over"]["holder"] == "ci@dead"
    assert fleet.query("SELECT result FROM fleet_rollout WHERE id = %s", dead) == [("abandoned",)]
    # The mark is gone, so that it may be elected; that it is out of service is remembered.
    assert taken["cleared"] == ["i-3"] and fleet.draining == []
    [left] = taken["interrupted"]
    assert (left["host"], left["instance_id"], left["rollout_id"]) == ("gateway-3", "i-3", dead)
    assert fleet.drain(2, 2, rollout_id=taken["rollout_id"])["refusal"] == "too_few"
    for call in (fleet.renew, fleet.release):
        with pytest.raises(RefusalError, match=r"ended as abandoned.*ci@alive holds the lock"):
            call(dead)
    assert fleet.drain(2, 0, rollout_id=dead)["refusal"] == "lost"
    assert fleet.draining == []
    assert fleet.put_back(3, rollout_id=taken["rollout_id"])["changed"]
    assert fleet.drain(2, 2, rollout_id=taken["rollout_id"])["refusal"] is None


def test_an_expired_lock_that_nobody_took_is_still_its_owners(fleet: Fleet, expire: Any) -> None:
    fleet.populate(2)
    rollout_id = fleet.acquire()["rollout_id"]
    expire()
    assert not fleet.renew(rollout_id)["changed"]
    assert refusal_of(fleet.acquire) == "locked"


def test_marks_by_hand_stay(fleet: Fleet, expire: Any) -> None:
    fleet.populate(3)
    assert fleet.drain(2, 1)["changed"]
    fleet.acquire()
    expire()
    assert fleet.acquire()["cleared"] == [] and fleet.draining == ["i-2"]


def test_who_is_kept_out_with_a_reason_stays_out(fleet: Fleet) -> None:
    fleet.populate(3)
    maintenance = fleet.acquire(holder="ops@desk")["rollout_id"]
    assert fleet.drain(3, 1, rollout_id=maintenance, reason="new disk")["changed"]
    assert not fleet.drain(3, 1, rollout_id=maintenance, reason="new disk")["changed"]
    fleet.release(maintenance)
    later = fleet.acquire()
    assert later["cleared"] == [] and fleet.draining == ["i-3"]
    [kept] = later["interrupted"]
    assert (kept["host"], kept["by"], kept["reason"]) == ("gateway-3", "ops@desk", "new disk")
    refused = fleet.drain(2, 2, rollout_id=later["rollout_id"])
    assert refused["refusal"] == "too_few" and "kept out of service by ops@desk" in refused["message"]
    # Its gateway is restarted meanwhile: a new row, without a mark.
    fleet.query("UPDATE ec2_launch SET draining_since = NULL")
    assert fleet.drain(2, 2, rollout_id=later["rollout_id"])["refusal"] == "too_few"
    assert fleet.put_back(3, rollout_id=later["rollout_id"])["changed"]
    fleet.release(later["rollout_id"])
    assert fleet.acquire()["interrupted"] == []


def test_release_is_final_and_says_whom_it_leaves(fleet: Fleet) -> None:
    fleet.populate(3)
    rollout_id = fleet.acquire()["rollout_id"]
    fleet.drain(3, 1, rollout_id=rollout_id)
    done = fleet.release(rollout_id, "failed")
    assert done["changed"] and [one["host"] for one in done["interrupted"]] == ["gateway-3"]
    assert not fleet.release(rollout_id, "failed")["changed"]
    assert refusal_of(fleet.release, rollout_id, "succeeded") == "lost"
    assert refusal_of(fleet.renew, rollout_id) == "lost"
    # An operator sees to it by hand; the journal of that rollout remembers it.
    assert fleet.put_back(3)["changed"]
    [(actor, of)] = fleet.query("SELECT actor, rollout_id FROM fleet_rollout_step WHERE step = 'active'")
    assert (actor, of) == ("somebody@desk", rollout_id)
    assert fleet.acquire()["interrupted"] == []


def test_broken_with_a_reason(fleet: Fleet) -> None:
    fleet.populate(3)
    assert not run_module("rollout_lock", {**fleet.options, "state": "broken", "reason": "x"})["changed"]
    rollout_id = fleet.acquire()["rollout_id"]
    fleet.drain(3, 1, rollout_id=rollout_id)
    arguments = {**fleet.options, "state": "broken", "reason": "runner terminated", "holder": "me@desk"}
    assert not run_module("rollout_lock", {**arguments, "rollout_id": rollout_id + 1})["changed"]
    assert run_module("rollout_lock", arguments, check=True)["changed"]
    assert fleet.draining == ["i-3"]
    broken = run_module("rollout_lock", arguments)
    assert broken["changed"] and broken["rollout_id"] == rollout_id and broken["cleared"] == ["i-3"]
    assert refusal_of(fleet.renew, rollout_id) == "lost"
    told = run_module("rollout_info", fleet.options)["rollouts"][0]
    assert (told["result"], told["steps"][-1]["detail"], told["steps"][-1]["actor"]) == (
        "abandoned",
        "runner terminated",
        "me@desk",
    )


def kill(call: Running, after: float) -> None:
    with suppress(subprocess.TimeoutExpired):
        call.process.wait(after)
    call.process.kill()
    call.process.communicate()


def test_killed_at_any_moment_the_lock_ends_by_itself(fleet: Fleet) -> None:
    """The controller dies while it takes the lock: it is held or it isn't, and never for longer than the ttl."""
    fleet.populate(3)
    moments = random.Random(4)
    for _ in range(6):
        call = start_module(
            "rollout_lock", {**fleet.options, "state": "acquired", "reason": "test", "ttl": 1, "wait": 5}
        )
        kill(call, moments.uniform(0.1, 0.5))
        taken = fleet.acquire(wait=5)
        assert fleet.query("SELECT count(*) FROM fleet_rollout WHERE finished_at IS NULL") == [(1,)]
        fleet.release(taken["rollout_id"])


def test_killed_at_any_moment_a_permit_is_undone_by_the_next_rollout(fleet: Fleet, expire: Any) -> None:
    fleet.populate(3)
    chance = random.Random(5)
    left = set()
    # While it waits for the lease, in its further work, after it has ended.
    for moment in (None, *(chance.uniform(0, 0.012) for _ in range(4)), 30.0):
        dead = fleet.acquire()["rollout_id"]
        with psycopg.connect(fleet.conninfo) as election:
            election.execute("SELECT FROM leader_lease FOR UPDATE")
            call = start_module(
                "instance_drain",
                {**fleet.options, "rollout_id": dead, "instance_id": "i-3", "host": "c", "min_in_service": 2},
            )
            fleet.until_blocked()
            if moment is None:
                kill(call, 0)
            election.rollback()
        kill(call, moment or 0)
        fleet.until_idle()
        out = fleet.draining
        expire()
        taken = fleet.acquire()
        assert taken["cleared"] == out and fleet.draining == []
        assert [one["instance_id"] for one in taken["interrupted"]] == out, "the mark and the journal differ"
        for _ in out:
            assert fleet.put_back(3, rollout_id=taken["rollout_id"])["changed"]
        fleet.release(taken["rollout_id"])
        left.add(tuple(out))
    assert left == {(), ("i-3",)}


def test_a_rollout_as_modules_and_its_journal(fleet: Fleet) -> None:
    fleet.populate(2)
    lock = {**fleet.options, "holder": "ci@runner"}
    would = run_module("rollout_lock", {**lock, "state": "acquired", "reason": "1.4.0"}, check=True)
    assert would["changed"] and would["rollout_id"] is None
    taken = run_module(
        "rollout_lock",
        {
            **lock,
            "state": "acquired",
            "reason": "1.4.0",
            "digest": "sha256:new",
            "steps": [{"host": host, "step": "plan", "result": "succeeded", "digest": "sha256:old"} for host in "ab"],
        },
    )
    rollout_id = taken["rollout_id"]
    assert taken["changed"] and taken["lock"]["holder"] == "ci@runner" and taken["diff"]["after"]["lock"]
    other = run_module("rollout_lock", {**lock, "state": "acquired", "reason": "1.5.0"})
    assert other["failed"] and other["refusal"] == "locked" and other["lock"]["rollout_id"] == rollout_id
    drained = run_module(
        "instance_drain",
        {
            **fleet.options,
            "rollout_id": rollout_id,
            "instance_id": "i-2",
            "host": "b",
            "min_in_service": 1,
            "steps": [{"host": "b", "step": "pull", "result": "succeeded", "seconds": 2.5, "ago": 60}],
        },
    )
    assert drained["changed"]
    secret = "docker: DB_PASSWORD=hunter2 refused"
    swap = {"host": "b", "step": "swap", "result": "succeeded", "digest": "sha256:new", "seconds": 6, "detail": secret}
    active = run_module(
        "instance_drain",
        {
            **fleet.options,
            "rollout_id": rollout_id,
            "instance_id": "i-2",
            "host": "b",
            "state": "active",
            "steps": [swap],
        },
    )
    assert active["changed"]
    renewed = run_module("rollout_lock", {**lock, "state": "renewed", "rollout_id": rollout_id, "ttl": 300})
    assert not renewed["changed"] and 290 < renewed["lock"]["expires_in"] <= 300
    reserved = {"host": "b", "step": "permit", "result": "succeeded"}
    refused = run_module("rollout_lock", {**lock, "state": "renewed", "rollout_id": rollout_id, "steps": [reserved]})
    assert refused["failed"] and "permit" in refused["msg"]
    released = run_module(
        "rollout_lock", {**lock, "state": "released", "rollout_id": rollout_id, "result": "succeeded"}
    )
    assert released["changed"] and released["lock"]["result"] == "succeeded" and released["interrupted"] == []

    told = run_module("rollout_info", fleet.options)
    [one] = told["rollouts"]
    assert told["lock"] is None and told["interrupted"] == []
    assert [step["step"] for step in one["steps"]] == ["plan", "plan", "pull", "permit", "swap", "active"]
    assert "hunter2" not in json.dumps(told)
    b = one["hosts"]["b"]
    assert (b["before"], b["after"], b["instance_id"], b["state"]) == ("sha256:old", "sha256:new", "i-2", "in")
    assert one["hosts"]["a"]["after"] is None
    assert b["seconds"] == pytest.approx(8.5, abs=0.5)
    pulled, permitted = one["steps"][2:4]
    assert 59 < age(pulled, permitted) < 61


def age(earlier: dict[str, Any], later: dict[str, Any]) -> float:
    moments = [datetime.fromisoformat(step["at"]) for step in (earlier, later)]
    return (moments[1] - moments[0]).total_seconds()


def test_what_a_host_ran_before_is_known_from_an_earlier_rollout(fleet: Fleet) -> None:
    fleet.populate(1)
    for digest in ("sha256:1", "sha256:2"):
        rollout_id = fleet.acquire()["rollout_id"]
        fleet.renew(rollout_id, steps=[{"host": "a", "step": "swap", "result": "succeeded", "digest": digest}])
        fleet.release(rollout_id)
    told = run_module("rollout_info", {**fleet.options, "last": 1, "steps": False})["rollouts"]
    assert [(one["hosts"]["a"]["before"], one["hosts"]["a"]["after"]) for one in told] == [("sha256:1", "sha256:2")]


def test_the_open_lock_is_shown_also_when_it_has_expired(fleet: Fleet, expire: Any) -> None:
    fleet.populate(1)
    assert run_module("rollout_info", fleet.options)["rollouts"] == []
    fleet.acquire()
    assert not run_module("rollout_info", fleet.options)["lock"]["expired"]
    expire()
    lock = run_module("rollout_info", fleet.options)["lock"]
    assert lock["expired"] and lock["expires_in"] <= 0 and lock["result"] is None


def test_the_answer_to_the_commit_is_lost(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock was taken: it is found again, and no call waits for its end."""
    fleet.populate(1)
    committed = psycopg.Transaction.__exit__
    lost: list[bool] = []

    def unanswered(self: psycopg.Transaction, *error: Any) -> Any:
        ended = committed(self, *error)
        if fleet.query("SELECT id FROM fleet_rollout") and not lost:
            lost.append(True)
            self.connection.close()
            raise psycopg.OperationalError("server closed the connection unexpectedly")
        return ended

    monkeypatch.setattr(psycopg.Transaction, "__exit__", unanswered)
    taken = fleet.acquire()
    assert lost and fleet.query("SELECT id, finished_at FROM fleet_rollout") == [(taken["rollout_id"], None)]


def test_steps_need_a_rollout(fleet: Fleet) -> None:
    fleet.populate(2)
    step = {"host": "a", "step": "pull", "result": "succeeded"}
    with pytest.raises(FleetError, match="steps need rollout_id"):
        fleet.drain(2, 0, renewal=LockRenewal(steps=[step]))
    assert refusal_of(fleet.renew, 99) == "lost"


def test_a_resumed_rollout_inherits_what_was_before_the_one_that_it_finishes(fleet: Fleet) -> None:
    fleet.populate(3)

    def plan(rollout_id: int, *digests: str) -> None:
        hosts = [
            {"host": f"gateway-{number}", "step": "plan", "result": "succeeded", "digest": digest}
            for number, digest in enumerate(digests, 1)
        ]
        fleet.renew(rollout_id, steps=hosts)

    def swapped(rollout_id: int, number: int) -> None:
        step = {"host": f"gateway-{number}", "step": "swap", "result": "succeeded", "digest": "v2"}
        fleet.drain(number, rollout_id=rollout_id)
        fleet.put_back(number, rollout_id=rollout_id, renewal=LockRenewal(rollout_id, steps=[step]))

    killed = fleet.acquire(digest="v2")["rollout_id"]
    plan(killed, "v1", "v1", "v0")
    swapped(killed, 2)
    fleet.query("UPDATE fleet_rollout SET expires_at = clock_timestamp() WHERE finished_at IS NULL")
    resumed = fleet.acquire(digest="v2")["rollout_id"]
    plan(resumed, "v1", "v2", "v0")
    swapped(resumed, 3)
    fleet.release(resumed)
    told = run_module("rollout_info", {**fleet.options, "last": 1})
    [rollout] = told["rollouts"]
    assert rollout["rollout_id"] == resumed
    assert {name: host["before"] for name, host in rollout["hosts"].items()} == {
        "gateway-1": "v1",
        "gateway-2": "v1",
        "gateway-3": "v0",
    }
    named = run_module("rollout_info", {**fleet.options, "rollout_id": resumed})
    assert named["rollouts"][0]["hosts"]["gateway-2"]["before"] == "v1"

    again = fleet.acquire(digest="v2")["rollout_id"]
    plan(again, "v2", "v2", "v2")
    fleet.release(again)
    [rollout] = run_module("rollout_info", {**fleet.options, "last": 1})["rollouts"]
    assert {host["before"] for host in rollout["hosts"].values()} == {"v2"}, "one that had succeeded is over"


def test_a_rollout_that_resumes_a_part_knows_what_the_others_ran(fleet: Fleet) -> None:
    fleet.populate(2)

    def plan(rollout_id: int, host: str) -> None:
        fleet.renew(rollout_id, steps=[{"host": host, "step": "plan", "result": "succeeded", "digest": "v1"}])

    killed = fleet.acquire(digest="v2")["rollout_id"]
    for host in ("gateway-1", "gateway-2"):
        plan(killed, host)
    fleet.query("UPDATE fleet_rollout SET expires_at = clock_timestamp() WHERE finished_at IS NULL")
    resumed = fleet.acquire(digest="v2")["rollout_id"]
    plan(resumed, "gateway-2")
    [rollout] = run_module("rollout_info", {**fleet.options, "rollout_id": resumed})["rollouts"]
    assert rollout["inherited"] == {"gateway-1": "v1"}
