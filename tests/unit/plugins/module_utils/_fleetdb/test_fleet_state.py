# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from itertools import product
from typing import Any

import pytest

from ansible_collections.evenkeel.fleet.plugins.module_utils._fleetdb.fleet_state import (
    FleetState,
    GatewayInstance,
    Lease,
    OutOfService,
    Refusal,
    doubts,
    permit,
    successor,
)
from ansible_collections.evenkeel.fleet.plugins.module_utils._fleetdb.rollout_record import RolloutRecord

NOW = datetime(2026, 5, 4, 12, tzinfo=timezone.utc)
ROLLOUT = RolloutRecord(7, "ci@runner", "1.4.0", None, NOW, NOW + timedelta(seconds=60))


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def instance(number: int, **changes: Any) -> GatewayInstance:
    """A lower number is an older one."""
    one = GatewayInstance(f"i-{number}", ago(1000 - number), version="1", last_heartbeat=ago(2))
    return replace(one, **changes)


def fleet(*instances: GatewayInstance, holder: str | None = "i-1", left: float = 10, **changes: Any) -> FleetState:
    expires_at = NOW + timedelta(seconds=left) if holder else None
    shown = [replace(one, is_leader=one.instance_id == holder and left > 0) for one in instances]
    return replace(FleetState(NOW, shown, Lease(holder, 3, expires_at=expires_at)), **changes)


def refused(
    one: FleetState, instance_id: str, *, least: int = 1, rollout_id: int | None = None, alone: bool = False
) -> Any:
    refusal = permit(one, instance_id, min_in_service=least, rollout_id=rollout_id, alone=alone)
    return refusal.code if refusal else None


THREE = (instance(1), instance(2), instance(3))


@pytest.mark.parametrize(
    ("instance_id", "least", "code"),
    [("i-2", 2, None), ("i-2", 3, "too_few"), ("i-1", 0, "leading"), ("i-9", 0, "unknown")],
)
def test_the_permit(instance_id: str, least: int, code: str | None) -> None:
    assert refused(fleet(*THREE), instance_id, least=least) == code


@pytest.mark.parametrize(
    "absent",
    [
        instance(3, last_heartbeat=None),
        instance(3, last_heartbeat=ago(15.1)),
        instance(3, last_heartbeat=NOW + timedelta(hours=1)),
        instance(3, draining_since=ago(1)),
    ],
)
def test_others_that_do_not_count(absent: GatewayInstance) -> None:
    assert refused(fleet(*THREE[:2], absent), "i-2", least=2) == "too_few"


def test_who_is_out_by_the_journal_does_not_count_though_it_has_a_new_row() -> None:
    out = {"i-3": OutOfService("i-3", "gateway-c", 7, ago(30))}
    assert refused(fleet(*THREE, out=out), "i-2", least=2) == "too_few"


@pytest.mark.parametrize(("holder", "left"), [(None, 0), ("i-9", -1), ("i-3", -1)])
def test_nothing_is_drained_while_nobody_leads(holder: str | None, left: float) -> None:
    assert refused(fleet(*THREE, holder=holder, left=left), "i-2", least=0) == "no_leader"


def test_whoever_may_lead_counts_as_leading() -> None:
    expired = fleet(*THREE, holder="i-2", left=-1)
    assert refused(expired, "i-2", least=0) == "leading"
    marked = fleet(instance(1), instance(2), holder="i-1")
    marked = replace(marked, instances=[marked.instances[0], replace(marked.instances[1], is_leader=True)])
    assert refused(marked, "i-2", least=0) == "leading"


def test_another_rollout_holds_the_fleet_until_its_lock_expires() -> None:
    held = fleet(*THREE, rollout=ROLLOUT)
    assert refused(held, "i-2") == "locked"
    assert refused(held, "i-2", rollout_id=7) is None
    expired = replace(ROLLOUT, expires_at=ago(0.1))
    assert refused(replace(held, rollout=expired), "i-2") is None


def test_a_fleet_of_one() -> None:
    one = fleet(instance(1))
    assert refused(one, "i-1", least=0) == "leading"
    assert refused(one, "i-1", least=0, alone=True) is None
    assert refused(one, "i-1", least=1, alone=True) == "too_few"
    assert refused(fleet(instance(1), instance(2)), "i-1", least=0, alone=True) == "leading"


def test_in_any_fleet_only_what_may_be_drained_is() -> None:
    late, draining = {"last_heartbeat": ago(99)}, {"draining_since": ago(5)}
    states: tuple[dict[str, Any], ...] = ({}, late, draining, {"last_heartbeat": None})
    for changes in product(states, repeat=3):
        members = [instance(number, **change) for number, change in enumerate(changes, 1)]
        for holder, left, least in product((None, "i-1", "i-2"), (-1.0, 10.0), range(4)):
            one = fleet(*members, holder=holder, left=left)
            for target in ("i-1", "i-2", "i-3"):
                healthy = [m for m, change in zip(members, changes) if not change and m.instance_id != target]
                if refused(one, target, least=least) is None:
                    assert holder is not None and left > 0, "no instance led"
                    assert holder != target, "it led"
                    assert len(healthy) >= least
                elif holder not in (None, target) and left > 0:
                    assert len(healthy) < least, "refused for nothing"


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (fleet(*THREE), []),
        (fleet(*THREE, holder=None), ["no instance leads"]),
        (fleet(*THREE, left=-1), ["no instance leads: the lease of i-1 has expired"]),
        (
            fleet(*THREE, holder="i-9"),
            ["i-9 holds the lease, but no instance is marked as the leader", "i-9 holds the"],
        ),
        (
            fleet(instance(1, last_heartbeat=ago(20)), instance(2)),
            ["i-1 leads and has no fresh heartbeat: the last one is"],
        ),
        (FleetState(NOW, THREE), ["no instance is marked as the leader"]),
        (FleetState(NOW, [replace(THREE[0], is_leader=True)]), []),
        (FleetState(NOW, [replace(one, is_leader=True) for one in THREE[:2]]), ["i-1 and i-2 are all marked"]),
        (
            FleetState(NOW, [instance(1, is_leader=True, last_heartbeat=ago(60))]),
            ["i-1 leads and has no fresh heartbeat"],
        ),
        (
            FleetState(NOW, THREE, Lease("i-1", 3, expires_at=NOW + timedelta(1))),
            ["no instance is marked as the leader"],
        ),
    ],
)
def test_doubts(one: FleetState, words: list[str]) -> None:
    found = doubts(one)
    assert len(found) == len(words)
    assert all(word in text for word, text in zip(words, found))


def test_two_marks_on_older_tables_are_no_leader() -> None:
    assert FleetState(NOW, [replace(one, is_leader=True) for one in THREE[:2]]).leader is None


@pytest.mark.parametrize(
    ("wish", "chosen", "code"),
    [
        ({}, "i-2", None),
        ({"target": "i-3"}, "i-3", None),
        ({"target": "i-1"}, "i-1", None),
        ({"target": "i-9"}, None, "unknown"),
        ({"target": "i-4"}, None, "draining"),
        ({"target": "i-5"}, None, "stale"),
        ({"among": ["i-3", "i-4"]}, "i-3", None),
        ({"among": ["i-4", "i-5"]}, None, "no_candidate"),
        ({"among": []}, None, "no_candidate"),
        ({"among": ["i-1", "i-2"]}, "i-1", None),
        ({"version": "2"}, "i-3", None),
        ({"version": "3"}, None, "no_candidate"),
        ({"version": "1", "among": ["i-2", "i-3"]}, "i-2", None),
    ],
)
def test_who_shall_lead(wish: dict[str, Any], chosen: str | None, code: str | None) -> None:
    gone = (instance(4, draining_since=ago(5), version="2"), instance(5, last_heartbeat=ago(99)))
    one = fleet(*THREE[:2], instance(3, version="2"), *gone)
    found = successor(one, **{"target": None, "among": None, "version": None, **wish})
    assert (found.code if isinstance(found, Refusal) else found) == (code or chosen)


def test_nobody_hands_over() -> None:
    found = successor(fleet(*THREE, holder=None), target="i-2", among=None, version=None)
    assert isinstance(found, Refusal) and found.code == "no_leader"
