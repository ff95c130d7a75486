# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The account of a testbed: its secrets, its instances, its keys."""

from __future__ import annotations

import base64
import json
from datetime import datetime, timedelta, timezone
from typing import Any
from unittest import mock

import boto3
from moto import mock_aws
from moto.ec2.models import ec2_backends
from moto.moto_api._internal import mock_random
from moto.secretsmanager.utils import SecretsManagerSecretIdentifier
from moto.utilities.id_generator import moto_id_manager
from werkzeug.wrappers import Request, Response

from .calls import Call, Gap
from .faults import Faults


def gaps(account: dict[str, Any]) -> list[Gap]:
    """What moto does not know of this account."""

    def give_registry_token(call: Call, _request: Request) -> Response | None:
        """moto's token is the same everywhere and expired in 2015; the registry of this testbed wants its own."""
        if (call.service, call.action) != ("ecr", "GetAuthorizationToken"):
            return None
        data = {
            "authorizationToken": base64.b64encode(f"AWS:{account['ecr_token']}".encode()).decode(),
            "expiresAt": (datetime.now(timezone.utc) + timedelta(hours=12)).timestamp(),
            "proxyEndpoint": f"https://{account['registry']}",
        }
        return Response(json.dumps({"authorizationData": [data]}), content_type="application/x-amz-json-1.1")

    return [Faults(account["account"], account["role"]).answer, give_registry_token]


def make_account(account: dict[str, Any]) -> None:
    """Secrets, repository, instances, target group and Auto Scaling group: always with the same identifiers."""
    mocked = mock_aws()
    mocked.start()
    mock_random.seed(account["subnet"])
    session = boto3.Session("testbed", "testbed", region_name=account["region"])
    make_secrets(session, account)
    session.client("ecr").create_repository(repositoryName=account["repository"])
    make_instances(session, account)
    mock_random.seed()
    mocked.stop(remove_data=False)


def make_secrets(session: boto3.Session, account: dict[str, Any]) -> None:
    client = session.client("secretsmanager")
    for secret in account["secrets"]:
        identifier = SecretsManagerSecretIdentifier(account["account"], account["region"], secret["name"])
        moto_id_manager.set_custom_id(identifier, secret["arn"].rpartition("-")[2])
        made = client.create_secret(Name=secret["name"], SecretString=json.dumps(secret["value"]))
        assert made["ARN"] == secret["arn"], f"moto made {made['ARN']}, the hosts expect {secret['arn']}"


def make_instances(session: boto3.Session, account: dict[str, Any]) -> None:
    ec2 = session.client("ec2")
    vpc = ec2.create_vpc(CidrBlock=account["subnet"])["Vpc"]["VpcId"]
    zone = f"{account['region']}a"
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock=account["subnet"], AvailabilityZone=zone)["Subnet"]["SubnetId"]
    target_group = session.client("elbv2").create_target_group(
        Name=account["group"], Protocol="HTTP", Port=80, VpcId=vpc, HealthCheckPath="/api/health", TargetType="instance"
    )["TargetGroups"][0]["TargetGroupArn"]
    image = ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
    template = ec2.create_launch_template(
        LaunchTemplateName=account["group"], LaunchTemplateData={"ImageId": image, "InstanceType": "t3.small"}
    )["LaunchTemplate"]["LaunchTemplateId"]

    identifiers = [host["instance_id"] for host in account["hosts"].values()]
    # moto draws an instance id at random; IMDS has already said which ones they are.
    draw = iter(identifiers)
    with mock.patch("moto.ec2.models.instances.random_instance_id", lambda: next(draw)):
        for host in account["hosts"].values():
            ec2.run_instances(
                ImageId=image,
                InstanceType="t3.small",
                MinCount=1,
                MaxCount=1,
                SubnetId=subnet,
                PrivateIpAddress=host["ipv4"],
                TagSpecifications=[
                    {
                        "ResourceType": "instance",
                        "Tags": [{"Key": key, "Value": value} for key, value in host["tags"].items()],
                    }
                ],
            )
            launched = datetime.strptime(host["launched_at"], "%Y-%m-%dT%H:%M:%SZ")
            ec2_backends[account["account"]][account["region"]].get_instance(host["instance_id"]).launch_time = launched

    autoscaling = session.client("autoscaling")
    autoscaling.create_auto_scaling_group(
        AutoScalingGroupName=account["group"],
        LaunchTemplate={"LaunchTemplateId": template},
        MinSize=0,
        MaxSize=200,
        DesiredCapacity=0,
        VPCZoneIdentifier=subnet,
        TargetGroupARNs=[target_group],
    )
    for start in range(0, len(identifiers), 20):  # the API takes 20 at a time
        autoscaling.attach_instances(AutoScalingGroupName=account["group"], InstanceIds=identifiers[start : start + 20])
