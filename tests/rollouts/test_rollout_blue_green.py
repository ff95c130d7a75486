# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two sides of the fleet: the idle one gets the image, then all requests at once."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.system.fleet import wait_until
from tests.system.rollouts import LOCK, QUICK, digest, digests, hooks, last_words, nobody_notices, reports, roll

if TYPE_CHECKING:
    from tests.system.fleet import Fleet, Process, Run

SIDES = {"blue": ["host-1", "host-2"], "green": ["host-3"]}
SEED = int(os.environ.get("KILLS_FROM", "5"))
KEPT_OUT = "SELECT count(*) FROM ec2_launch WHERE draining_since IS NOT NULL"


@pytest.fixture(autouse=True, scope="module")
def of_one_image_again(serving: Fleet) -> Iterator[None]:
    yield
    run = roll(serving, gateway_image=serving.gateway("host-1")["Config"]["Image"])
    assert run.code == 0, run.output


@pytest.fixture(autouse=True)
def one_fleet_again(left_serving: None, serving: Fleet) -> Iterator[None]:  # noqa: ARG001 (after this one)
    yield
    for host in serving.hosts:
        serving.balancer(f"set weight gateways/{host} 100%")
    run = serving.start_play("admit.yml", "--limit", "gateways").wait()
    assert run.code == 0, run.output


@pytest.fixture
def listener(serving: Fleet) -> Iterator[str]:
    """The ARN of one that forwards to blue, and gives green nothing."""
    elb = serving.aws("elbv2")
    vpc = elb.describe_target_groups(Names=["gateways"])["TargetGroups"][0]["VpcId"]
    arns = {}
    for side, hosts in SIDES.items():
        made = elb.create_target_group(Name=side, Protocol="HTTP", Port=80, VpcId=vpc, HealthCheckPath="/api/health")
        arns[side] = made["TargetGroups"][0]["TargetGroupArn"]
        targets = [{"Id": serving.facts["hosts"][host]["instance_id"]} for host in hosts]
        elb.register_targets(TargetGroupArn=arns[side], Targets=targets)
    subnets = [subnet["SubnetId"] for subnet in serving.aws("ec2").describe_subnets()["Subnets"]]
    balancer = elb.create_load_balancer(Name="sides", Subnets=subnets[:1])["LoadBalancers"][0]["LoadBalancerArn"]
    sides = [{"TargetGroupArn": arns["blue"], "Weight": 100}, {"TargetGroupArn": arns["green"], "Weight": 0}]
    action = {"Type": "forward", "ForwardConfig": {"TargetGroups": sides}}
    made = elb.create_listener(LoadBalancerArn=balancer, Protocol="HTTP", Port=80, DefaultActions=[action])
    yield str(made["Listeners"][0]["ListenerArn"])
    elb.delete_load_balancer(LoadBalancerArn=balancer)
    for arn in arns.values():
        elb.delete_target_group(TargetGroupArn=arn)


@pytest.fixture
def scaling_groups(serving: Fleet) -> Iterator[dict[str, str]]:
    """One for each side. The hosts aren't in it: the endpoint has no way to end them."""
    autoscaling = serving.aws("autoscaling")
    [like] = autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=["gateways"])["AutoScalingGroups"]
    names = {side: f"gateways-{side}" for side in SIDES}
    template = {"LaunchTemplateId": like["LaunchTemplate"]["LaunchTemplateId"]}
    of = {"LaunchTemplate": template, "VPCZoneIdentifier": like["VPCZoneIdentifier"]}
    for name in names.values():
        autoscaling.create_auto_scaling_group(AutoScalingGroupName=name, MinSize=1, MaxSize=2, **of)
    yield names
    for name in names.values():
        autoscaling.delete_auto_scaling_group(AutoScalingGroupName=name, ForceDelete=True)


def capacities(fleet: Fleet, groups: dict[str, str]) -> dict[str, int]:
    found = fleet.aws("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=list(groups.values()))
    capacity = {group["AutoScalingGroupName"]: group["DesiredCapacity"] for group in found["AutoScalingGroups"]}
    return {side: capacity[name] for side, name in groups.items()}


def start(fleet: Fleet, **variables: Any) -> Process:
    settings = {**QUICK, "rollout_sides": SIDES, "rollout_window_seconds": 5, **variables}
    return fleet.start_play("blue_green.yml", environment=fleet.operator(), **settings)


def switch(fleet: Fleet, **variables: Any) -> Run:
    return start(fleet, **variables).wait()


def answering(fleet: Fleet) -> set[str]:
    """The hosts to which the load balancer sends requests."""
    return {host for host, server in fleet.servers().items() if int(server["srv_uweight"])}


def leads(fleet: Fleet, side: str) -> bool:
    """Whether the one leader is there; between two of them there is none."""
    leaders = fleet.leaders()
    return len(leaders) == 1 and leaders[0] in SIDES[side]


def containers(fleet: Fleet, side: str) -> list[str]:
    return [fleet.gateway(host)["Id"] for host in SIDES[side]]


def test_nobody_notices_a_switch_there_and_back(serving: Fleet, images: tuple[str, str]) -> None:
    old, new = images
    blue = containers(serving, "blue")
    planned = switch(serving, gateway_image=new)
    assert planned.code != 0
    assert planned.says("Both sides receive requests", "Set rollout_into to the side that gets the image")
    reports(serving)
    with nobody_notices(serving, rate=150):
        over = switch(serving, gateway_image=new, rollout_into="green")
    assert over.code == 0, over.output
    assert over.says("green receives all requests, and blue is kept out of service, unchanged.")
    assert answering(serving) == set(SIDES["green"])
    assert (digests(serving, *SIDES["green"]), digests(serving, *SIDES["blue"])) == ({digest(new)}, {digest(old)})
    assert leads(serving, "green") and serving.sql(KEPT_OUT) == "2"
    (report,) = reports(serving)
    assert report["result"] == "succeeded"
    assert [phase["kind"] for phase in report["phases"]] == ["look", "plan", "update", "switch", "watch", "end"]

    again = switch(serving, gateway_image=new, rollout_into="green")
    assert again.code == 0, again.output
    assert again.changed() <= {"host-1"}, "it has nothing to do but to write its journal"

    # Back: blue was kept as it was, so that nothing has to be started. Whose controller is killed runs it again.
    moment = random.Random(SEED).uniform(4, 12)
    with nobody_notices(serving, rate=150):
        killed = start(serving, gateway_image=old, **LOCK)
        time.sleep(moment)
        print(f"killed after {moment:.1f} s, after: {last_words(killed.kill())}")
        back = switch(serving, gateway_image=old, rollout_lock_wait=60, **LOCK)
    assert back.code == 0, back.output
    assert answering(serving) == set(SIDES["blue"]) and leads(serving, "blue")
    assert containers(serving, "blue") == blue
    assert serving.sql(KEPT_OUT) == "1"


@pytest.mark.weekly
def test_a_side_that_is_never_healthy_gets_no_request(serving: Fleet, images: tuple[str, str]) -> None:
    broken = {**serving.variables["gateway_environment"], "PORT": "1"}
    with nobody_notices(serving, rate=150), serving.untouched(*SIDES["blue"]):
        run = switch(
            serving,
            gateway_image=images[1],
            rollout_into="green",
            gateway_environment=broken,
            gateway_health_timeout=8,
        )
    assert run.code != 0
    assert run.says("host-3: ", "blue receives all requests.")
    assert answering(serving) == set(SIDES["blue"]) and leads(serving, "blue")
    assert serving.sql(KEPT_OUT) == "1"


@pytest.mark.weekly
def test_a_side_that_does_not_come_to_lead_gets_no_request(serving: Fleet, images: tuple[str, str]) -> None:
    with nobody_notices(serving, rate=150):
        run = switch(serving, gateway_image=images[0], rollout_into="green", rollout_handover_timeout=0)
    assert run.code != 0
    assert run.says("blue receives all requests.")
    assert answering(serving) == set(SIDES["blue"])


def test_without_its_lock_a_switch_moves_nothing_any_more(serving: Fleet, images: tuple[str, str]) -> None:
    with nobody_notices(serving, rate=150):
        process = start(serving, gateway_image=images[0], rollout_into="green", rollout_window_seconds=10)
        wait_until(lambda: answering(serving) == set(SIDES["green"]) and leads(serving, "green"), "it is watched")
        broken = serving.start_play("unlock.yml", rollout_unlock_reason="somebody else takes over").wait()
        assert broken.code == 0, broken.output
        run = process.wait()
    assert run.code != 0
    assert run.says("its lock is lost", "green receives all requests, and blue is not kept out of service")
    assert answering(serving) == set(SIDES["green"]), "where another operator found them"


def test_a_listener_is_led_back_where_the_window_fails_and_else_over(
    serving: Fleet, images: tuple[str, str], listener: str, scaling_groups: dict[str, str]
) -> None:
    wanted: dict[str, Any] = {
        "gateway_image": images[1],
        "rollout_lb": "target_group",
        "rollout_side_groups": {"blue": "blue", "green": "green"},
        "rollout_side_scaling_groups": scaling_groups,
        "rollout_listeners": [listener],
    }
    scaling_in = {"rollout_hooks": {"after_rollout": ["scale_in.yml"]}}
    checks = hooks("window", "command.yml", happens="false", happens_to="host-3")
    checks["rollout_hooks"] |= scaling_in["rollout_hooks"]
    with nobody_notices(serving, rate=150):
        failed = switch(serving, **wanted, **checks)
        assert failed.code != 0
        assert failed.says("host-3: non-zero return code", "blue receives all requests.")
        assert answering(serving) == set(SIDES["blue"]) and leads(serving, "blue")
        assert serving.sql(KEPT_OUT) == "1"
        assert capacities(serving, scaling_groups) == {"blue": 1, "green": 1}

        run = switch(serving, **wanted, **scaling_in)
    assert run.code == 0, run.output
    assert capacities(serving, scaling_groups) == {"blue": 0, "green": 1}
    assert answering(serving) == set(SIDES["green"]) and leads(serving, "green")
    elb = serving.aws("elbv2")
    forward = elb.describe_listeners(ListenerArns=[listener])["Listeners"][0]["DefaultActions"][0]["ForwardConfig"]
    weights = {group["TargetGroupArn"].split("/")[1]: group["Weight"] for group in forward["TargetGroups"]}
    assert weights == {"blue": 0, "green": 100}
