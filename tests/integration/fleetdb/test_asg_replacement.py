# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""replace_fleet.yml on an Auto Scaling group whose instances are real elections."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.aws.asg import Group, Scaled
from tests.integration.fleetdb.fleets import Fleet
from tests.integration.fleetdb.machines import Machines, Run, elections_as_instances, leader, results, way_to


@pytest.fixture(scope="module")
def aws() -> Iterator[Scaled]:
    with elections_as_instances() as scaled:
        yield scaled


@pytest.fixture
def three(aws: Scaled, fleet: Fleet, tmp_path: Path) -> Iterator[tuple[Group, Machines, Callable[..., Run]]]:
    aws.endpoint.at_its_best()
    aws.refreshes.step = 1.0
    group = aws.group(3)
    with Machines(group, fleet, tmp_path) as machines:

        def run(*options: str, **more: Any) -> Run:
            variables = {
                "fleet_replacement_group": group.name,
                "fleet_replacement_launch_template": {"name": group.template_name, "version": "$Latest"},
                "fleet_replacement_database": {"conninfo": fleet.conninfo},
                "fleet_replacement_aws": way_to(aws),
                "fleet_replacement_checkpoints": [30, 100],
                "fleet_replacement_checkpoint_seconds": 2,
                "fleet_replacement_timeout": 300,
                **more,
            }
            return Run("replace_fleet", "localhost,", variables, *options)

        yield group, machines, run


def protected(group: Group) -> list[str]:
    return [item["InstanceId"] for item in group.described["Instances"] if item["ProtectedFromScaleIn"]]


def test_all_are_replaced_and_the_leader_last(three: Any, fleet: Fleet) -> None:
    group, machines, run = three
    old = group.versions
    first, term = leader(fleet)

    said = run("--check").ended()
    assert "3 of 3 instances are to be replaced" in said and f"{first} leads, and comes last." in said
    assert (group.versions, protected(group), group.refreshes) == (old, [], [])

    # The controller is killed in the middle: its lock is released, AWS goes on, and the next run joins it.
    killed = run(fleet_replacement_checkpoint_seconds=8)
    killed.until(lambda: "2" in group.versions.values(), "one is replaced")
    killed.process.kill()
    killed.process.wait()
    assert protected(group) == [first]
    said = run(fleet_replacement_lock_wait=60).ended()
    assert "Successful, 100 % complete, 0 to update" in said
    assert len(group.refreshes) == 2
    assert set(group.versions.values()) == {"2"} and not set(group.versions) & set(old)
    assert (machines.gone[-1], sorted(machines.gone)) == (first, sorted(old))
    now, last_term = leader(fleet)
    # Led once by another one: none led by chance in between.
    assert now in group.versions and last_term == term + 1
    assert protected(group) == []
    assert results(fleet) == ["failed", "succeeded"]

    said = run().ended()
    assert "0 of 3 instances are to be replaced" in said and "changed=" in said
    assert len(group.refreshes) == 2


def test_what_is_refused_or_fails_leaves_nothing_behind(three: Any, fleet: Fleet, aws: Scaled) -> None:
    group, _, run = three
    theirs = fleet.acquire(holder="ci@runner-3", reason="gateway 1.4.0")["rollout_id"]
    assert "locked by ci@runner-3" in run().ended(2)
    assert (group.refreshes, protected(group)) == ([], [])
    fleet.release(theirs)

    reason = "The new instances do not become healthy."
    aws.refreshes.failing[group.name] = (1, reason)
    said = run(fleet_replacement_auto_rollback=False).ended(2)
    ending = said.partition("TASK [evenkeel.fleet.fleet_replacement : Show what failed]")[2]
    assert f"The instance refresh of {group.name} did not end as requested" in ending and reason.rstrip(".") in ending
    assert sorted(group.versions.values()) == ["1", "1", "2"]
    assert (protected(group), results(fleet)) == ([], ["succeeded", "failed"])


def test_who_may_not_protect_the_leader_replaces_nobody(three: Any, fleet: Fleet, aws: Scaled) -> None:
    group, _, run = three
    aws.endpoint.faults.denied["autoscaling:SetInstanceProtection"] = ""
    said = run().ended(2)
    assert "not authorized to perform: autoscaling:SetInstanceProtection" in said
    assert (group.refreshes, protected(group), results(fleet)) == ([], [], ["failed"])
    aws.endpoint.faults.forget()
    expired = {**way_to(aws), "access_key": "AKIAEXPIRED"}
    assert "expired" in run(fleet_replacement_aws=expired).ended(2)
    assert (group.refreshes, protected(group)) == ([], [])


@pytest.mark.parametrize(
    ("on_failure", "ending", "left"),
    [
        ("rollback", "RollbackSuccessful", ["1", "1", "1"]),
        pytest.param("cancel", "Cancelled", ["1", "1", "2"], marks=pytest.mark.weekly),
    ],
)
def test_nobody_is_replaced_while_nobody_leads(
    three: Any, fleet: Fleet, on_failure: str, ending: str, left: list[str]
) -> None:
    group, machines, run = three
    running = run(
        fleet_replacement_handover_timeout=1,
        fleet_replacement_checkpoint_seconds=3600,
        fleet_replacement_look_seconds=2,
        fleet_replacement_on_failure=on_failure,
    )
    running.until(lambda: "2" in group.versions.values(), "one is replaced")
    machines.kill()
    said = running.ended(2)
    assert "msg: 'The leader is in doubt: no instance leads: " in said and f"The instance refresh: {ending}." in said
    assert sorted(group.versions.values()) == left
    assert (protected(group), results(fleet)) == ([], ["failed"])
