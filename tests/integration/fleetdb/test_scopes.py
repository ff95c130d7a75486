# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The locks of services beside the fleet's, on a real PostgreSQL: none of them sees another."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from ansible_collections.evenkeel.fleet.plugins.module_utils._fleetdb.errors import FleetError, RefusalError
from ansible_collections.evenkeel.fleet.plugins.module_utils._fleetdb.history import rollouts
from ansible_collections.evenkeel.fleet.plugins.module_utils._fleetdb.rollout_lock import LockRenewal, break_
from ansible_collections.evenkeel.fleet.plugins.module_utils._fleetdb.scope import FLEET, Scope, scope_of
from tests.integration.fleetdb.fleets import STALE, Fleet, database, migrated
from tests.integration.support import run_module

PERMISSIONS, VAULT = Scope("ecs/production/permissions"), Scope("ecs/production/vault")
TABLES = "DROP TABLE scoped_rollout_step, scoped_rollout"


def lock(fleet: Fleet, scope: Scope, **options: Any) -> int:
    return int(fleet.acquire(renewal=LockRenewal(scope=scope), **options)["rollout_id"])


def history(fleet: Fleet, scope: Scope = FLEET, **options: Any) -> dict[str, Any]:
    with database(fleet.conninfo) as connected:
        return rollouts(connected, **{"rollout_id": None, "last": 5, "steps": True, "scope": scope, **options})


def test_deployments_and_a_rollout_at_once(fleet: Fleet) -> None:
    fleet.populate(3)
    deployment = lock(fleet, PERMISSIONS, holder="ci@runner-3", reason="permissions 2.1.0")
    other = lock(fleet, VAULT)
    rollout = fleet.acquire()["rollout_id"]
    assert len({deployment, other, rollout}) == 3, "ids are unique over all scopes"
    with pytest.raises(RefusalError) as caught:
        lock(fleet, PERMISSIONS)
    assert caught.value.refusal == "locked"
    assert caught.value.facts["lock"]["scope"] == "ecs/production/permissions"
    told = caught.value.message
    assert "The service permissions in the cluster production is locked by ci@runner-3 since 2" in told
    assert f"(deployment {deployment}: permissions 2.1.0)" in told
    assert "rollout_lock with state: broken and scope: ecs/production/permissions" in told
    # What the rollout asks is not about them, and their end is not its end.
    assert fleet.drain(3, 1, rollout_id=rollout)["refusal"] is None
    fleet.renew(deployment, scope=PERMISSIONS)
    assert history(fleet)["lock"]["rollout_id"] == rollout
    fleet.release(rollout, "failed")
    assert fleet.drain(2, 1)["refusal"] is None, "no rollout holds the fleet, though two deployments run"
    assert history(fleet, PERMISSIONS)["lock"]["rollout_id"] == deployment


def test_an_id_is_of_one_scope(fleet: Fleet) -> None:
    fleet.populate(1)
    deployment, rollout = lock(fleet, PERMISSIONS), fleet.acquire()["rollout_id"]
    for rollout_id, scope in ((deployment, FLEET), (deployment, VAULT), (rollout, PERMISSIONS)):
        with pytest.raises(RefusalError) as caught:
            fleet.renew(rollout_id, scope=scope)
        assert caught.value.refusal == "lost"
    assert history(fleet, PERMISSIONS)["lock"]["result"] is None


def test_the_journal_of_a_scope_has_nothing_of_another(fleet: Fleet) -> None:
    fleet.populate(2)
    dead = fleet.acquire()["rollout_id"]
    assert fleet.drain(2, 1, rollout_id=dead)["refusal"] is None
    fleet.release(dead, "failed")
    for number in range(25):
        deployment = lock(fleet, PERMISSIONS, digest=f"permissions:{number}")
        steps = [
            {"host": "permissions", "step": "plan", "result": "succeeded", "digest": f"permissions:{number - 1}"},
            {"host": "permissions", "step": "deploy", "result": "succeeded", "digest": f"permissions:{number}"},
        ]
        fleet.renew(deployment, scope=PERMISSIONS, steps=steps)
        with database(fleet.conninfo) as connected:
            broken = break_(
                connected,
                rollout_id=None,
                by="ann@desk",
                reason="test",
                stale_after=STALE,
                check_mode=False,
                scope=PERMISSIONS,
            )
        assert (broken["changed"], broken["interrupted"]) == (True, [])
    told = history(fleet, last=30)
    assert [one["rollout_id"] for one in told["rollouts"]] == [dead]
    assert [one["host"] for one in told["interrupted"]] == ["gateway-2"], "many deployments later it is known"
    assert fleet.acquire()["interrupted"] == told["interrupted"]
    of_service = history(fleet, PERMISSIONS, last=3)
    assert (of_service["lock"], of_service["interrupted"], len(of_service["rollouts"])) == (None, [], 3)
    newest = of_service["rollouts"][0]["hosts"]["permissions"]
    assert (newest["before"], newest["after"]) == ("permissions:23", "permissions:24")
    assert history(fleet, VAULT)["rollouts"] == []
    assert history(fleet, rollout_id=deployment)["rollouts"] == []


def test_a_dead_deployers_lock_expires_and_is_taken_over(fleet: Fleet) -> None:
    dead = lock(fleet, PERMISSIONS, holder="ci@dead")
    fleet.query("UPDATE scoped_rollout SET expires_at = clock_timestamp()")
    taken = fleet.acquire(renewal=LockRenewal(scope=PERMISSIONS))
    assert (taken["took_over"]["rollout_id"], taken["took_over"]["holder"]) == (dead, "ci@dead")
    with pytest.raises(RefusalError, match=rf"Deployment {dead} ended as abandoned.*start a new deployment"):
        fleet.renew(dead, scope=PERMISSIONS)


def test_of_many_at_once_one_gets_each_scope(fleet: Fleet) -> None:
    """Also where the tables must be made first, as with gateways of before the scopes."""
    fleet.query(TABLES)

    def attempt(number: int) -> str:
        scope = (PERMISSIONS, VAULT)[number % 2]
        try:
            lock(fleet, scope)
        except RefusalError as error:
            return f"{scope.name} {error.refusal}"
        return f"{scope.name} held"

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(attempt, range(8)))
    for scope in (PERMISSIONS, VAULT):
        assert (found.count(f"{scope.name} held"), found.count(f"{scope.name} locked")) == (1, 3)


def test_gateways_of_before_the_scopes(fleet: Fleet) -> None:
    """Their database works as it did, and gets what it lacks with the first deployment."""
    fleet.populate(1)
    fleet.query(TABLES)
    fleet.release(fleet.acquire()["rollout_id"])
    assert history(fleet, PERMISSIONS) == {"lock": None, "rollouts": [], "interrupted": []}
    with pytest.raises(FleetError, match="no table scoped_rollout: no deployment ever ran on it"):
        fleet.renew(1, scope=PERMISSIONS)
    deployment = lock(fleet, PERMISSIONS)
    fleet.query("DELETE FROM gateway_migration WHERE version > 2")
    migrated(fleet.conninfo)
    fleet.renew(deployment, scope=PERMISSIONS)


def test_a_database_without_gateways_is_enough_for_deployments(empty: str) -> None:
    fleet = Fleet(empty)
    deployment = lock(fleet, PERMISSIONS)
    with pytest.raises(RefusalError, match="is locked by"):
        lock(fleet, PERMISSIONS)
    with database(empty) as connected, pytest.raises(FleetError, match="no tables ec2_launch"):
        break_(connected, rollout_id=None, by="ann", reason="test", stale_after=STALE, check_mode=False)
    fleet.renew(deployment, scope=PERMISSIONS)


def test_the_modules_take_the_scope(fleet: Fleet) -> None:
    arn = "ecs/arn:aws:ecs:eu-central-1:123456789012:cluster/production/permissions"
    wanted = {**fleet.options, "scope": arn}
    would = run_module("rollout_lock", {**wanted, "state": "acquired", "reason": "test"}, check=True)
    assert (would["changed"], would["rollout_id"]) == (True, None), would
    taken = run_module("rollout_lock", {**wanted, "state": "acquired", "reason": "test"})
    assert taken["lock"]["scope"] == PERMISSIONS.name
    known = run_module("rollout_info", {**fleet.options, "scope": PERMISSIONS.name})
    assert known["lock"]["rollout_id"] == taken["rollout_id"]
    refused = run_module("rollout_lock", {**wanted, "state": "broken", "reason": "test", "scope": "ecs/permissions"})
    assert refused["failed"] and "'ecs/permissions' is no scope. Use fleet, ecs/<cluster>/<service>" in refused["msg"]
    broken = run_module("rollout_lock", {**wanted, "state": "broken", "reason": "test"})
    assert broken["rollout_id"] == taken["rollout_id"]


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("fleet", "fleet"),
        ("ecs/default/api", "ecs/default/api"),
        ("ecs/arn:aws-cn:ecs:cn-north-1:1:cluster/production/api", "ecs/production/api"),
        ("kubernetes/shop/api", "kubernetes/shop/api"),
        *((wrong, "") for wrong in ("", "Fleet", "ecs", "ecs/a", "ecs//b", "ecs/a/b/c", "nomad/a/b", "ecs/a b/c")),
    ],
)
def test_names_of_scopes(given: str, name: str) -> None:
    if name:
        assert scope_of(given).name == name
    else:
        with pytest.raises(FleetError, match="is no scope"):
            scope_of(given)
