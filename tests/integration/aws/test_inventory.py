# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""inventories/aws finds the fleet, as its playbooks expect."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.aws.stage import command
from tests.integration.endpoint import REGION, Endpoint
from tests.integration.support import CHECKOUT, environment

CONNECTIONS = sorted((CHECKOUT / "inventories" / "connections").iterdir())
# By name, with the version that their instances say.
GROUPS = {"gateways": "2.4.1", "others": "1.0.0"}


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Endpoint]:
    with Endpoint() as served:
        yield served


def ask(endpoint: Endpoint, home: Path, inventory: Path, *options: str, key: str = "AKIATEST") -> Any:
    finished = subprocess.run(
        [command("ansible-inventory"), "-i", str(inventory), "--list", *options],
        cwd=CHECKOUT,
        env=environment(
            HOME=str(home), AWS_ENDPOINT_URL=endpoint.url, AWS_ACCESS_KEY_ID=key, AWS_SECRET_ACCESS_KEY="secret"
        ),
        capture_output=True,
        text=True,
        timeout=300,
    )
    try:
        return json.loads(finished.stdout), finished.stderr
    except ValueError:
        return {}, finished.stderr


def run_instances(endpoint: Endpoint, group: str, version: str) -> list[str]:
    ec2, scaling = endpoint.client("ec2"), endpoint.client("autoscaling")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{number}.0/24", AvailabilityZone=f"{REGION}{zone}")
        for number, zone in enumerate("ab")
    ]
    image = ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
    ec2.create_launch_template(
        LaunchTemplateName=group, LaunchTemplateData={"ImageId": image, "InstanceType": "t3.small"}
    )
    scaling.create_auto_scaling_group(
        AutoScalingGroupName=group,
        LaunchTemplate={"LaunchTemplateName": group},
        MinSize=2,
        MaxSize=2,
        VPCZoneIdentifier=",".join(made["Subnet"]["SubnetId"] for made in subnets),
        Tags=[{"Key": "version", "Value": version, "PropagateAtLaunch": True}],
    )
    (made,) = scaling.describe_auto_scaling_groups(AutoScalingGroupNames=[group])["AutoScalingGroups"]
    return [instance["InstanceId"] for instance in made["Instances"]]


def test_the_fleet_is_found_grouped_and_remembered(endpoint: Endpoint, tmp_path: Path) -> None:
    inventory = shutil.copytree(CHECKOUT / "inventories", tmp_path / "inventories") / "aws"
    ours, _theirs = (run_instances(endpoint, *about) for about in GROUPS.items())
    endpoint.faults.forget()
    found, _ = ask(endpoint, tmp_path, inventory)
    assert sorted(found["gateways"]["hosts"]) == sorted(ours)
    assert sorted(found["asg_gateways"]["hosts"]) == sorted(ours)
    assert sorted(found["version_2_4_1"]["hosts"]) == sorted(ours)
    zones = [host for zone in "ab" for host in found.get(f"zone_eu_central_1{zone}", {}).get("hosts", [])]
    assert sorted(zones) == sorted(ours)
    described = endpoint.client("ec2").describe_instances(InstanceIds=ours)["Reservations"]
    addresses = {each["InstanceId"]: each["PrivateIpAddress"] for part in described for each in part["Instances"]}
    facts = found["_meta"]["hostvars"]
    assert {host: value(facts[host]["ansible_host"]) for host in ours} == addresses
    assert {host: value(facts[host]["instance_id"]) for host in ours} == {host: host for host in ours}
    # What site.yml and rolling_update.yml can't do without, and the local inventory has as well.
    wanted = "ansible_user ecr_registry gateway_image gateway_aws_region gateway_secret_arn gateway_db_secret_arn"
    for name in [*wanted.split(), "rollout_lb", "rollout_database", "rollout_target_groups"]:
        assert all(name in facts[host] for host in ours), name

    asked = list(endpoint.faults.calls)
    ask(endpoint, tmp_path, inventory)
    assert endpoint.faults.calls == asked  # the cache answered
    denied, words = ask(endpoint, tmp_path, inventory, "--flush-cache", key="AKIADENIED")
    assert "gateways" not in denied
    assert "not authorized to perform: ec2:DescribeInstances" in words


@pytest.mark.parametrize("connection", CONNECTIONS, ids=lambda path: path.stem)
def test_each_way_to_the_hosts_names_only_what_the_inventory_has(connection: Path) -> None:
    chosen = yaml.safe_load(connection.read_text())
    assert chosen["ansible_user"] == "admin"
    known = {"instance_id", *chosen, *yaml.safe_load((CHECKOUT / "inventories/aws/group_vars/all.yml").read_text())}
    text = " ".join(chosen.values())
    assert {part.partition("}}")[0].strip() for part in text.split("{{")[1:]} <= known


def value(entry: Any) -> Any:
    return entry["__ansible_unsafe"] if isinstance(entry, dict) else entry
