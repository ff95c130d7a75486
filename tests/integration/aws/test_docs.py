# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/tutorials/aws.md, run as written: from an account with a network to instances that bootstrap themselves."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.integration.aws.stage import network
from tests.integration.endpoint import ACCOUNT, REGION, Endpoint
from tests.integration.support import CHECKOUT, environment

BUCKET = "made-by-hand"
FLEET = "documented"


def commands(*sections: int) -> list[str]:
    """The commands of these sections of the page."""
    page = (CHECKOUT / "docs" / "tutorials" / "aws.md").read_text()
    part = "".join(
        text for text in re.split(r"\n(?=## )", page) if text.startswith(tuple(f"## {n}." for n in sections))
    )
    blocks = re.findall(r"```console\n(.*?)```", part, re.DOTALL)
    return [line.removeprefix("$ ") for block in blocks for line in block.splitlines()]


class Operator:
    """An operator who follows the page in a checkout of their own."""

    def __init__(self, endpoint: Endpoint, home: Path) -> None:
        self.endpoint = endpoint
        self.home = home
        left_out = shutil.ignore_patterns(".[a-z]*", "gateway", "testbed", "molecule", "tests", "__pycache__")
        self.checkout = shutil.copytree(CHECKOUT, home / "evenkeel", ignore=left_out, ignore_dangling_symlinks=True)

    def type(self, command: str) -> str:
        finished = subprocess.run(
            ["bash", "-euc", command],
            cwd=self.checkout,
            env=environment(
                HOME=str(self.home),
                PWD=str(self.checkout),
                PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                ANSIBLE_CONFIG=str(CHECKOUT / "ansible.cfg"),
                ANSIBLE_NOCOLOR="1",
                AWS_ENDPOINT_URL=self.endpoint.url,
                AWS_REGION=REGION,
                AWS_ACCESS_KEY_ID="AKIATEST",
                AWS_SECRET_ACCESS_KEY="secret",
            ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert finished.returncode == 0, f"$ {command}\n{finished.stdout}{finished.stderr}"
        return finished.stdout

    def fill_in(self) -> None:
        about = network(self.endpoint)
        given = {
            "vpc-0123456789abcdef0": about["vpc_id"],
            "subnet-0123456789abcdef0": about["subnets"][0],
            "subnet-0123456789abcdef1": about["subnets"][1],
            "sg-0123456789abcdef0": about["security_groups"][0],
            "sg-0123456789abcdef1": about["security_groups"][0],
            "evenkeel-artifacts": BUCKET,
            "fleet_group: gateways": f"fleet_group: {FLEET}",
        }
        path = self.checkout / "inventories" / "mine" / "group_vars" / "all.yml"
        text = path.read_text()
        for placeholder, value in given.items():
            assert placeholder in text, placeholder
            text = text.replace(placeholder, value)
        path.write_text(text)
        inventory = path.parent.parent / "aws_ec2.yml"
        inventory.write_text(inventory.read_text().replace("[gateways]", f"[{FLEET}]"))


def user_data(endpoint: Endpoint) -> str:
    """Of the newest version of the launch template."""
    said = endpoint.client("ec2").describe_launch_template_versions(LaunchTemplateName=FLEET, Versions=["$Latest"])
    return base64.b64decode(said["LaunchTemplateVersions"][0]["LaunchTemplateData"]["UserData"]).decode()


def test_from_nothing_to_instances_that_bootstrap_themselves(tmp_path: Path) -> None:
    with Endpoint() as endpoint:
        follow(Operator(endpoint, tmp_path))


def follow(operator: Operator) -> None:
    endpoint = operator.endpoint
    s3, scaling = endpoint.client("s3"), endpoint.client("autoscaling")
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    copy = next(command for command in commands(1) if command.startswith("cp "))
    operator.type(copy)
    operator.fill_in()
    typed = [command for command in commands(2, 3) if "site.yml" not in command]
    assert any("launch_template.yml" in command for command in typed)
    said = [operator.type(command) for command in typed]

    [group] = scaling.describe_auto_scaling_groups(AutoScalingGroupNames=[FLEET])["AutoScalingGroups"]
    [balanced] = endpoint.client().describe_target_groups(Names=[FLEET])["TargetGroups"]
    assert group["TargetGroupARNs"] == [balanced["TargetGroupArn"]]
    assert (group["HealthCheckType"], group["LaunchTemplate"]["Version"]) == ("ELB", "1")
    assert len(group["Instances"]) == 2
    assert all(instance["InstanceId"] in said[-1] for instance in group["Instances"])

    script = user_data(endpoint)
    url = re.search(r"readonly collection_url=s3://([^/]+)/(\S+)", script)
    digest = re.search(r"readonly collection_sha256=(\S+)", script)
    assert url and digest
    [tarball] = operator.checkout.glob("evenkeel-fleet-*.tar.gz")
    assert hashlib.sha256(tarball.read_bytes()).hexdigest() == digest[1]
    assert s3.get_object(Bucket=url[1], Key=url[2])["Body"].read() == tarball.read_bytes()

    # What the instances do with it, their profile allows them.
    [profile] = endpoint.client("iam").list_instance_profiles_for_role(RoleName=FLEET)["InstanceProfiles"]
    assert profile["InstanceProfileName"] == FLEET
    policy = endpoint.client("iam").get_role_policy(RoleName=FLEET, PolicyName=f"{FLEET}-host")["PolicyDocument"]
    allowed = {statement["Sid"]: statement["Resource"] for statement in policy["Statement"]}
    assert allowed["FetchTheBootstrap"] == [f"arn:aws:s3:::{BUCKET}/evenkeel-fleet/*"]
    assert url[2].startswith("evenkeel-fleet/")
    assert f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:gateway-bootstrap" in allowed["SendLogs"]
    assert allowed["EndLifecycleActions"] == [
        f"arn:aws:autoscaling:{REGION}:{ACCOUNT}:autoScalingGroup:*:autoScalingGroupName/{FLEET}"
    ]

    # A new image, proved by a rolling update: new instances bring it, too.
    changed = operator.checkout / "inventories" / "mine" / "group_vars" / "all.yml"
    changed.write_text(changed.read_text().replace("sha256:" + "0" * 64, "sha256:" + "1" * 64))
    kept = operator.type("ansible-playbook -i inventories/mine playbooks/launch_template.yml")
    assert "are of version 1 of the launch template; the newest is 2" in " ".join(kept.split())
    [moved] = [command for command in commands(5) if "launch_template.yml" in command]
    operator.type(moved)
    [group] = scaling.describe_auto_scaling_groups(AutoScalingGroupNames=[FLEET])["AutoScalingGroups"]
    assert group["LaunchTemplate"]["Version"] == "2"
    assert "sha256:" + "1" * 64 in user_data(endpoint)
