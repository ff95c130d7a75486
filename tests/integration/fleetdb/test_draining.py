# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The drain permit, on a real PostgreSQL."""

from __future__ import annotations

import random
import threading
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from tests.integration.fleetdb.fleets import Fleet
from tests.integration.support import await_true, run_by_ansible, run_module

AGE = "extract(epoch FROM clock_timestamp() - max(last_heartbeat))"


def test_a_follower_is_marked_once_and_put_back(fleet: Fleet) -> None:
    fleet.populate(3)
    first = fleet.drain(3, 2)
    assert first["changed"] and fleet.draining == ["i-3"]
    assert first["in_service"] == ["i-1", "i-2"]
    assert first["diff"]["before"]["i-3"] == {"in_service": True, "draining_since": None}
    assert not fleet.drain(3, 2)["changed"]
    assert fleet.put_back(3)["changed"] and fleet.draining == []
    assert not fleet.put_back(3)["changed"]


def test_check_mode_answers_and_changes_nothing(fleet: Fleet) -> None:
    fleet.populate(3)
    assert fleet.drain(3, 2, check_mode=True)["changed"]
    assert fleet.drain(1, 1, check_mode=True)["refusal"] == "leading"
    assert fleet.draining == []


@pytest.mark.parametrize("least", [1, 2, 3])
def test_of_permits_at_once_no_more_pass_than_may(fleet: Fleet, least: int) -> None:
    fleet.populate(4)
    for seed in range(3):
        fleet.query("UPDATE ec2_launch SET draining_since = NULL")
        ready = threading.Barrier(8)

        def ask(number: int, ready: threading.Barrier = ready) -> bool:
            ready.wait(10)
            return bool(fleet.drain(number, least)["refusal"] is None)

        # Each follower is asked for by several.
        numbers = [2, 3, 4, 2, 3, 4, 2, 3]
        random.Random(seed).shuffle(numbers)
        with ThreadPoolExecutor(8) as pool:
            passed = {number for number, permitted in zip(numbers, pool.map(ask, numbers), strict=True) if permitted}
        assert len(passed) == 4 - least
        assert fleet.draining == sorted(f"i-{number}" for number in passed)


def test_of_permits_at_once_on_older_tables_no_more_pass_than_may(fleet: Fleet) -> None:
    fleet.populate(4)
    fleet.query("DROP TABLE leader_lease CASCADE")
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda number: fleet.drain(number, 2)["refusal"], [2, 3, 4, 4, 3, 2]))
    assert len(fleet.draining) == 2
    assert "too_few" in answers
    assert fleet.drain(1, 0)["refusal"] == "leading"


def test_the_question_waits_for_an_election_and_sees_its_result(fleet: Fleet) -> None:
    """A permit for the old follower that became leader while the permit waited for the lease."""
    fleet.populate(3)
    with psycopg.connect(fleet.conninfo) as election:
        election.execute("SELECT FROM leader_lease FOR UPDATE")
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(fleet.drain, 2, 1)
            fleet.until_blocked()
            election.execute("UPDATE leader_lease SET holder = 'i-2', term = 4")
            election.execute("UPDATE ec2_heartbeat SET is_leader = false")
            election.commit()
            assert asked.result(10)["refusal"] == "leading"
    assert fleet.draining == []


def test_who_became_stale_while_it_waited_does_not_count(fleet: Fleet) -> None:
    fleet.populate(3, age=0)
    with psycopg.connect(fleet.conninfo) as election, ThreadPoolExecutor(1) as pool:
        election.execute("SELECT FROM leader_lease FOR UPDATE")
        asked = pool.submit(fleet.drain, 3, 1, stale_after=1)
        fleet.until_blocked()
        await_true(lambda: fleet.query(f"SELECT 1 FROM ec2_heartbeat HAVING {AGE} > 1.1"), "all are stale")
        election.rollback()
        assert asked.result(10)["refusal"] == "too_few"


def test_who_was_swapped_stays_out_until_it_is_put_back(fleet: Fleet) -> None:
    fleet.populate(3)
    rollout_id = fleet.acquire()["rollout_id"]
    assert fleet.drain(3, 2, rollout_id=rollout_id)["refusal"] is None
    # Its gateway is replaced: the row goes and comes back without the mark.
    fleet.query("DELETE FROM ec2_launch WHERE instance_id = 'i-3'")
    fleet.query("INSERT INTO ec2_launch VALUES ('i-3', NULL, NULL, now(), '2.0', NULL, gen_random_uuid())")
    assert fleet.put_back(3, rollout_id=rollout_id)["refusal"] == "stale"
    fleet.query("INSERT INTO ec2_heartbeat VALUES ('i-3', clock_timestamp(), false)")
    assert fleet.drain(2, 2, rollout_id=rollout_id)["refusal"] == "too_few"
    assert fleet.put_back(3, rollout_id=rollout_id)["changed"]
    assert not fleet.put_back(3, rollout_id=rollout_id)["changed"]
    assert fleet.drain(2, 2, rollout_id=rollout_id)["refusal"] is None


def test_one_that_is_out_and_whose_gateway_is_gone_may_be_worked_on_again(fleet: Fleet) -> None:
    """Its row went with the gateway, and the next rollout has to finish what broke off there."""
    fleet.populate(3)
    rollout_id = fleet.acquire()["rollout_id"]
    assert fleet.drain(3, rollout_id=rollout_id)["refusal"] is None
    fleet.query("DELETE FROM ec2_launch WHERE instance_id = 'i-3'")
    fleet.query("DELETE FROM ec2_heartbeat WHERE instance_id = 'i-3'")
    fleet.release(rollout_id, "failed")
    following = fleet.acquire()["rollout_id"]
    assert fleet.drain(9, rollout_id=following)["refusal"] == "unknown"
    assert fleet.drain(3, 3, rollout_id=following)["refusal"] == "too_few"
    assert fleet.drain(3, 2, rollout_id=following)["refusal"] is None
    assert fleet.put_back(3, rollout_id=following)["refusal"] == "stale"
    fleet.lead(3)
    assert fleet.drain(3, 2, rollout_id=following)["refusal"] == "leading"


def test_a_refusal_is_in_the_journal_and_renews_the_lock(fleet: Fleet) -> None:
    fleet.populate(2)
    rollout_id = fleet.acquire()["rollout_id"]
    fleet.query("UPDATE fleet_rollout SET expires_at = clock_timestamp() + interval '1 s'")
    assert fleet.drain(1, 1, rollout_id=rollout_id)["refusal"] == "leading"
    [(step, result, detail)] = fleet.query("SELECT step, result, detail FROM fleet_rollout_step")
    assert (step, result) == ("permit", "skipped") and "i-1 is the leader" in detail
    [(left,)] = fleet.query("SELECT extract(epoch FROM expires_at - clock_timestamp())::float FROM fleet_rollout")
    assert left > 60


def test_it_waits_for_what_passes_by_itself(fleet: Fleet) -> None:
    fleet.populate(3)
    fleet.query("UPDATE ec2_launch SET draining_since = now() WHERE instance_id = 'i-2'")
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(fleet.drain, 3, 2, wait=10)
        fleet.query("UPDATE ec2_launch SET draining_since = NULL WHERE instance_id = 'i-2'")
        assert asked.result(10)["refusal"] is None
    assert fleet.drain(1, 0, wait=10)["refusal"] == "leading", "no wait helps there"


def test_a_fleet_of_one_is_drained_without_a_mark(fleet: Fleet) -> None:
    fleet.populate(1)
    rollout_id = fleet.acquire()["rollout_id"]
    assert fleet.drain(1, 0, rollout_id=rollout_id)["refusal"] == "leading"
    permitted = fleet.drain(1, 0, rollout_id=rollout_id, alone=True)
    assert permitted["changed"] and permitted["draining_since"] is None and fleet.draining == []
    assert fleet.put_back(1, rollout_id=rollout_id)["changed"]


def test_without_a_place_for_the_mark_the_journal_has_it(fleet: Fleet) -> None:
    fleet.populate(3)
    fleet.query("ALTER TABLE ec2_launch DROP COLUMN draining_since")
    answer = run_module("instance_drain", {**fleet.options, "instance_id": "i-3", "min_in_service": 1})
    assert answer["failed"] and answer["refusal"] is None and "draining_since" in answer["msg"]
    rollout_id = fleet.acquire()["rollout_id"]
    assert fleet.drain(3, 1, rollout_id=rollout_id)["changed"]
    assert not fleet.drain(3, 1, rollout_id=rollout_id)["changed"]
    assert fleet.drain(2, 2, rollout_id=rollout_id)["refusal"] == "too_few"


def test_as_a_module(fleet: Fleet) -> None:
    fleet.populate(3)
    arguments = {**fleet.options, "instance_id": "i-2", "min_in_service": 2}
    would = run_module("instance_drain", arguments, check=True)
    assert would["changed"] and fleet.draining == []
    done = run_module("instance_drain", arguments)
    assert done["changed"] and done["leader"] == "i-1" and done["in_service"] == ["i-1", "i-3"]
    refused = run_module("instance_drain", {**arguments, "instance_id": "i-3"})
    assert refused["failed"] and refused["refusal"] == "too_few"
    assert "1 would be in service (i-1), but 2 are required: i-2 has been draining since" in refused["msg"]
    active = run_module("instance_drain", {**fleet.options, "instance_id": "i-2", "state": "active"})
    assert active["changed"] and active["draining_since"] is None
    code, text = run_by_ansible("instance_drain", arguments, "--diff")
    assert code == 0 and "changed: true" in text and "+" in text and "draining_since" in text
