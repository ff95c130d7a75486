# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Instance refreshes as clients see them: boto3 against a served endpoint."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from testbed.services.aws import calls
from testbed.services.aws.refreshes import Refreshes

REGION = "eu-west-2"
GROUP = "refreshed"


@pytest.fixture(scope="module")
def autoscaling() -> Iterator[Any]:
    server = calls.server("127.0.0.1", 0, [Refreshes("123456789012", REGION, step=60).answer])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()

    def client(service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=f"http://127.0.0.1:{server.server_port}",
            region_name=REGION,
            aws_access_key_id="ASIAGOOD",
            aws_secret_access_key="secret",
            config=Config(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=30),
        )

    client("ec2").create_launch_template(
        LaunchTemplateName=GROUP, LaunchTemplateData={"ImageId": "ami-12c6146b", "InstanceType": "t3.small"}
    )
    found: Any = client("autoscaling")
    found.create_auto_scaling_group(
        AutoScalingGroupName=GROUP,
        LaunchTemplate={"LaunchTemplateName": GROUP, "Version": "1"},
        MinSize=0,
        MaxSize=3,
        DesiredCapacity=2,
        AvailabilityZones=[f"{REGION}a"],
    )
    yield found
    server.shutdown()
    server.server_close()
    thread.join(timeout=5)


def code_of(call: Any, **arguments: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call(**{"AutoScalingGroupName": GROUP, **arguments})
    return str(caught.value.response["Error"]["Code"])


def test_errors_are_those_of_the_api(autoscaling: Any) -> None:
    assert code_of(autoscaling.cancel_instance_refresh) == "ActiveInstanceRefreshNotFound"
    assert code_of(autoscaling.rollback_instance_refresh) == "ActiveInstanceRefreshNotFound"
    autoscaling.start_instance_refresh(AutoScalingGroupName=GROUP)
    assert code_of(autoscaling.start_instance_refresh) == "InstanceRefreshInProgress"
    assert code_of(autoscaling.rollback_instance_refresh) == "IrreversibleInstanceRefresh"
    assert code_of(autoscaling.describe_instance_refreshes, AutoScalingGroupName="nosuch") == "ValidationError"
    [told] = autoscaling.describe_instance_refreshes(AutoScalingGroupName=GROUP)["InstanceRefreshes"]
    assert (told["Status"], told["InstancesToUpdate"], told["PercentageComplete"]) == ("Pending", 2, 0)
    autoscaling.cancel_instance_refresh(AutoScalingGroupName=GROUP)
    [told] = autoscaling.describe_instance_refreshes(AutoScalingGroupName=GROUP)["InstanceRefreshes"]
    assert told["Status"] == "Cancelling"


@pytest.mark.parametrize(
    "preferences",
    [
        {"MaxHealthyPercentage": 250, "MinHealthyPercentage": 90},
        {"CheckpointPercentages": [20, 120]},
        {"BakeTime": 172801},
        {"ScaleInProtectedInstances": "Keep"},
        {"AutoRollback": True},
    ],
)
def test_what_the_api_does_not_allow(autoscaling: Any, preferences: dict[str, Any]) -> None:
    with pytest.raises(ClientError, match="ValidationError"):
        autoscaling.start_instance_refresh(AutoScalingGroupName=GROUP, Preferences=preferences)
