# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""log_group, against moto with AWS's refusals."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from typing import Any

import pytest

from testbed.services.aws.log_groups import LogGroups
from tests.integration.aws.stage import call
from tests.integration.endpoint import ACCOUNT, REGION, Endpoint

KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/12345678-1234-1234-1234-123456789012"
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def served() -> Iterator[Endpoint]:
    with Endpoint(LogGroups(ACCOUNT, REGION).answer) as endpoint:
        yield endpoint


@pytest.fixture
def aws(served: Endpoint) -> Endpoint:
    return served.at_its_best()


@pytest.fixture
def name() -> str:
    return f"/ecs/permissions-{next(_numbers)}"


def writes(aws: Endpoint) -> list[str]:
    """The calls since the last run that change something."""
    found = [name.partition(":")[2] for name in aws.faults.calls]
    return [name for name in found if not name.startswith(("Describe", "List"))]


def run(aws: Endpoint, name: str, *, check: bool = False, **options: Any) -> dict[str, Any]:
    aws.faults.calls.clear()
    return call(aws, "log_group", {"name": name, **options}, check=check)


def both(aws: Endpoint, name: str, **options: Any) -> dict[str, Any]:
    """Check mode writes nothing and predicts the run; the next run changes nothing."""
    expected = run(aws, name, check=True, **options)
    assert expected["changed"] and writes(aws) == [], expected
    result = run(aws, name, **options)
    written = writes(aws)
    assert (result["failed"], result["changed"], result["diff"]) == (False, True, expected["diff"])
    for check in (True, False):
        again = run(aws, name, check=check, **options)
        assert (again["failed"], again["changed"], writes(aws)) == (False, False, [])
        assert again["diff"]["before"] == again["diff"]["after"]
    return {**result, "written": written}


def described(aws: Endpoint, name: str) -> dict[str, Any]:
    found = aws.client("logs").describe_log_groups(logGroupNamePrefix=name)["logGroups"]
    return next((dict(group) for group in found if group["logGroupName"] == name), {})


def test_a_group_is_created_with_all_settings(aws: Endpoint, name: str) -> None:
    aws.client("logs").create_log_group(logGroupName=f"{name}-other")
    options = {"retention": 30, "kms_key": KEY, "log_class": "INFREQUENT_ACCESS", "tags": {"team": "identity"}}
    result = both(aws, name, **options)
    assert result["written"] == ["CreateLogGroup", "PutRetentionPolicy"]
    found = described(aws, name)
    assert (found["retentionInDays"], found["kmsKeyId"], found["logGroupClass"]) == (30, KEY, "INFREQUENT_ACCESS")
    assert result["log_group_arn"] == found["arn"].removesuffix(":*")
    assert aws.client("logs").list_tags_for_resource(resourceArn=result["log_group_arn"])["tags"]["team"] == "identity"


def test_another_retention_keeps_the_group_and_its_logs(aws: Endpoint, name: str) -> None:
    run(aws, name, retention=30)
    logs = aws.client("logs")
    logs.create_log_stream(logGroupName=name, logStreamName="api")
    events = [{"timestamp": int(time.time() * 1000), "message": "kept"}]
    logs.put_log_events(logGroupName=name, logStreamName="api", logEvents=events)
    created = described(aws, name)["creationTime"]

    def kept() -> bool:
        streams = logs.get_log_events(logGroupName=name, logStreamName="api", startTime=0)["events"]
        return described(aws, name)["creationTime"] == created and [event["message"] for event in streams] == ["kept"]

    for days in (1096, 2192, 3288, "7"):
        assert both(aws, name, retention=days)["written"] == ["PutRetentionPolicy"]
        assert described(aws, name)["retentionInDays"] == int(days) and kept()
    assert both(aws, name, retention="never")["written"] == ["DeleteRetentionPolicy"]
    assert "retentionInDays" not in described(aws, name) and kept()

    run(aws, name, retention=30)
    refused = run(aws, name, retention=31)
    assert refused["msg"].startswith(f"AWS does not take a retention of 31 days for the log group {name}: ")
    assert "Its logs are kept for 30 days, as before. Known to be taken are 1, 3, 5, 7, " in refused["msg"]
    assert described(aws, name)["retentionInDays"] == 30 and kept()
    assert "is no number of days" in run(aws, name, retention="a month")["msg"] and writes(aws) == []


def test_what_is_not_declared_is_left_alone(aws: Endpoint, name: str) -> None:
    run(aws, name, retention=30, kms_key=KEY, tags={"team": "identity", "cost": 7})
    result = run(aws, name)
    assert (result["changed"], result["diff"], writes(aws)) == (False, {"before": {}, "after": {}}, [])
    assert both(aws, name, kms_key="")["written"] == ["DisassociateKmsKey"]
    assert both(aws, name, kms_key=KEY)["written"] == ["AssociateKmsKey"]
    found = described(aws, name)
    assert (found["retentionInDays"], found["kmsKeyId"]) == (30, KEY)

    logs = aws.client("logs")
    logs.tag_resource(resourceArn=result["log_group_arn"], tags={"theirs": "yes"})
    assert both(aws, name, tags={"team": "platform"})["written"] == ["UntagResource", "TagResource"]
    tags = logs.list_tags_for_resource(resourceArn=result["log_group_arn"])["tags"]
    assert {key: value for key, value in tags.items() if key != "evenkeel:tags"} == {
        "team": "platform",
        "theirs": "yes",
    }


def test_an_interrupted_creation_is_completed(aws: Endpoint, name: str) -> None:
    aws.faults.denied["logs:PutRetentionPolicy"] = ""
    result = run(aws, name, retention=30)
    assert f"needs logs:PutRetentionPolicy on the log group {name}" in result["msg"]
    aws.faults.denied.clear()
    assert both(aws, name, retention=30)["written"] == ["PutRetentionPolicy"]


def test_another_class_is_refused(aws: Endpoint, name: str) -> None:
    run(aws, name)
    for check in (True, False):
        result = run(aws, name, log_class="INFREQUENT_ACCESS", retention=7, check=check)
        assert (
            f"the log group {name} is of the class STANDARD, and AWS can't make it INFREQUENT_ACCESS" in result["msg"]
        )
        assert writes(aws) == []


def test_a_group_is_deleted_where_that_is_declared(aws: Endpoint, name: str) -> None:
    run(aws, name)
    run(aws, f"{name}-other")
    assert both(aws, name, state="absent")["written"] == ["DeleteLogGroup"]
    assert described(aws, name) == {} and described(aws, f"{name}-other")
