# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The user data of the role launch_template turn a bare host into a serving gateway, without help."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from tests.system.fleet import CHECKOUT, PLAYBOOK, wait_until

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


def rendered(fleet: Fleet, folder: Path) -> str:
    """The user data of the group's template, with the collection's tarball where they look for it."""
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
    variables: dict[str, Any] = {
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
    play = [{"hosts": "localhost", "gather_facts": False, "roles": ["evenkeel.fleet.launch_template"]}]
    (folder / "play.yml").write_text(json.dumps(play))
    fleet.run(
        *(PLAYBOOK, "-i", "localhost,", "-c", "local", "-e", json.dumps(variables), folder / "play.yml"),
        AWS_REGION=fleet.facts["region"],
        cwd=CHECKOUT,
        **fleet.operator(),
    )
    versions = ec2.describe_launch_template_versions(LaunchTemplateName=GROUP, Versions=["$Latest"])
    data = versions["LaunchTemplateVersions"][0]["LaunchTemplateData"]
    return base64.b64decode(data["UserData"]).decode()


def wheels(folder: Path) -> None:
    """What pip installs on the hosts, downloaded here for the same Python."""
    defaults = yaml.safe_load((CHECKOUT / "roles" / "launch_template" / "defaults" / "main.yml").read_text())
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", str(folder)]
    subprocess.run([*pip, *defaults["launch_template_requirements"]], check=True, timeout=300)


def launch(fleet: Fleet, host: str) -> None:
    """What the group does with a new instance: it waits for the launching hook."""
    given = {"AutoScalingGroupName": GROUP, "InstanceIds": [fleet.facts["hosts"][host]["instance_id"]]}
    autoscaling = fleet.aws("autoscaling")
    autoscaling.detach_instances(**given, ShouldDecrementDesiredCapacity=True)
    autoscaling.attach_instances(**given)
    assert state(fleet, host) == "Pending:Wait"


def boot(fleet: Fleet, host: str, user_data: str) -> None:
    """As cloud-init runs them."""
    fleet.on(
        host, "cat > /root/user-data && systemd-run --collect --unit user-data bash /root/user-data", stdin=user_data
    )


def over(fleet: Fleet, host: str) -> bool:
    return fleet.on(host, "systemctl is-active user-data", check=False).strip() not in ("active", "activating")


def state(fleet: Fleet, host: str) -> str:
    identifier = fleet.facts["hosts"][host]["instance_id"]
    found = fleet.aws("autoscaling").describe_auto_scaling_instances(InstanceIds=[identifier])
    return str(found["AutoScalingInstances"][0]["LifecycleState"])


def test_bare_hosts_bring_themselves_up_or_are_abandoned(serving: Fleet, tmp_path: Path) -> None:
    good, bad = "host-3", "host-2"
    user_data = rendered(serving, tmp_path)
    (tmp_path / "wheels").mkdir()
    wheels(tmp_path / "wheels")
    elb = serving.aws("elbv2")
    arn = elb.describe_target_groups(Names=[GROUP])["TargetGroups"][0]["TargetGroupArn"]
    targets = [{"Id": serving.facts["hosts"][host]["instance_id"], "Port": 80} for host in (good, bad)]
    elb.deregister_targets(TargetGroupArn=arn, Targets=targets)
    serving.make_bare(good, bad)
    image = serving.variables["gateway_image"]
    broken = user_data.replace(image, image.partition("@")[0] + "@sha256:" + "0" * 64)
    for host, script in ((good, user_data), (bad, broken)):
        name = f"{serving.name}-{host}"
        subprocess.run(["docker", "cp", tmp_path / "wheels", f"{name}:{WHEELS}"], check=True, capture_output=True)
        launch(serving, host)
        boot(serving, host, script)

    wait_until(lambda: over(serving, good) and over(serving, bad), "both have come to an end", 400)
    log = serving.on(good, f"cat {LOG}")
    assert state(serving, good) == "InService", log
    assert " CONTINUE after " in log and "FAILED" not in log
    assert serving.healthy(good)
    wait_until(lambda: serving.targets().get(good) == "healthy", "the load balancer takes it for healthy")
    assert serving.on(good, "systemctl is-active evenkeel-lifecycle").strip() == "active"
    assert "CONTINUE" in serving.on(good, "journalctl -t evenkeel-bootstrap -o cat")
    assert serving.on(good, "stat -c %a /opt/evenkeel/vars.json").strip() == "600"

    log = serving.on(bad, f"cat {LOG}")
    assert state(serving, bad) == "Terminating:Proceed", log
    assert " ABANDON after " in log and "FAILED: Bring this host up: exit code 2" in log
    assert "manifest" in log or "not found" in log, log
    assert bad not in serving.targets()

    # The same instance, as if it were the next one: what is done already is no hindrance.
    launch(serving, bad)
    boot(serving, bad, user_data)
    wait_until(lambda: over(serving, bad), "it has come to an end", 300)
    assert state(serving, bad) == "InService", serving.on(bad, f"cat {LOG}")
    wait_until(lambda: serving.targets().get(bad) == "healthy", "the load balancer takes it for healthy")
    serving.assert_serving()
    serving.service("restart", "aws")  # whose account is as it was made
