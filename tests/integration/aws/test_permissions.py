# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The policies of the role iam, compared with the calls that are really made."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.aws.asg import Scaled, scaled
from tests.integration.aws.stage import command, play
from tests.integration.balancer.forwarding import Forwarding
from tests.integration.endpoint import ACCOUNT, REGION, Endpoint
from tests.integration.support import CHECKOUT, environment, run_module
from tests.policies import findings

HOST = "i-0000000000000000a"
# Code that isn't ours and does not run here, and what its documentation says that it calls.
CALLED_BY_OTHERS_ON_HOSTS = {
    "ecr:GetAuthorizationToken": "docker's credential helper, or `aws ecr get-login-password`",
    "ecr:BatchGetImage": "ECR, for docker pull",
    "ecr:GetDownloadUrlForLayer": "ECR, for docker pull",
    "kms:Decrypt": "Secrets Manager and Parameter Store, for keys of one's own",
    "cloudwatch:PutMetricData": "the CloudWatch agent",
    "ec2:DescribeTags": "the CloudWatch agent, for the dimension AutoScalingGroupName",
    "logs:CreateLogGroup": "the CloudWatch agent",
    "logs:CreateLogStream": "the CloudWatch agent",
    "logs:PutLogEvents": "the CloudWatch agent",
    "logs:PutRetentionPolicy": "the CloudWatch agent, for retention_in_days",
    "logs:DescribeLogGroups": "the CloudWatch agent",
    "autoscaling:DescribeAutoScalingInstances": "what drains a host that its group takes away",
    "autoscaling:CompleteLifecycleAction": "the same, and the user data",
    "autoscaling:RecordLifecycleActionHeartbeat": "the same",
    "s3:GetObject": "the user data, for the collection's tarball",
    "ssm:UpdateInstanceInformation": "the SSM agent",
    "ssmmessages:CreateControlChannel": "the SSM agent",
    "ssmmessages:CreateDataChannel": "the SSM agent",
    "ssmmessages:OpenControlChannel": "the SSM agent",
    "ssmmessages:OpenDataChannel": "the SSM agent",
}
CALLED_BY_OTHERS_OF_OPERATORS = {
    "ssm:StartSession": "the AWS CLI in inventories/connections/ssm.yml",
    "ec2-instance-connect:SendSSHPublicKey": "the AWS CLI in inventories/connections/instance_connect.yml",
    "ec2-instance-connect:OpenTunnel": "the same",
    "ec2:DescribeInstanceConnectEndpoints": "the same",
}
# For which AWS knows no narrower resource.
OF_NO_RESOURCE = {
    "ecr:GetAuthorizationToken",
    "cloudwatch:PutMetricData",
    "ec2:DescribeTags",
    "ec2:DescribeInstances",
    "ec2:DescribeInstanceConnectEndpoints",
    "autoscaling:DescribeAutoScalingGroups",
    "autoscaling:DescribeAutoScalingInstances",
    "autoscaling:DescribeInstanceRefreshes",
    "ec2:DescribeLaunchTemplateVersions",
    "logs:DescribeLogGroups",
    "elasticloadbalancing:DescribeListeners",
    "elasticloadbalancing:DescribeTargetGroups",
    "elasticloadbalancing:DescribeTargetGroupAttributes",
    "elasticloadbalancing:DescribeTags",
    "elasticloadbalancing:DescribeTargetHealth",
    "ssmmessages:CreateControlChannel",
    "ssmmessages:CreateDataChannel",
    "ssmmessages:OpenControlChannel",
    "ssmmessages:OpenDataChannel",
}
READ_ALL = """
import sys
from evenkeel_gateway.aws import Aws
region, app, database, prefix = sys.argv[1:]
aws = Aws(region)
print(aws.secret("AWS_SECRET_ARN", app), aws.secret("AWS_DB_SECRET_ARN", database), aws.parameters("PREFIX", prefix))
"""
Documents = dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Endpoint]:
    with Endpoint() as served:
        yield served


@pytest.fixture(scope="module")
def secrets(endpoint: Endpoint) -> list[str]:
    client = endpoint.client("secretsmanager")
    made = [client.create_secret(Name=name, SecretString='{"a": "b"}')["ARN"] for name in ("gateway/app", "gateway/db")]
    endpoint.client("ssm").put_parameter(Name="/gateway/redis/url", Value="redis://", Type="SecureString")
    return made


@pytest.fixture(scope="module")
def documents(endpoint: Endpoint, secrets: list[str], tmp_path_factory: pytest.TempPathFactory) -> Documents:
    """Statements by document, with everything in them that the role can allow."""
    folder = tmp_path_factory.mktemp("iam")
    chosen = {
        "iam_directory": str(folder),
        "ecr_registry": f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com",
        "gateway_aws_region": REGION,
        "gateway_secret_arn": secrets[0],
        "gateway_db_secret_arn": secrets[1],
        "cloudwatch_agent_fleet": "gateways",
        "cloudwatch_agent_log_files": [{"file_path": "/var/log/syslog", "log_group_name": "system"}],
        "iam_ecr_repositories": ["gateway"],
        "iam_ssm_prefix": "/gateway/",
        "iam_kms_key_arns": [f"arn:aws:kms:{REGION}:{ACCOUNT}:key/12345678"],
        "iam_autoscaling_groups": ["gateways"],
        "iam_s3_objects": ["arn:aws:s3:::releases/evenkeel-fleet.tar.gz"],
        "iam_session_manager": True,
        "iam_instance_connect": True,
        "iam_listener_arns": [f"arn:aws:elasticloadbalancing:{REGION}:{ACCOUNT}:listener/app/gateways/1/2"],
        "iam_alarm_names": ["gateways-target-5xx"],
        "iam_replaces_hosts": True,
        "iam_scales_in": True,
        "iam_target_groups": [],
        "iam_target_group_arns": [f"arn:aws:elasticloadbalancing:{REGION}:{ACCOUNT}:targetgroup/gateways/1"],
        # import_role checks the others' variables, too
        **{f"load_balancer_{name}": "unused" for name in ("name", "vpc_id")},
        **{f"load_balancer_{name}": [] for name in ("subnets", "security_groups")},
    }
    written = play(endpoint, chosen, "--tags", "iam")
    assert (written.code, written.failures) == (0, "")
    assert [call for call in endpoint.faults.calls if call.startswith("iam:")] == []  # not asked for
    return {name: json.loads((folder / f"{name}.json").read_text())["Statement"] for name in ("host", "operator")}


def allowed(statements: list[dict[str, Any]]) -> set[str]:
    return {action for statement in statements for action in statement["Action"]}


def narrowest(statements: list[dict[str, Any]], action: str) -> list[str]:
    (found,) = [statement["Resource"] for statement in statements if action in statement["Action"]]
    return [found] if isinstance(found, str) else found


def assert_least_privilege(statements: list[dict[str, Any]], called: set[str], by_others: dict[str, str]) -> None:
    assert called <= allowed(statements), "denied in production"
    unused = allowed(statements) - called - set(by_others)
    assert not unused, "allowed, but not used"
    assert not called & set(by_others), "no longer in need of an explanation"
    assert not [action for action in allowed(statements) if "*" in action]
    wide = {action for each in statements if "*" in each["Resource"] for action in each["Action"]}
    assert wide <= OF_NO_RESOURCE


@pytest.mark.parametrize("name", ["host", "operator"])
def test_nothing_is_found_in_the_documents(documents: Documents, name: str) -> None:
    assert findings({"Version": "2012-10-17", "Statement": documents[name]}) == []


def test_hosts_may_do_what_they_do_and_no_more(endpoint: Endpoint, secrets: list[str], documents: Documents) -> None:
    endpoint.faults.forget()
    finished = subprocess.run(
        [sys.executable, "-c", READ_ALL, REGION, *secrets, "/gateway"],
        env={
            **environment(AWS_ENDPOINT_URL=endpoint.url, AWS_ACCESS_KEY_ID="AKIATEST", AWS_SECRET_ACCESS_KEY="secret"),
            "PYTHONPATH": str(CHECKOUT / "gateway" / "src"),
        },
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert finished.returncode == 0, finished.stderr
    host = documents["host"]
    assert_least_privilege(host, set(endpoint.faults.calls), CALLED_BY_OTHERS_ON_HOSTS)
    assert narrowest(host, "secretsmanager:GetSecretValue") == secrets
    assert narrowest(host, "ecr:BatchGetImage") == [f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/gateway"]
    groups = [f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{name}" for name in ("system", "gateway-metrics")]
    assert narrowest(host, "logs:PutLogEvents") == [*groups, *(f"{arn}:log-stream:*" for arn in groups)]
    (metrics,) = [statement for statement in host if statement["Action"] == ["cloudwatch:PutMetricData"]]
    assert metrics["Condition"] == {"StringEquals": {"cloudwatch:namespace": "CWAgent"}}
    own = f"arn:aws:autoscaling:{REGION}:{ACCOUNT}:autoScalingGroup:*:autoScalingGroupName/gateways"
    assert narrowest(host, "autoscaling:CompleteLifecycleAction") == [own]


def test_operators_may_do_what_they_do_and_no_more(endpoint: Endpoint, documents: Documents, tmp_path: Path) -> None:
    name, _arn = endpoint.group(f"{HOST}:8080", "i-0000000000000000b")  # a port of its own is remembered
    sides = Forwarding(endpoint)
    endpoint.faults.forget()
    for state in ("drained", "in_service"):
        drain = {"state": state, "target": HOST, "target_groups": [name], **way_to(endpoint)}
        assert not run_module("target_drain", drain)["failed"]
    assert sides.split(weights={"blue": 0, "green": 100})["changed"]
    other_module("cloudwatch_metric_alarm_info", {"alarm_names": ["gateways-target-5xx"], **way_to(endpoint)})
    called = set(endpoint.faults.calls)
    sides.remove()
    endpoint.faults.forget()
    subprocess.run(
        [command("ansible-inventory"), "-i", "inventories/aws", "--list"],
        cwd=CHECKOUT,
        env=environment(
            HOME=str(tmp_path),
            AWS_ENDPOINT_URL=endpoint.url,
            AWS_ACCESS_KEY_ID="AKIATEST",
            AWS_SECRET_ACCESS_KEY="secret",
        ),
        capture_output=True,
        check=True,
        timeout=300,
    )
    called |= set(endpoint.faults.calls) | calls_to_groups()
    assert_least_privilege(documents["operator"], called, CALLED_BY_OTHERS_OF_OPERATORS)
    (arn,) = narrowest(documents["operator"], "elasticloadbalancing:DeregisterTargets")
    assert arn.endswith("targetgroup/gateways/1")
    assert narrowest(documents["operator"], "cloudwatch:DescribeAlarms") == [
        f"arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm:gateways-target-5xx"
    ]
    (keys,) = [each for each in documents["operator"] if "ec2-instance-connect:SendSSHPublicKey" in each["Action"]]
    assert keys["Condition"] == {"StringEquals": {"aws:ResourceTag/aws:autoscaling:groupName": ["gateways"]}}
    (group,) = narrowest(documents["operator"], "autoscaling:StartInstanceRefresh")
    assert group.endswith("autoScalingGroupName/gateways")


def calls_to_groups() -> set[str]:
    """Of all that replace_fleet.yml, maintenance.yml and the hook scale_in.yml do to a group."""
    served, refreshes = scaled()
    with served:
        group = Scaled(served, refreshes).group(2)
        refreshes.step = 5.0
        served.faults.forget()
        way = way_to(served)
        template = {"launch_template": {"name": group.template_name, "version": "$Latest"}}
        started = {"state": "started", "wait": False, **template}
        for wanted in (started, {"state": "cancelled"}, started, {"state": "rolled_back"}):
            told = run_module("asg_refresh", {"group": group.name, **way, **wanted})
            assert not told["failed"], told
        assert not run_module("asg_refresh_info", {"group": group.name, **template, **way})["failed"]
        one, _other = group.versions
        instance = {"group_name": group.name, "instance_ids": [one], **way}
        protected = {"state": "attached", "protection": True}
        standby = {"state": "standby", "decrement_desired_capacity": True}
        for state in (protected, {**protected, "protection": False}, standby, {"state": "present"}):
            other_module("autoscaling_instance", {**instance, **state})
        other_module("autoscaling_instance_info", {"instance_ids": [one], **way})
        assert run_module("scaling_group", {"name": group.name, "desired_capacity": 0, **way})["changed"]
        return set(served.faults.calls)


def other_module(name: str, arguments: dict[str, Any]) -> None:
    """One of amazon.aws."""
    finished = subprocess.run(
        [command("ansible"), "localhost", "-m", f"amazon.aws.{name}", "-a", json.dumps(arguments)],
        cwd=CHECKOUT,
        env=environment(ANSIBLE_NOCOLOR="1"),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert finished.returncode == 0, finished.stdout


def way_to(endpoint: Endpoint) -> dict[str, str]:
    return {"region": REGION, "endpoint_url": endpoint.url, "access_key": "AKIATEST", "secret_key": "secret"}
