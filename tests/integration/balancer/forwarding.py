# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A listener of a load balancer in the served AWS endpoint, with two target groups."""

from __future__ import annotations

from typing import Any

from tests.integration.endpoint import REGION, Endpoint
from tests.integration.support import run_module

BLUE, GREEN = (f"i-0000000000000000{letter}" for letter in "ab")


def split(check: bool = False, **arguments: Any) -> dict[str, Any]:
    return run_module("traffic_split", arguments, check=check)


class Forwarding:
    """Two target groups and a listener that forwards to the first alone."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint.at_its_best()
        self.elb = endpoint.client()
        (self.blue_name, self.blue), (_name, self.green) = endpoint.group(BLUE), endpoint.group(GREEN)
        ec2 = endpoint.client("ec2")
        vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        subnets = [
            ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{n}.0/24", AvailabilityZone=f"{REGION}{zone}")["Subnet"]
            for n, zone in enumerate("ab")
        ]
        made = self.elb.create_load_balancer(Name=self.blue_name, Subnets=[subnet["SubnetId"] for subnet in subnets])
        self._balancer = made["LoadBalancers"][0]["LoadBalancerArn"]
        self.listener = self.elb.create_listener(
            LoadBalancerArn=self._balancer,
            Protocol="HTTP",
            Port=80,
            DefaultActions=[{"Type": "forward", "TargetGroupArn": self.blue}],
        )["Listeners"][0]["ListenerArn"]

    def remove(self) -> None:
        self.elb.delete_load_balancer(LoadBalancerArn=self._balancer)

    def split(self, check: bool = False, **more: Any) -> dict[str, Any]:
        return split(
            check,
            **{
                "listeners": [self.listener],
                "sides": {"blue": [self.blue_name], "green": [self.green]},
                "region": REGION,
                "endpoint_url": self.endpoint.url,
                "access_key": "AKIATEST",
                "secret_key": "planted-secret",
                **more,
            },
        )

    @property
    def weights(self) -> dict[str, int]:
        action = self.elb.describe_listeners(ListenerArns=[self.listener])["Listeners"][0]["DefaultActions"][-1]
        return {group["TargetGroupArn"]: group["Weight"] for group in action["ForwardConfig"]["TargetGroups"]}
