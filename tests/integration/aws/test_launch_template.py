# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role launch_template against a served endpoint: what it creates, shows, keeps and refuses."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import warm
from tests.integration.endpoint import REGION, Endpoint
from tests.integration.support import CHECKOUT, environment, run_module

NAME = "gateways"
PROFILE = "gateway"


class Operator:
    """Runs the role."""

    def __init__(self, endpoint: Endpoint, folder: Path) -> None:
        self.endpoint = endpoint
        self.folder = folder
        ec2 = endpoint.client("ec2")
        vpc = ec2.create_vpc(CidrBlock="10.1.0.0/16")["Vpc"]["VpcId"]
        subnets = [
            ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.1.{number}.0/24", AvailabilityZone=f"{REGION}{zone}")
            for number, zone in enumerate("ab")
        ]
        group = ec2.create_security_group(GroupName=NAME, Description="gateways", VpcId=vpc)["GroupId"]
        endpoint.client("iam").create_instance_profile(InstanceProfileName=PROFILE)
        self.variables: dict[str, Any] = {
            "launch_template_name": NAME,
            "launch_template_image_id": "ami-1",
            "launch_template_instance_profile": PROFILE,
            "launch_template_security_groups": [group],
            "launch_template_subnets": [subnet["Subnet"]["SubnetId"] for subnet in subnets],
            "launch_template_collection_url": "s3://artifacts/evenkeel-fleet.tar.gz",
            "launch_template_collection_sha256": "0" * 64,
            "launch_template_target_group_arns": [endpoint.group()[1]],
            "launch_template_min_size": 1,
            "launch_template_max_size": 3,
            "launch_template_log_group": "/evenkeel/bootstrap",
            "launch_template_vars": {"gateway_image": "registry/gw@sha256:1", "gateway_secret_arn": "arn:aws:it's one"},
        }
        playbook = [{"hosts": "localhost", "gather_facts": False, "roles": ["evenkeel.fleet.launch_template"]}]
        (folder / "play.yml").write_text(json.dumps(playbook))

    def run(
        self, *options: str, access_key: str = "AKIATEST", region: str = REGION, **variables: Any
    ) -> tuple[bool, int, str]:
        """Whether it succeeded, how many tasks changed something, and what it said."""
        credentials = {"AWS_ACCESS_KEY_ID": access_key, "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": region}
        given = json.dumps({**self.variables, "ansible_python_interpreter": str(warm.PYTHON), **variables})
        finished = warm.run(
            ["-i", "localhost,", "-c", "local", "-e", given, str(self.folder / "play.yml"), "--diff", *options],
            cwd=CHECKOUT,
            env=environment(ANSIBLE_NOCOLOR="1", AWS_ENDPOINT_URL=self.endpoint.url, **credentials),
        )
        recap = finished.stdout.rpartition("changed=")[2].split()
        said = " ".join((finished.stdout + finished.stderr).split())
        return finished.returncode == 0, int(recap[0]) if recap else -1, said

    def group(self) -> dict[str, Any]:
        described = self.endpoint.client("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=[NAME])
        return dict(next(iter(described["AutoScalingGroups"]), {}))

    def template(self) -> dict[str, Any]:
        ec2 = self.endpoint.client("ec2")
        versions = ec2.describe_launch_template_versions(LaunchTemplateName=NAME, Versions=["$Latest"])
        return dict(versions["LaunchTemplateVersions"][0]["LaunchTemplateData"])


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    with Endpoint() as endpoint:
        yield Operator(endpoint, tmp_path_factory.mktemp("role"))


def test_it_is_made_stays_changes_and_goes(operator: Operator, tmp_path: Path) -> None:
    checked = operator.run("--check")
    assert checked[:2] == (True, 2), checked[2]
    assert operator.group() == {}
    made = operator.run()
    assert made[:2] == (True, 2), made[2]
    assert operator.run("--check")[:2] == operator.run()[:2] == (True, 0)

    group, template = operator.group(), operator.template()
    assert (group["MinSize"], group["MaxSize"], group["DesiredCapacity"]) == (1, 3, 1)
    assert (group["HealthCheckType"], group["DefaultInstanceWarmup"]) == ("ELB", 60)
    assert group["LaunchTemplate"]["Version"] == "1"
    listed = operator.endpoint.client("autoscaling").describe_lifecycle_hooks(AutoScalingGroupName=NAME)
    hooks = {hook["LifecycleHookName"]: hook for hook in listed["LifecycleHooks"]}
    assert hooks["gateways-launching"]["DefaultResult"] == "ABANDON"
    assert hooks["gateways-launching"]["HeartbeatTimeout"] == 1080
    assert hooks["gateways-terminating"]["DefaultResult"] == "CONTINUE"
    made_with = [call for call in operator.endpoint.faults.calls if "LifecycleHook" in call and "Describe" not in call]
    assert made_with == [], "the hooks were there before the first instance"
    assert template["MetadataOptions"]["HttpTokens"] == "required"
    assert template["MetadataOptions"]["HttpPutResponseHopLimit"] == 2
    # A tag whose name has a space would keep instances from starting.
    assert template["MetadataOptions"]["InstanceMetadataTags"] == "disabled"
    assert template["BlockDeviceMappings"][0]["Ebs"]["Encrypted"]

    script = base64.b64decode(template["UserData"])
    assert len(script) <= 16384
    looks_right(script, tmp_path)

    # Another operator scales, and the operator changes what is declared.
    autoscaling = operator.endpoint.client("autoscaling")
    autoscaling.set_desired_capacity(AutoScalingGroupName=NAME, DesiredCapacity=2)
    change: dict[str, Any] = {
        "launch_template_max_size": 5,
        "launch_template_terminating_timeout": 600,
        "launch_template_hop_limit": 1,
    }
    checked, changed = operator.run("--check", **change), operator.run(**change)
    assert checked[:2] == changed[:2] == (True, 2), changed[2]
    assert "- max_size: 3 + max_size: 5" in checked[2] and "+ heartbeat_timeout: 600" in checked[2]
    assert operator.run(**change)[:2] == (True, 0)
    assert "are of version 1 of the launch template; the newest is 2" in changed[2]
    group = operator.group()
    assert (group["MaxSize"], group["DesiredCapacity"]) == (5, 2)
    # A scale-out launches no untested version.
    assert group["LaunchTemplate"]["Version"] == "1"
    change["launch_template_group_version"] = "newest"
    checked, changed = operator.run("--check", **change), operator.run(**change)
    assert checked[:2] == changed[:2] == (True, 1), changed[2]
    assert "version: '1'" in checked[2] and "version: '2'" in checked[2]
    assert operator.group()["LaunchTemplate"]["Version"] == "2"

    # A group that follows the template, as this role made them, gets the number of what it launches now.
    autoscaling.update_auto_scaling_group(
        AutoScalingGroupName=NAME, LaunchTemplate={"LaunchTemplateName": NAME, "Version": "$Latest"}
    )
    del change["launch_template_group_version"]
    assert operator.run(**change)[:2] == (True, 1)
    assert operator.group()["LaunchTemplate"]["Version"] == "2"

    gone: dict[str, Any] = {"launch_template_state": "absent"}
    refused = operator.run(**gone)
    assert not refused[0] and "would be terminated with it. Scale it in to 0 first, or set force." in refused[2]
    assert operator.group() and operator.template()
    gone["launch_template_force"] = "true"
    # Another group launches from the same template.
    own = {"LaunchTemplateName": NAME, "Version": "1"}
    sizes = {"MinSize": 0, "MaxSize": 0, "VPCZoneIdentifier": operator.variables["launch_template_subnets"][0]}
    autoscaling.create_auto_scaling_group(AutoScalingGroupName="others", LaunchTemplate=own, **sizes)
    for options in (["--check"], []):
        refused = operator.run(*options, **gone)
        assert (
            not refused[0] and "the Auto Scaling group others launches from the launch template gateways" in refused[2]
        )
    assert operator.group() and operator.template()
    autoscaling.delete_auto_scaling_group(AutoScalingGroupName="others")
    assert operator.run("--check", **gone)[:2] == operator.run(**gone)[:2] == (True, 2)
    assert operator.group() == {}


def looks_right(script: bytes, folder: Path) -> None:
    """The user data are a clean script, whose settings come out of the shell as they went in."""
    path = folder / "user-data.sh"
    path.write_bytes(script)
    subprocess.run(["shellcheck", "--severity=info", path], check=True)
    settings = script.decode().partition("\nset -euo pipefail\n")[0]
    shown = subprocess.run(
        ["bash", "-euc", f'{settings}\nprintf "%s\\n" "$host_vars" "$launching_hook" "${{packages[*]}}"'],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    host = json.loads(shown[0])
    assert host["gateway_secret_arn"] == "arn:aws:it's one"
    assert host["lifecycle_hook"] == "gateways-terminating"
    (log,) = host["cloudwatch_agent_log_files"]
    assert (log["file_path"], log["log_group_name"]) == ("/var/log/evenkeel-bootstrap.log", "/evenkeel/bootstrap")
    assert shown[1:] == ["gateways-launching", "python3-venv"]


def test_what_can_not_be_is_said_before_anything_is_made(operator: Operator) -> None:
    secret = operator.run(
        launch_template_vars={
            "gateway_environment": {"DATABASE_URL": "postgresql://u:planted@db/x", "db-password": 12345678}
        }
    )
    assert not secret[0] and "looks like a secret in DATABASE_URL, db-password" in secret[2]
    assert "planted" not in secret[2] and "12345678" not in secret[2]
    assert "of the 16384 that EC2 takes" in operator.run(launch_template_vars={"gateway_labels": {"a": "ü" * 6000}})[2]
    assert 'has "HTTPS-PROXY"' in operator.run(launch_template_environment={"HTTPS-PROXY": "http://proxy:3128"})[2]
    nowhere = operator.run(launch_template_collection_url="", launch_template_collection_sha256="")[2]
    assert "set launch_template_bucket" in nowhere and "launch_template_collection_file" in nowhere
    assert operator.group() == {}


def test_no_group_without_traffic(operator: Operator) -> None:
    nothing: dict[str, Any] = {"launch_template_target_group_arns": []}
    for options in (["--check"], []):
        refused = operator.run(*options, **nothing)
        assert not refused[0] and "has the health check type ELB and no target group" in refused[2]
        missing = operator.run(*options, **nothing, load_balancer_name="nowhere")
        assert not missing[0] and "there is no target group nowhere in eu-central-1" in missing[2]
    assert operator.group() == {}
    # By the name of the load balancer, in a run that did not make it.
    name, arn = operator.endpoint.group()
    assert operator.run(**nothing, load_balancer_name=name)[0]
    assert operator.group()["TargetGroupARNs"] == [arn]
    gone: dict[str, Any] = {"launch_template_state": "absent", "launch_template_force": True}
    assert operator.run(**gone)[0]
    assert operator.run(**nothing, launch_template_health_check="EC2")[0]
    assert operator.group()["HealthCheckType"] == "EC2"
    assert operator.run(**gone)[0]


def test_a_bad_day_is_named_and_the_next_run_finishes(operator: Operator) -> None:
    operator.endpoint.faults.denied["autoscaling:CreateAutoScalingGroup"] = NAME
    denied = operator.run()
    assert not denied[0]
    assert (
        f"AWS denies it: the role or user needs autoscaling:CreateAutoScalingGroup on the Auto Scaling group {NAME}"
        in denied[2]
    )
    operator.endpoint.faults.forget()
    operator.endpoint.faults.throttled["autoscaling:CreateAutoScalingGroup"] = 2
    assert operator.run()[:2] == (True, 1)

    # Half done: another operator took a hook away, and another call is refused.
    autoscaling = operator.endpoint.client("autoscaling")
    autoscaling.delete_lifecycle_hook(AutoScalingGroupName=NAME, LifecycleHookName="gateways-terminating")
    assert "the security token included in the request is expired" in operator.run(access_key="AKIAEXPIRED")[2].lower()
    assert operator.run()[:2] == (True, 1)
    hooks = autoscaling.describe_lifecycle_hooks(AutoScalingGroupName=NAME)["LifecycleHooks"]
    assert {hook["LifecycleHookName"] for hook in hooks} == {"gateways-launching", "gateways-terminating"}


def test_the_module_names_what_is_missing(operator: Operator) -> None:
    access = {"endpoint_url": operator.endpoint.url, "region": REGION, "access_key": "AKIATEST", "secret_key": "secret"}
    wanted = {"name": "others", "launch_template": "nowhere", "subnets": ["subnet-1"], "min_size": 0, "max_size": 1}
    failed = run_module("scaling_group", {**access, **wanted})
    assert failed["failed"] and "There is no launch template nowhere, version $Latest in eu-central-1" in failed["msg"]
    elsewhere = run_module("scaling_group", {**access, **wanted, "region": "us-east-1", "state": "absent"})
    assert elsewhere == {**elsewhere, "failed": False, "changed": False}
    denied = run_module("scaling_group", {**access, **wanted, "access_key": "AKIADENIED"})
    assert "needs autoscaling:DescribeAutoScalingGroups on the Auto Scaling group others" in denied["msg"]
