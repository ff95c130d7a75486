# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""asg_refresh and asg_refresh_info, against moto with slow instance refreshes."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from types import ModuleType
from typing import Any
from unittest import mock

import pytest

from ansible_collections.evenkeel.fleet.plugins.module_utils._aws import client
from ansible_collections.evenkeel.fleet.plugins.modules import asg_refresh, asg_refresh_info
from ansible_collections.evenkeel.fleet.plugins.plugin_utils._on_controller import InProcessModule, ModuleExit
from tests.integration.aws.asg import Group, Scaled, scaled
from tests.integration.endpoint import REGION
from tests.integration.support import await_true, run_by_ansible, start_module

SECRET = "wJalrXUtnFEMI-planted"


@pytest.fixture(scope="module")
def served() -> Iterator[Scaled]:
    endpoint, refreshes = scaled()
    with endpoint:
        yield Scaled(endpoint, refreshes)


@pytest.fixture(scope="module", autouse=True)
def clients() -> Iterator[None]:
    """Those that modules make, once for each way to make them: that costs more than all else here."""
    made: dict[str, Any] = {}
    make = client.client

    def kept(module: Any, service: str) -> Any:
        way = str([service, *(module.params[name] for name in client.ARGUMENTS)])
        if way not in made:
            made[way] = make(module, service)
        return made[way]

    with mock.patch.object(client, "client", kept):
        yield


@pytest.fixture
def aws(served: Scaled) -> Scaled:
    served.endpoint.at_its_best()
    served.refreshes.step = 0.15
    served.refreshes.failing.clear()
    return served


def arguments(aws: Scaled, group: str, **more: Any) -> dict[str, Any]:
    return {
        "group": group,
        "region": REGION,
        "endpoint_url": aws.endpoint.url,
        "access_key": "AKIATEST",
        "secret_key": SECRET,
        **more,
    }


def call(aws: Scaled, group: Group, version: str | None = "2", *, check: bool = False, **more: Any) -> dict[str, Any]:
    wanted = {"launch_template": {"id": group.template, "version": version}} if version else {}
    return run(asg_refresh, arguments(aws, group.name, **{**wanted, **more}), check)


def info(aws: Scaled, group: Group, **more: Any) -> dict[str, Any]:
    return run(asg_refresh_info, arguments(aws, group.name, **more))


def run(module: ModuleType, wanted: dict[str, Any], check: bool = False) -> dict[str, Any]:
    """In this process, which has loaded boto3 already."""

    def make(**specification: Any) -> InProcessModule:
        return InProcessModule(module.__name__, wanted, specification, check)

    with pytest.raises(ModuleExit) as ended:
        module.main(make)
    assert SECRET not in str(ended.value.result)
    return {"failed": False, **ended.value.result}


def test_what_is_not_of_the_wanted_version_is_replaced(aws: Scaled) -> None:
    group = aws.group(3)
    before = group.versions
    knobs: dict[str, Any] = {
        "min_healthy_percentage": 90,
        "max_healthy_percentage": 120,
        "instance_warmup": 5,
        "checkpoints": [30, 100],
        "checkpoint_delay": 1,
        "bake_time": 1,
        "alarms": ["gateways-5xx"],
        "auto_rollback": True,
        "scale_in_protected": "refresh",
        "standby": "terminate",
    }
    template = {"name": group.template_name, "version": "$Latest"}

    expected = call(aws, group, None, check=True, launch_template=template, **knobs)
    assert (expected["failed"], expected["changed"], sorted(expected["replaces"])) == (False, True, sorted(before))
    assert (group.versions, group.refreshes) == (before, [])
    assert set(expected["diff"]["after"].values()) == {f"replaced by one of {group.template_name}, version 2"}

    result = call(aws, group, None, launch_template=template, **knobs)
    assert (result["failed"], result["changed"], result["joined"]) == (False, True, False)
    assert sorted(result["replaces"]) == sorted(expected["replaces"])
    assert not set(group.versions) & set(before) and set(group.versions.values()) == {"2"}
    assert all(item["matches"] for item in result["instances"]) and len(result["instances"]) == 3
    assert group.described["LaunchTemplate"]["Version"] == "2"
    [told] = group.refreshes
    # The version by its number, so that all become the same and a way back exists.
    assert told["DesiredConfiguration"] == {"LaunchTemplate": {"LaunchTemplateId": group.template, "Version": "2"}}
    assert told["Preferences"] == {
        "MinHealthyPercentage": 90,
        "MaxHealthyPercentage": 120,
        "InstanceWarmup": 5,
        "CheckpointPercentages": [30, 100],
        "CheckpointDelay": 1,
        "BakeTime": 1,
        "SkipMatching": True,
        "AutoRollback": True,
        "ScaleInProtectedInstances": "Refresh",
        "StandbyInstances": "Terminate",
        "AlarmSpecification": {"Alarms": ["gateways-5xx"]},
    }
    lines = [line.partition(" s: ")[2] for line in result["progress"]]
    assert lines[0] == "Pending, 0 % complete, 3 to update"
    assert lines[-2:] == ["Baking, 100 % complete, 0 to update", "Successful, 100 % complete, 0 to update"]
    assert "InProgress, 33 % complete, 2 to update" in lines
    assert result["seconds"] > 2

    again = call(aws, group, None, launch_template=template, **knobs)
    assert (again["failed"], again["changed"], again["replaces"]) == (False, False, [])
    assert len(group.refreshes) == 1
    forced = call(aws, group, "2", check=True, skip_matching=False)
    assert (forced["changed"], len(forced["replaces"])) == (True, 3)


def test_who_is_killed_while_waiting_loses_nothing(aws: Scaled) -> None:
    aws.refreshes.step = 0.6
    group = aws.group(3)
    wanted = {"launch_template": {"id": group.template, "version": "2"}}
    running = start_module("asg_refresh", arguments(aws, group.name, **wanted))
    await_true(lambda: group.refreshes, "it was started")
    running.process.send_signal(signal.SIGKILL)
    running.process.wait()

    seen = info(aws, group)
    assert seen["active"]["status"] in ("Pending", "InProgress")
    assert seen["refreshes"] == [seen["active"]]
    result = call(aws, group, bake_time=600)
    assert (result["failed"], result["changed"], result["joined"]) == (False, True, True)
    assert "was started with other preferences (BakeTime)" in str(result["warnings"])
    assert set(group.versions.values()) == {"2"}
    assert len(group.refreshes) == 1


def test_another_one_is_in_the_way(aws: Scaled) -> None:
    aws.refreshes.step = 60
    group = aws.group(2)
    theirs = group.start("2")
    for check in (True, False):
        result = call(aws, group, "1", skip_matching=False, check=check)
        assert (result["failed"], result["changed"]) == (True, False)
        assert f"another instance refresh of {group.name} is running, {theirs} (to " in result["msg"]
        assert ", version 2) since 20" in result["msg"]
        assert ": Pending, 0 % complete, 2 to update" in result["msg"]
    own = call(aws, group, None, skip_matching=False)
    assert "another instance refresh" in own["msg"]
    assert len(group.refreshes) == 1


def test_the_time_is_over_and_it_goes_on(aws: Scaled) -> None:
    group = aws.group(2)
    halves: dict[str, Any] = {"checkpoints": [50, 100], "checkpoint_delay": 3600}
    part = call(aws, group, wait_percentage=50, **halves)
    assert (part["failed"], part["changed"], part["refresh"]["percentage_complete"]) == (False, True, 50)
    result = call(aws, group, wait_timeout=0.2, **halves)
    assert (result["failed"], result["changed"], result["joined"]) == (True, True, True)
    assert "Not ended within 0.2 s, and it goes on: " in result["msg"]
    known = result["refresh"]["id"]
    early = call(aws, group, None, state="awaited", wait_timeout=0, on_timeout="report")
    assert (early["failed"], early["changed"], early["refresh"]["status"]) == (False, False, "InProgress")
    aws.refreshes.refreshes[-1].due = 0  # the checkpoint's hour is over
    end = call(aws, group, None, state="awaited", refresh_id=known)
    assert (end["failed"], end["refresh"]["status"]) == (False, "Successful")
    assert call(aws, group, None, state="awaited")["refresh"] is None


@pytest.mark.parametrize(("auto_rollback", "status"), [(False, "Failed"), (True, "RollbackSuccessful")])
def test_how_it_failed(aws: Scaled, auto_rollback: bool, status: str) -> None:
    group = aws.group(3)
    reason = "Instance failed to become healthy: instances can't be launched."
    aws.refreshes.failing[group.name] = (1, reason)
    result = call(aws, group, auto_rollback=auto_rollback)
    assert (result["failed"], result["changed"], result["refresh"]["status"]) == (True, True, status)
    assert f"The instance refresh of {group.name} did not end as requested: " in result["msg"]
    assert reason.rstrip(".") in result["msg"]
    assert sorted(group.versions.values()) == (["1", "1", "1"] if auto_rollback else ["1", "1", "2"])
    assert group.described["LaunchTemplate"]["Version"] == "1"

    # What is left is replaced by the next call.
    aws.refreshes.failing.clear()
    assert len(call(aws, group)["replaces"]) == (3 if auto_rollback else 2)
    assert set(group.versions.values()) == {"2"}


def test_it_is_cancelled(aws: Scaled) -> None:
    group = aws.group(3)
    assert call(aws, group, None, state="cancelled")["changed"] is False
    group.start(CheckpointPercentages=[30, 100], CheckpointDelay=3600)
    await_true(lambda: "2" in group.versions.values(), "one is replaced")
    expected = call(aws, group, None, state="cancelled", check=True)
    assert (expected["changed"], group.refreshes[0]["Status"]) == (True, "InProgress")
    result = call(aws, group, None, state="cancelled")
    assert (result["failed"], result["changed"], result["refresh"]["status"]) == (False, True, "Cancelled")
    assert sorted(set(group.versions.values())) == ["1", "2"]
    assert call(aws, group, None, state="cancelled")["changed"] is False


def test_it_is_rolled_back(aws: Scaled) -> None:
    group = aws.group(3)
    nothing = call(aws, group, None, state="rolled_back")
    assert f"no instance refresh of {group.name} can be rolled back" in nothing["msg"]
    group.start(CheckpointPercentages=[30, 100], CheckpointDelay=3600)
    await_true(lambda: "2" in group.versions.values(), "one is replaced")
    assert call(aws, group, None, state="rolled_back", check=True)["changed"]
    result = call(aws, group, None, state="rolled_back")
    assert (result["failed"], result["changed"]) == (False, True)
    assert (result["refresh"]["status"], result["refresh"]["rollback_reason"]) == (
        "RollbackSuccessful",
        "Manual rollback",
    )
    assert set(group.versions.values()) == {"1"}
    again = call(aws, group, None, state="rolled_back")
    assert (again["failed"], again["changed"]) == (False, False)


def test_there_is_no_way_back(aws: Scaled) -> None:
    aws.refreshes.step = 60
    own, latest = aws.group(1), aws.group(1, version="$Latest")
    own.start(None)
    latest.start("1")
    for group in (own, latest):
        result = call(aws, group, None, state="rolled_back")
        assert (result["failed"], result["changed"]) == (True, False)
        assert "AWS rolls back only what was started with a launch template" in result["msg"]
        assert "Use state=cancelled" in result["msg"]
    refused = call(aws, own, None, auto_rollback=True)
    assert refused["msg"] == (
        "Nothing was changed: auto_rollback needs launch_template, as AWS can't roll back without it."
    )


@pytest.mark.parametrize("mixed", [False, True])
def test_no_automatic_way_back_to_a_version_that_moves(aws: Scaled, mixed: bool) -> None:
    group = aws.group(2, version="$Latest", mixed=mixed)
    for check in (True, False):
        result = call(aws, group, "1", check=check, auto_rollback=True, skip_matching=False)
        assert (result["failed"], result["changed"]) == (True, False)
        assert f"because {group.name} follows $Latest of the launch template" in result["msg"]
    assert group.refreshes == []
    # As AWS does.
    with pytest.raises(aws.autoscaling.exceptions.ClientError, match="AutoRollback"):
        group.start("1", AutoRollback=True)


def test_a_way_back_to_the_same_is_told(aws: Scaled) -> None:
    group = aws.group(1)
    result = call(aws, group, "1", auto_rollback=True, skip_matching=False)
    assert (result["failed"], result["changed"]) == (False, True)
    assert "so that auto_rollback would bring nothing else" in str(result["warnings"])


def test_the_groups_own_configuration(aws: Scaled) -> None:
    group = aws.group(2, version="$Latest")
    assert set(group.versions.values()) == {"1"}
    seen = info(aws, group)
    assert (seen["launch_template"]["version"], [item["matches"] for item in seen["instances"]]) == ("2", [False] * 2)
    assert call(aws, group, None)["changed"]
    assert set(group.versions.values()) == {"2"}
    assert "DesiredConfiguration" not in group.refreshes[0]
    assert not call(aws, group, None)["changed"]
    assert all(item["matches"] for item in info(aws, group)["instances"])


def test_protected_ones_and_those_in_standby_are_left_alone(aws: Scaled) -> None:
    group = aws.group(4)
    protected, resting, *others = group.versions
    group.protect(protected)
    aws.autoscaling.enter_standby(
        AutoScalingGroupName=group.name, InstanceIds=[resting], ShouldDecrementDesiredCapacity=True
    )
    result = call(aws, group, scale_in_protected="ignore", standby="ignore")
    assert (result["failed"], sorted(result["replaces"])) == (False, sorted(others))
    old = [item["instance_id"] for item in result["instances"] if not item["matches"]]
    assert sorted(old) == sorted([protected, resting])
    assert not call(aws, group, scale_in_protected="ignore", standby="ignore")["changed"]

    waiting = call(aws, group, wait_timeout=0.8)
    assert waiting["failed"] and "which are protected from scale-in or in standby" in waiting["msg"]


def test_a_mixed_instances_policy_is_kept(aws: Scaled) -> None:
    group = aws.group(1, mixed=True)
    assert call(aws, group)["changed"]
    assert set(group.versions.values()) == {"2"}
    configuration = group.refreshes[0]["DesiredConfiguration"]["MixedInstancesPolicy"]["LaunchTemplate"]
    assert [kind["InstanceType"] for kind in configuration["Overrides"]] == ["t3.small", "t3a.small"]
    assert not call(aws, group)["changed"]


def test_what_is_missing_is_said_before_anything_changes(aws: Scaled) -> None:
    group = aws.group(1)
    nowhere = run(asg_refresh, arguments(aws, "nosuch"))
    assert nowhere["msg"].startswith(f"There is no Auto Scaling group nosuch in {REGION}")
    elsewhere = call(aws, group, region="eu-west-1")
    assert elsewhere["msg"].startswith(f"There is no Auto Scaling group {group.name} in eu-west-1")
    for template in ({"name": "nosuch"}, {"id": "lt-0123456789abcdef0"}, {"id": group.template, "version": "9"}):
        result = call(aws, group, None, launch_template=template)
        assert (result["failed"], result["changed"]) == (True, False)
        assert result["msg"].startswith("There is no launch template ")
    both = call(aws, group, None, launch_template={"id": "lt-1", "name": "gateways"})
    assert "mutually exclusive" in both["msg"]
    assert group.refreshes == []


@pytest.mark.parametrize(
    ("action", "state", "what"),
    [
        ("autoscaling:DescribeAutoScalingGroups", "started", "the group"),
        ("autoscaling:DescribeInstanceRefreshes", "started", "the group"),
        ("ec2:DescribeLaunchTemplateVersions", "started", "the launch template"),
        ("autoscaling:StartInstanceRefresh", "started", "the group"),
        ("autoscaling:CancelInstanceRefresh", "cancelled", "the group"),
        ("autoscaling:RollbackInstanceRefresh", "rolled_back", "the group"),
    ],
)
def test_a_denied_call_names_the_permission(aws: Scaled, action: str, state: str, what: str) -> None:
    aws.refreshes.step = 60
    group = aws.group(1)
    if state != "started":
        group.start()
    aws.endpoint.faults.denied[action] = ""
    result = call(aws, group, state=state)
    assert (result["failed"], result["changed"]) == (True, False)
    assert f"the role or user needs {action} on {what} " in result["msg"]


def test_expired_credentials_and_throttled_calls(aws: Scaled) -> None:
    group = aws.group(1)
    assert "have expired" in call(aws, group, access_key="ASIAEXPIRED1")["msg"]
    for action in ("DescribeAutoScalingGroups", "StartInstanceRefresh", "DescribeInstanceRefreshes"):
        aws.endpoint.faults.throttled[f"autoscaling:{action}"] = 1
    result = call(aws, group)
    assert (result["failed"], result["changed"]) == (False, True)


def test_through_ansible(aws: Scaled) -> None:
    group = aws.group(1)
    wanted = {"launch_template": {"id": group.template, "version": "2"}}
    code, output = run_by_ansible("asg_refresh", arguments(aws, group.name, **wanted), "--diff", "-vvv")
    assert (code, set(group.versions.values())) == (0, {"2"}), output
    assert SECRET not in output
    assert "Successful, 100 % complete, 0 to update" in output
