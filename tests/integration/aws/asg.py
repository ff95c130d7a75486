# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An Auto Scaling group on the endpoint, with a launch template of two versions."""

from __future__ import annotations

import itertools
from typing import Any

from testbed.services.aws.refreshes import Refreshes
from tests.integration.endpoint import ACCOUNT, REGION, Endpoint

IMAGE = "ami-12c6146b"  # one that moto knows
_numbers = itertools.count(1)


class Scaled:
    """An endpoint whose instance refreshes take a while."""

    def __init__(self, endpoint: Endpoint, refreshes: Refreshes) -> None:
        self.endpoint = endpoint
        self.refreshes = refreshes
        self.autoscaling = endpoint.client("autoscaling")
        self.ec2 = endpoint.client("ec2")
        vpc = self.ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        self._subnet = self.ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.0.0/16")["Subnet"]["SubnetId"]

    def group(self, size: int, version: str = "1", mixed: bool = False) -> Group:
        """A new group, whose instances are of the first version."""
        number = next(_numbers)
        name = f"gateways-{number}"
        made = self.ec2.create_launch_template(
            LaunchTemplateName=f"template-{number}", LaunchTemplateData={"ImageId": IMAGE, "InstanceType": "t3.small"}
        )["LaunchTemplate"]
        template = {"LaunchTemplateId": made["LaunchTemplateId"], "Version": version}
        kinds = {"Overrides": [{"InstanceType": "t3.small"}, {"InstanceType": "t3a.small"}]}
        policy = {"LaunchTemplate": {"LaunchTemplateSpecification": template, **kinds}}
        self.autoscaling.create_auto_scaling_group(
            AutoScalingGroupName=name,
            **({"MixedInstancesPolicy": policy} if mixed else {"LaunchTemplate": template}),
            MinSize=0,
            MaxSize=20,
            DesiredCapacity=size,
            VPCZoneIdentifier=self._subnet,
        )
        self.ec2.create_launch_template_version(
            LaunchTemplateId=made["LaunchTemplateId"],
            SourceVersion="1",
            LaunchTemplateData={"InstanceType": "t3.medium"},
        )
        return Group(self, name, made["LaunchTemplateId"], made["LaunchTemplateName"])


class Group:
    def __init__(self, scaled: Scaled, name: str, template: str, template_name: str) -> None:
        self._autoscaling = scaled.autoscaling
        self.name = name
        self.template = template
        self.template_name = template_name

    @property
    def described(self) -> dict[str, Any]:
        [found] = self._autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=[self.name])["AutoScalingGroups"]
        return dict(found)

    @property
    def versions(self) -> dict[str, str]:
        """Of each instance."""
        return {item["InstanceId"]: item["LaunchTemplate"]["Version"] for item in self.described["Instances"]}

    @property
    def refreshes(self) -> list[dict[str, Any]]:
        found = self._autoscaling.describe_instance_refreshes(AutoScalingGroupName=self.name)
        return list(found["InstanceRefreshes"])

    def start(self, version: str | None = "2", **preferences: Any) -> str:
        """As another operator would."""
        wanted = {"DesiredConfiguration": {"LaunchTemplate": {"LaunchTemplateId": self.template, "Version": version}}}
        started = self._autoscaling.start_instance_refresh(
            AutoScalingGroupName=self.name, Preferences=preferences, **(wanted if version else {})
        )
        return str(started["InstanceRefreshId"])

    def protect(self, *instances: str) -> None:
        self._autoscaling.set_instance_protection(
            AutoScalingGroupName=self.name, InstanceIds=list(instances), ProtectedFromScaleIn=True
        )


def scaled() -> tuple[Endpoint, Refreshes]:
    refreshes = Refreshes(ACCOUNT, REGION)
    return Endpoint(refreshes.answer), refreshes
