# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The launcher as clients see it: boto3 against a served endpoint."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from testbed.services.aws import account, calls

ARN = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:fleet/app-abc123"
ACCOUNT: dict[str, Any] = {
    "account": "123456789012",
    "region": "eu-central-1",
    "role": "gateway",
    "group": "gateways",
    "registry": "123456789012.dkr.ecr.eu-central-1.amazonaws.com",
    "repository": "evenkeel/gateway",
    "ecr_token": "planted-token",
    "subnet": "10.99.0.0/24",
    "secrets": [{"name": "fleet/app", "arn": ARN, "value": {"JWT_SECRET": "planted"}}],
    "hosts": {
        f"host-{number}": {
            "instance_id": f"i-{number:017x}",
            "launched_at": f"2026-01-02T0{number}:00:00Z",
            "ipv4": f"10.99.0.{100 + number}",
            "tags": {"Name": f"host-{number}"},
        }
        for number in (1, 2, 3)
    },
}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    account.make_account(ACCOUNT)
    server = calls.server("127.0.0.1", 0, account.gaps(ACCOUNT))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join(timeout=5)


def client(url: str, service: str, access_key: str = "ASIAGOOD") -> Any:
    return boto3.client(
        service,
        endpoint_url=url,
        region_name="eu-central-1",
        aws_access_key_id=access_key,
        aws_secret_access_key="secret",
        config=Config(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=30),
    )


def test_a_secret_has_the_arn_that_the_hosts_were_told(url: str) -> None:
    secret = client(url, "secretsmanager").get_secret_value(SecretId=ARN)
    assert json.loads(secret["SecretString"]) == {"JWT_SECRET": "planted"}


def test_instances_are_those_of_the_hosts(url: str) -> None:
    reservations = client(url, "ec2").describe_instances()["Reservations"]
    found = {item["InstanceId"]: item for reservation in reservations for item in reservation["Instances"]}
    assert set(found) == {host["instance_id"] for host in ACCOUNT["hosts"].values()}
    first = found["i-00000000000000001"]
    assert first["PrivateIpAddress"] == "10.99.0.101"
    assert first["LaunchTime"] == datetime(2026, 1, 2, 1, tzinfo=timezone.utc)
    assert {"Key": "Name", "Value": "host-1"} in first["Tags"]


def test_instances_are_in_service_and_registered(url: str) -> None:
    group = client(url, "autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"][0]
    states = {item["InstanceId"]: item["LifecycleState"] for item in group["Instances"]}
    assert states == {host["instance_id"]: "InService" for host in ACCOUNT["hosts"].values()}
    health = client(url, "elbv2").describe_target_health(TargetGroupArn=group["TargetGroupARNs"][0])
    assert {item["Target"]["Id"] for item in health["TargetHealthDescriptions"]} == set(states)


def test_the_registry_token_is_the_testbeds_own_and_good_for_hours(url: str) -> None:
    data = client(url, "ecr").get_authorization_token()["authorizationData"][0]
    assert base64.b64decode(data["authorizationToken"]) == b"AWS:planted-token"
    assert data["proxyEndpoint"] == "https://123456789012.dkr.ecr.eu-central-1.amazonaws.com"
    assert (data["expiresAt"] - datetime.now(timezone.utc)).total_seconds() > 3600


# One service of each protocol; the codes are those that AWS answers with.
CALLS = [
    ("ecr", "get_authorization_token", "AccessDeniedException", "ExpiredTokenException"),
    ("secretsmanager", "list_secrets", "AccessDeniedException", "ExpiredTokenException"),
    ("autoscaling", "describe_auto_scaling_groups", "AccessDenied", "ExpiredToken"),
    ("sts", "get_caller_identity", "AccessDenied", "ExpiredToken"),
    ("ec2", "describe_instances", "UnauthorizedOperation", "RequestExpired"),
]


@pytest.mark.parametrize(("service", "operation", "denied", "expired"), CALLS)
def test_marked_keys_are_refused(url: str, service: str, operation: str, denied: str, expired: str) -> None:
    for access_key, code in (("ASIADENIED1", denied), ("ASIAEXPIRED1", expired)):
        with pytest.raises(ClientError) as caught:
            getattr(client(url, service, access_key), operation)()
        assert caught.value.response["Error"]["Code"] == code
    getattr(client(url, service), operation)()


def test_a_refusal_names_the_action(url: str) -> None:
    with pytest.raises(ClientError, match="not authorized to perform: ecr:GetAuthorizationToken"):
        client(url, "ecr", "ASIADENIED1").get_authorization_token()
