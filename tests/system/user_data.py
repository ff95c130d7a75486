# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The user data of the role launch_template, and hosts that run them as a new instance does."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from tests.system.fleet import CHECKOUT, PLAYBOOK, shell, wait_until

if TYPE_CHECKING:
    from tests.system.fleet import Fleet

BIN = Path(sys.executable).parent
GROUP = "gateways"
BUCKET = "artifacts"
WHEELS = "/srv/wheels"
LOG = "/var/log/evenkeel-bootstrap.log"
BUNDLE = {"AWS_CA_BUNDLE": "/etc/ssl/certs/ca-certificates.crt"}
# What an operator would have in group_vars; the rest of the inventory is about SSH and rollouts.
VARIABLES = ("cloudwatch_agent_", "ecr_", "gateway_")


def variables(fleet: Fleet, folder: Path) -> dict[str, Any]:
    """For the role, with the collection's tarball where the user data look for it."""
    fleet.run(BIN / "ansible-galaxy", "collection", "build", "--force", "--output-path", folder)
    (tarball,) = folder.glob("evenkeel-fleet-*.tar.gz")
    s3 = fleet.aws("s3")
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": fleet.facts["region"]})
    s3.put_object(Bucket=BUCKET, Key="fleet.tar.gz", Body=tarball.read_bytes())

    ec2 = fleet.aws("ec2")
    (group,) = fleet.aws("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=[GROUP])["AutoScalingGroups"]
    subnets = group["VPCZoneIdentifier"].split(",")
    vpc = ec2.describe_subnets(SubnetIds=subnets)["Subnets"][0]["VpcId"]
    security = ec2.create_security_group(GroupName="user-data", Description="gateways", VpcId=vpc)["GroupId"]
    fleet.aws("iam").create_instance_profile(InstanceProfileName="user-data")
    common = yaml.safe_load((CHECKOUT / "inventories" / "local" / "group_vars" / "gateways.yml").read_text())
    known = {**common, **fleet.variables}
    return {
        "launch_template_name": GROUP,
        "launch_template_image_id": "ami-1",
        "launch_template_instance_profile": "user-data",
        "launch_template_security_groups": [security],
        "launch_template_subnets": subnets,
        "launch_template_target_group_arns": group["TargetGroupARNs"],
        "launch_template_min_size": 0,
        "launch_template_max_size": 200,
        "launch_template_collection_url": f"s3://{BUCKET}/fleet.tar.gz",
        "launch_template_collection_sha256": hashlib.sha256(tarball.read_bytes()).hexdigest(),
        # Hosts of the fleet know no index of Python's packages.
        "launch_template_environment": {**BUNDLE, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": WHEELS},
        "launch_template_vars": {
            **{name: value for name, value in known.items() if name.startswith(VARIABLES)},
            "lifecycle_environment": BUNDLE,
        },
        "ansible_python_interpreter": sys.executable,
    }


def rendered(fleet: Fleet, folder: Path, variables: dict[str, Any]) -> str:
    """The user data of the group's template, made by the role."""
    play = [{"hosts": "localhost", "gather_facts": False, "roles": ["evenkeel.fleet.launch_template"]}]
    (folder / "play.yml").write_text(json.dumps(play))
    fleet.run(
        *(PLAYBOOK, "-i", "localhost,", "-c", "local", "-e", json.dumps(variables), folder / "play.yml"),
        AWS_REGION=fleet.facts["region"],
        cwd=CHECKOUT,
        **fleet.operator(),
    )
    versions = fleet.aws("ec2").describe_launch_template_versions(LaunchTemplateName=GROUP, Versions=["$Latest"])
    data = versions["LaunchTemplateVersions"][0]["LaunchTemplateData"]
    return base64.b64decode(data["UserData"]).decode()


def make_bare(fleet: Fleet, folder: Path, *hosts: str) -> None:
    """New hosts, unknown to the load balancer, with the wheels that pip installs on them."""
    elb = fleet.aws("elbv2")
    arn = elb.describe_target_groups(Names=[GROUP])["TargetGroups"][0]["TargetGroupArn"]
    targets = [{"Id": fleet.facts["hosts"][host]["instance_id"], "Port": 80} for host in hosts]
    elb.deregister_targets(TargetGroupArn=arn, Targets=targets)
    fleet.make_bare(*hosts)
    for host in hosts:
        version = fleet.on(host, "python3 -c 'import sys; print(*sys.version_info[:2], sep=\".\")'").strip()
        wheels = download(folder / f"wheels-{version}", version)
        shell(["docker", "cp", str(wheels), f"{fleet.name}-{host}:{WHEELS}"], None, True)


def download(folder: Path, version: str) -> Path:
    """What pip installs with this version of Python, once."""
    defaults = yaml.safe_load((CHECKOUT / "roles" / "launch_template" / "defaults" / "main.yml").read_text())
    if not folder.exists():
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:", "--python-version", version]
        subprocess.run([*pip, "--dest", folder, *defaults["launch_template_requirements"]], check=True, timeout=300)
    return folder


def launch(fleet: Fleet, host: str) -> None:
    """What the group does with a new instance: it waits for the launching hook."""
    given = {"AutoScalingGroupName": GROUP, "InstanceIds": [fleet.facts["hosts"][host]["instance_id"]]}
    autoscaling = fleet.aws("autoscaling")
    autoscaling.detach_instances(**given, ShouldDecrementDesiredCapacity=True)
    autoscaling.attach_instances(**given)
    assert state(fleet, host) == "Pending:Wait"


def boot(fleet: Fleet, host: str, user_data: str) -> None:
    """As cloud-init runs them."""
    file = "/run/user-data"
    fleet.on(host, f"cat > {file} && systemd-run --collect --unit user-data bash {file}", stdin=user_data)


def over(fleet: Fleet, host: str) -> bool:
    return fleet.on(host, "systemctl is-active user-data", check=False).strip() not in ("active", "activating")


def state(fleet: Fleet, host: str) -> str:
    identifier = fleet.facts["hosts"][host]["instance_id"]
    found = fleet.aws("autoscaling").describe_auto_scaling_instances(InstanceIds=[identifier])
    return str(found["AutoScalingInstances"][0]["LifecycleState"])


def wait_until_over(fleet: Fleet, *hosts: str) -> None:
    wait_until(lambda: all(over(fleet, host) for host in hosts), "the user data have come to an end", 400)


def assert_in_service(fleet: Fleet, host: str) -> None:
    """It serves, the group and the load balancer know that, and it will say when it is to end."""
    log = fleet.on(host, f"cat {LOG}")
    assert state(fleet, host) == "InService", log
    assert " CONTINUE after " in log and "FAILED" not in log
    assert fleet.healthy(host)
    wait_until(lambda: fleet.targets().get(host) == "healthy", "the load balancer takes it for healthy")
    assert fleet.on(host, "systemctl is-active evenkeel-lifecycle").strip() == "active"
    assert "CONTINUE" in fleet.on(host, "journalctl -t evenkeel-bootstrap -o cat")
    assert fleet.on(host, "stat -c %a /opt/evenkeel/vars.json").strip() == "600"
