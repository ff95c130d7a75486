# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Handovers among real elections on a real PostgreSQL."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from support.instances import Process

from ansible_collections.evenkeel.fleet.plugins.module_utils._fleetdb.errors import FleetError, RefusalError
from ansible_collections.evenkeel.fleet.plugins.module_utils._fleetdb.handover import HandoverRequest, hand_over
from ansible_collections.evenkeel.fleet.plugins.module_utils._fleetdb.rollout_lock import LockRenewal
from tests.integration.fleetdb.fleets import Fleet, database
from tests.integration.support import await_true, run_by_ansible, run_module, start_module

Gateways = Callable[[int], "list[Process]"]


def hand(fleet: Fleet, conninfo: str | None = None, **options: Any) -> dict[str, Any]:
    """To an instance that a busy machine may keep from its heartbeats for a moment."""
    renewal = options.pop("renewal", LockRenewal())
    timeout = options.pop("timeout", 10)
    request = HandoverRequest(options.pop("by", "me@desk"), "test", **options)
    given_up = time.monotonic() + timeout
    while True:
        try:
            with database(conninfo or fleet.conninfo) as connected:
                return hand_over(connected, request, timeout=timeout, renewal=renewal, stale_after=2, check_mode=False)
        except RefusalError as error:
            if error.refusal not in ("stale", "unknown") or time.monotonic() > given_up:
                raise


def leading(fleet: Fleet) -> list[Any]:
    return fleet.query("SELECT holder FROM leader_lease WHERE expires_at > clock_timestamp()")


def test_back_and_forth_with_short_gaps(fleet: Fleet, gateways: Gateways, pooled: str) -> None:
    gateways(3)
    await_true(lambda: leading(fleet) == [("i-1",)], "the first leads")
    chance = random.Random(7)
    old, term = "i-1", 1
    for way in [fleet.conninfo, pooled] * 4:
        target = chance.choice([name for name in ("i-1", "i-2", "i-3") if name != old])
        done = hand(fleet, way, target=target)
        assert (done["changed"], done["old"], done["new"]) == (True, old, target)
        assert done["term"] == term + 1 and done["old_term"] == term
        assert 0 <= done["gap"] < 1
        old, term = target, done["term"]
    again = hand(fleet, target=old)
    assert not again["changed"] and again["gap"] == 0
    assert fleet.query("SELECT requested_holder FROM leader_lease") == [(None,)]


def test_to_one_that_is_updated_and_no_second_time(fleet: Fleet, gateways: Gateways) -> None:
    gateways(4)
    await_true(lambda: leading(fleet) == [("i-1",)], "the first leads")
    fleet.query("UPDATE ec2_launch SET draining_since = now() WHERE instance_id = 'i-2'")
    among = ["i-2", "i-3", "i-4"]
    assert hand(fleet, among=among)["new"] == "i-3"
    assert not hand(fleet, among=among)["changed"]
    with pytest.raises(RefusalError, match=r"with version 9") as caught:
        hand(fleet, version="9", timeout=0)
    assert caught.value.refusal == "no_candidate"


def test_refusals_change_nothing(fleet: Fleet) -> None:
    fleet.populate(4)
    fleet.query("UPDATE ec2_launch SET draining_since = now() WHERE instance_id = 'i-2'")
    fleet.query("UPDATE ec2_heartbeat SET last_heartbeat = now() - interval '1 min' WHERE instance_id = 'i-3'")
    for target, code in (("i-2", "draining"), ("i-3", "stale"), ("i-9", "unknown")):
        answer = run_module("leader_handover", {**fleet.options, "target": target, "timeout": 0})
        assert answer["failed"] and answer["refusal"] == code and target in answer["msg"]
    fleet.query(
        "UPDATE leader_lease SET requested_holder = 'i-4', requested_by = 'somebody@else', reason = 'because',"
        " request_expires_at = now() + interval '1 min'"
    )
    pending = run_module("leader_handover", {**fleet.options, "target": "i-4", "timeout": 0})
    assert pending["refusal"] == "pending" and "somebody@else: because" in pending["msg"]
    assert fleet.query("SELECT requested_by FROM leader_lease") == [("somebody@else",)]
    fleet.query(
        "UPDATE leader_lease SET requested_holder = NULL, request_expires_at = NULL, holder = NULL, expires_at = NULL"
    )
    assert run_module("leader_handover", {**fleet.options, "target": "i-4", "timeout": 0})["refusal"] == "no_leader"
    fleet.lead(1)
    fleet.acquire()
    assert run_module("leader_handover", {**fleet.options, "target": "i-4", "timeout": 0})["refusal"] == "locked"
    fleet.query("DROP TABLE leader_lease CASCADE")
    answer = run_module("leader_handover", {**fleet.options, "target": "i-4"})
    assert answer["failed"] and answer["refusal"] is None and "no table leader_lease" in answer["msg"]


def test_gateways_that_do_not_react(fleet: Fleet) -> None:
    """No leader is there to resign: the time runs out, and the request is taken back."""
    fleet.populate(2)
    started = time.monotonic()
    rollout_id = fleet.acquire()["rollout_id"]
    arguments = {**fleet.options, "target": "i-2", "timeout": 1, "rollout_id": rollout_id}
    answer = run_module("leader_handover", arguments)
    assert answer["failed"] and "the request was withdrawn" in answer["msg"]
    assert fleet.query("SELECT step, result FROM fleet_rollout_step") == [("handover", "failed")]
    assert (answer["leader"], answer["term"]) == ("i-1", 3)
    assert time.monotonic() - started < 6
    assert fleet.query("SELECT requested_holder, requested_by, request_expires_at FROM leader_lease") == [(None,) * 3]


def test_a_target_that_dies_meanwhile(fleet: Fleet, gateways: Gateways) -> None:
    """Its heartbeat is fresh, and it is frozen: another one leads soon, and the call says so."""
    running = gateways(3)
    await_true(lambda: leading(fleet) == [("i-1",)], "the first leads")
    running[1].signal(signal.SIGSTOP)
    with pytest.raises(FleetError, match=r"was not handed over from i-1 \(term 1\) to i-2") as caught:
        hand(fleet, target="i-2", timeout=8)
    assert caught.value.facts["leader"] in ("i-1", "i-3") or caught.value.facts["leader"] is None
    await_true(lambda: leading(fleet) and leading(fleet) != [("i-2",)], "a living one leads")
    running[1].signal(signal.SIGCONT)


def test_a_controller_that_is_killed_leaves_nothing_behind(fleet: Fleet) -> None:
    fleet.populate(2)
    call = start_module("leader_handover", {**fleet.options, "target": "i-2", "timeout": 2})
    asked = "SELECT requested_by FROM leader_lease WHERE requested_holder = 'i-2'"
    await_true(lambda: fleet.query(asked), "it is asked")
    call.process.kill()
    call.process.communicate()
    over = "SELECT FROM leader_lease WHERE request_expires_at <= clock_timestamp()"
    await_true(lambda: fleet.query(f"SELECT EXISTS ({over})") == [(True,)], "the request has ended")


def test_drain_and_handover_at_once_never_drain_the_leader(fleet: Fleet, gateways: Gateways) -> None:
    """The target is being drained by another call: one of the two is refused, whichever comes first."""
    gateways(3)
    await_true(lambda: leading(fleet) == [("i-1",)], "the first leads")
    chance = random.Random(11)
    for target in (2, 3, 2, 3, 2, 3):
        barrier = threading.Barrier(2)
        delay = chance.choice((0, 0.02, 0.3))

        def drained(target: int = target, barrier: threading.Barrier = barrier, delay: float = delay) -> Any:
            barrier.wait(10)
            time.sleep(delay)
            return fleet.drain(target, 1, stale_after=2)["refusal"]

        def handed(target: int = target, barrier: threading.Barrier = barrier) -> Any:
            barrier.wait(10)
            try:
                return hand(fleet, target=f"i-{target}", timeout=5)["new"]
            except FleetError:
                return None

        with ThreadPoolExecutor(2) as pool:
            drain, handover = pool.submit(drained), pool.submit(handed)
            results = drain.result(20), handover.result(20)
        [(draining_leader,)] = fleet.query(
            "SELECT count(*) FROM ec2_launch JOIN leader_lease ON holder = instance_id"
            " WHERE draining_since IS NOT NULL AND expires_at > clock_timestamp()"
        )
        assert draining_leader == 0, results
        fleet.query("UPDATE ec2_launch SET draining_since = NULL")
        await_true(lambda: len(leading(fleet)) == 1, "an instance leads")
    hand(fleet, target="i-2")
    assert fleet.drain(2, 1, stale_after=2)["refusal"] == "leading"


def test_as_a_step_of_a_rollout(fleet: Fleet, gateways: Gateways) -> None:
    gateways(2)
    await_true(lambda: leading(fleet) == [("i-1",)], "the first leads")
    rollout_id = fleet.acquire(stale_after=2)["rollout_id"]
    arguments = {**fleet.options, "rollout_id": rollout_id, "among": ["i-2"], "stale_after": 2, "timeout": 10}
    would = run_module("leader_handover", arguments, check=True)
    assert would["changed"] and would["new"] == "i-2" and leading(fleet) == [("i-1",)]
    code, text = run_by_ansible("leader_handover", arguments, "--diff")
    assert code == 0 and "+    leader: i-2" in text, text
    assert leading(fleet) == [("i-2",)]
    [step] = run_module("rollout_info", fleet.options)["rollouts"][0]["steps"]
    assert (step["step"], step["host"], step["instance_id"]) == ("handover", "*", "i-2")
    assert "i-1 → i-2, term 1 → 2, gap 0" in step["detail"]
