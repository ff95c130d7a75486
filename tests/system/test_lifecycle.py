# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Auto Scaling group terminates the instance that leads, under load."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.system.fleet import wait_until
from tests.system.load import Watch
from tests.system.rollouts import nobody_notices

if TYPE_CHECKING:
    from tests.system.fleet import Fleet

GROUP = "gateways"
HOOK = "gateway-terminating"
UNIT = "evenkeel-lifecycle"
VARIABLES: dict[str, Any] = {
    "lifecycle_hook": HOOK,
    "lifecycle_poll_seconds": 1,
    "lifecycle_environment": {"AWS_CA_BUNDLE": "/etc/ssl/certs/ca-certificates.crt"},
}


@pytest.fixture
def with_hook(serving: Fleet) -> Iterator[Fleet]:
    serving.aws("autoscaling").put_lifecycle_hook(
        AutoScalingGroupName=GROUP,
        LifecycleHookName=HOOK,
        LifecycleTransition="autoscaling:EC2_INSTANCE_TERMINATING",
    )
    yield serving
    for host in serving.hosts:
        serving.on(host, f"systemctl disable --now {UNIT}; rm -f /etc/systemd/system/{UNIT}.service", check=False)
    serving.service("restart", "aws")  # whose account is as it was made


def announce(fleet: Fleet, host: str, lifecycle: str) -> None:
    body = json.dumps({"lifecycle": lifecycle}).encode()
    url = f"{fleet.facts['imds_control']}/hosts/{host}"
    urllib.request.urlopen(urllib.request.Request(url, body, method="PUT"), timeout=5).close()


def steps(fleet: Fleet, host: str) -> list[str]:
    said = fleet.on(host, f"journalctl -u {UNIT} -o cat")
    return [json.loads(line)["step"] for line in said.splitlines() if line.startswith("{")]


def test_the_leader_is_ended_and_nobody_notices(with_hook: Fleet) -> None:
    fleet = with_hook
    checked = fleet.site("--check", "--diff", **VARIABLES)
    assert checked.code == 0, checked.output
    assert checked.changed() == set(fleet.hosts)
    assert checked.says(f"unit {UNIT}.service", "/etc/evenkeel/lifecycle.json")
    assert fleet.on("host-1", f"systemctl is-active {UNIT}", check=False).strip() == "inactive"
    applied = fleet.site(**VARIABLES)
    assert applied.code == 0, applied.output
    assert applied.changed() == set(fleet.hosts)
    with fleet.untouched(*fleet.hosts):
        again = fleet.site(**VARIABLES)
    assert again.code == 0 and again.changed() == set(), again.output

    (leader,) = fleet.leaders()
    instance = fleet.facts["hosts"][leader]["instance_id"]
    autoscaling = fleet.aws("autoscaling")
    with nobody_notices(fleet, rate=100), Watch(fleet.leaders) as watch:
        wait_until(lambda: len(watch.seen) > 20, "a host leads")
        autoscaling.terminate_instance_in_auto_scaling_group(InstanceId=instance, ShouldDecrementDesiredCapacity=True)
        announce(fleet, leader, "Terminated")
        wait_until(lambda: "completed" in steps(fleet, leader), "the lifecycle action is completed")
        wait_until(lambda: len(fleet.leaders()) == 1, "another one leads")
    assert fleet.leaders() != [leader]
    assert (watch.most_at_once, watch.changes) == (1, 1)
    assert watch.longest_without <= 1.0
    expected = ["watching", "leaving", "waiting for the load balancer", "draining", "drained", "completed"]
    assert list(dict.fromkeys(steps(fleet, leader))) == expected
    (found,) = autoscaling.describe_auto_scaling_instances(InstanceIds=[instance])["AutoScalingInstances"]
    assert found["LifecycleState"] == "Terminating:Proceed"

    # The instance stays, in this test: its container comes back with it.
    announce(fleet, leader, "InService")
    wait_until(lambda: fleet.healthy(leader), "the gateway is back")
    elb = fleet.aws("elbv2")
    group = elb.describe_target_groups(Names=[GROUP])["TargetGroups"][0]["TargetGroupArn"]
    elb.register_targets(TargetGroupArn=group, Targets=[{"Id": instance, "Port": 80}])
    wait_until(lambda: fleet.out_of_the_balancer() == [], "the load balancer has all hosts")
    fleet.assert_serving()
