# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""target_drain on target groups, against moto with states and delays."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.endpoint import REGION, Endpoint
from tests.integration.support import await_true, run_by_ansible, run_module, start_module

A, B, C = (f"i-0000000000000000{letter}" for letter in "abc")
SECRET = "wJalrXUtnFEMI-planted"


@pytest.fixture(scope="module")
def served() -> Iterator[Endpoint]:
    with Endpoint() as endpoint:
        yield endpoint


@pytest.fixture
def endpoint(served: Endpoint) -> Endpoint:
    return served.at_its_best()


def arguments(endpoint: Endpoint, state: str, target: str, *groups: str, **more: Any) -> dict[str, Any]:
    return {
        "state": state,
        "target": target,
        "target_groups": list(groups),
        "region": REGION,
        "endpoint_url": endpoint.url,
        "access_key": "AKIATEST",
        "secret_key": SECRET,
        **more,
    }


def call(endpoint: Endpoint, state: str, target: str, *groups: str, check: bool = False, **more: Any) -> dict[str, Any]:
    result = run_module("target_drain", arguments(endpoint, state, target, *groups, **more), check=check)
    assert SECRET not in str(result)
    return result


def tags(endpoint: Endpoint, arn: str) -> dict[str, str]:
    [described] = endpoint.client().describe_tags(ResourceArns=[arn])["TagDescriptions"]
    return {tag["Key"]: tag["Value"] for tag in described["Tags"]}


def test_a_target_leaves_and_the_others_are_left_alone(endpoint: Endpoint) -> None:
    name, arn = endpoint.group(A, B, C)
    result = call(endpoint, "drained", A, name)
    assert (result["failed"], result["changed"]) == (False, True)
    assert endpoint.states.changes == [("DeregisterTargets", ((A, 80),))]
    assert endpoint.standings(arn) == {f"{B}:80": "healthy", f"{C}:80": "healthy"}
    assert result["places"] == [
        {
            "balancer": name,
            "target": f"{A}:80",
            "before": "healthy",
            "state": "unused",
            "reason": "Target.NotRegistered: Target is not registered to the target group",
        }
    ]
    assert [line.split(": ", 1)[1].partition(" in ")[0] for line in result["progress"]] == [
        f"{A}:80 is draining",
        f"{A}:80 is unused",
    ]
    assert result["seconds"] >= endpoint.states.draining
    assert result["timeout"] == 61
    assert result["diff"] == {"before": {name: {f"{A}:80": "healthy"}}, "after": {name: {f"{A}:80": "unused"}}}

    again = call(endpoint, "drained", A, name)
    assert (again["failed"], again["changed"]) == (False, False)


def test_the_state_of_a_target_is_told_and_nothing_changed(endpoint: Endpoint) -> None:
    name, arn = endpoint.group(A)
    for target, state in ((A, "healthy"), (B, "unused")):
        wanted = arguments(endpoint, "", target, name)
        result = run_module("target_info", {key: wanted[key] for key in wanted if key != "state"})
        assert not result["failed"] and not result.get("changed")
        assert [place["state"] for place in result["places"]] == [state]
    assert endpoint.states.changes == []
    assert endpoint.standings(arn) == {f"{A}:80": "healthy"}


def test_a_target_comes_back_when_it_is_healthy(endpoint: Endpoint) -> None:
    endpoint.states.registering = 0.6
    name, arn = endpoint.group(B)
    result = call(endpoint, "in_service", A, arn)
    assert (result["failed"], result["changed"]) == (False, True)
    assert result["places"][0]["state"] == "healthy"
    assert any("is initial" in line for line in result["progress"])
    assert endpoint.standings(arn) == {f"{A}:80": "healthy", f"{B}:80": "healthy"}

    again = call(endpoint, "in_service", A, name)
    assert (again["failed"], again["changed"]) == (False, False)


def test_a_draining_target_is_registered_again_and_stays(endpoint: Endpoint) -> None:
    endpoint.states.draining = 600
    name, arn = endpoint.group(f"{A}:8080", B)
    endpoint.client().deregister_targets(TargetGroupArn=arn, Targets=[{"Id": A, "Port": 8080}])
    assert endpoint.standings(arn)[f"{A}:8080"] == "draining"
    result = call(endpoint, "in_service", A, name)
    assert (result["failed"], result["changed"]) == (False, True)
    assert result["places"][0]["before"] == "draining"
    endpoint.states.draining = 0
    assert endpoint.standings(arn) == {f"{A}:8080": "healthy", f"{B}:80": "healthy"}


def test_a_port_of_its_own_comes_back(endpoint: Endpoint) -> None:
    name, arn = endpoint.group(f"{A}:8080", f"{A}:9090", B)
    plain, plain_arn = endpoint.group(A, B)
    assert call(endpoint, "drained", A, name, plain)["changed"]
    assert endpoint.standings(arn) == {f"{B}:80": "healthy"}
    # The first controller was killed: another one knows only what AWS knows.
    would = call(endpoint, "in_service", A, name, plain, check=True)
    assert would["diff"]["after"][name] == {f"{A}:8080": "healthy", f"{A}:9090": "healthy"}
    assert call(endpoint, "in_service", A, name, plain)["changed"]
    assert endpoint.standings(arn) == {f"{A}:8080": "healthy", f"{A}:9090": "healthy", f"{B}:80": "healthy"}
    assert endpoint.standings(plain_arn) == {f"{A}:80": "healthy", f"{B}:80": "healthy"}
    assert tags(endpoint, arn) == tags(endpoint, plain_arn) == {}
    assert not call(endpoint, "in_service", A, name, plain)["changed"]


def test_each_port_that_was_named_comes_back(endpoint: Endpoint) -> None:
    name, arn = endpoint.group(f"{A}:8080", f"{A}:9090", B)
    assert call(endpoint, "drained", f"{A}:8080", name)["changed"]
    assert call(endpoint, "drained", f"{A}:9090", name)["changed"]
    assert set(tags(endpoint, arn)["evenkeel:out:" + A].split()) == {"8080", "9090"}
    assert call(endpoint, "in_service", f"{A}:9090", name)["changed"]
    assert endpoint.standings(arn) == {f"{A}:9090": "healthy", f"{B}:80": "healthy"}
    assert call(endpoint, "in_service", A, name)["changed"]
    assert endpoint.standings(arn) == {f"{A}:8080": "healthy", f"{A}:9090": "healthy", f"{B}:80": "healthy"}
    assert tags(endpoint, arn) == {}


@pytest.mark.parametrize("killed_after", ["AddTags", "DeregisterTargets"])
def test_a_killed_drain_loses_no_port(endpoint: Endpoint, killed_after: str) -> None:
    endpoint.states.draining = 600 if killed_after == "DeregisterTargets" else 0.6
    name, arn = endpoint.group(f"{A}:8080", B)
    if killed_after == "AddTags":
        endpoint.faults.denied["elasticloadbalancing:DeregisterTargets"] = ""
        assert call(endpoint, "drained", A, name)["failed"]
        endpoint.faults.forget()
    else:
        running = start_module("target_drain", arguments(endpoint, "drained", A, name))
        await_true(lambda: endpoint.states.changes, "it is deregistered")
        running.process.kill()
        running.process.wait()
        endpoint.states.draining = 0.0
    assert tags(endpoint, arn) == {"evenkeel:out:" + A: "8080"}
    result = call(endpoint, "in_service", A, name)
    assert (result["failed"], result["changed"]) == (False, killed_after == "DeregisterTargets")
    assert endpoint.standings(arn) == {f"{A}:8080": "healthy", f"{B}:80": "healthy"}
    assert tags(endpoint, arn) == {}


@pytest.mark.parametrize("action", ["DescribeTags", "AddTags"])
def test_what_can_not_be_remembered_is_not_taken_out(endpoint: Endpoint, action: str) -> None:
    name, arn = endpoint.group(f"{A}:8080", B)
    endpoint.faults.denied[f"elasticloadbalancing:{action}"] = ""
    result = call(endpoint, "drained", A, name)
    assert result["failed"] and f"needs elasticloadbalancing:{action} on the target group {name}" in result["msg"]
    assert endpoint.standings(arn) == {f"{A}:8080": "healthy", f"{B}:80": "healthy"}


def test_a_draining_target_is_waited_for(endpoint: Endpoint) -> None:
    endpoint.states.draining = 1.0
    name, arn = endpoint.group(A)
    endpoint.client().deregister_targets(TargetGroupArn=arn, Targets=[{"Id": A}])
    result = call(endpoint, "drained", A, name)
    assert (result["failed"], result["changed"]) == (False, False)
    assert [place["state"] for place in result["places"]] == ["unused"]


def test_the_last_healthy_target_stays(endpoint: Endpoint) -> None:
    endpoint.traffic.sick[B] = ("unhealthy", "Target.Timeout", "Request timed out")
    safe, _ = endpoint.group(A, C)
    name, arn = endpoint.group(A, B)
    result = call(endpoint, "drained", A, safe, name)
    assert (result["failed"], result["changed"]) == (True, False)
    assert (
        f"{A} was not deregistered from {name}: no other target is healthy there, and min_healthy is 1."
        in result["msg"]
    )
    assert endpoint.states.changes == []

    forced = call(endpoint, "drained", A, name, min_healthy=0)
    assert (forced["failed"], endpoint.standings(arn)) == (False, {f"{B}:80": "unhealthy"})


def test_why_a_target_is_not_healthy(endpoint: Endpoint) -> None:
    said = "Health checks failed with these codes: [502]"
    endpoint.traffic.sick[A] = ("unhealthy", "Target.FailedHealthChecks", said)
    name, _ = endpoint.group(B)
    result = call(endpoint, "in_service", A, name, timeout=1)
    assert (result["failed"], result["changed"]) == (True, True)
    wanted = f"Not healthy within 1 s: {A}:80 is unhealthy in {name} (Target.FailedHealthChecks: {said})."
    assert result["msg"] == wanted


def test_a_stopped_instance_is_not_waited_for(endpoint: Endpoint) -> None:
    endpoint.traffic.sick[A] = ("unused", "Target.InvalidState", "Target is in the stopped state")
    name, _ = endpoint.group(B)
    started = time.monotonic()
    result = call(endpoint, "in_service", A, name, timeout=50)
    assert result["failed"]
    assert "the instance is stopped or terminated" in result["msg"]
    assert time.monotonic() - started < 25


def test_a_delay_longer_than_the_timeout_is_said(endpoint: Endpoint) -> None:
    endpoint.states.draining = 600
    name, _ = endpoint.group(A, B, delay=300)
    result = call(endpoint, "drained", A, name, timeout=0.5)
    assert result["failed"]
    assert f"Not deregistered within 0.5 s: {A}:80 is draining in {name}" in result["msg"]
    assert "The timeout of 0.5 s is shorter than the deregistration delay of 300 s." in str(result["warnings"])


@pytest.mark.parametrize(("state", "target", "after"), [("drained", A, "unused"), ("in_service", C, "healthy")])
def test_check_mode_tells_and_touches_nothing(endpoint: Endpoint, state: str, target: str, after: str) -> None:
    name, arn = endpoint.group(A, B)
    before = endpoint.standings(arn)
    result = call(endpoint, state, target, name, check=True)
    assert (result["failed"], result["changed"]) == (False, True)
    assert result["diff"]["after"] == {name: {f"{target}:80" if state == "in_service" else f"{A}:80": after}}
    assert (endpoint.states.changes, endpoint.standings(arn)) == ([], before)


def test_only_the_named_port_leaves(endpoint: Endpoint) -> None:
    name, arn = endpoint.group("10.0.0.1:80", "10.0.0.1:8080", "10.0.0.2:80", kind="ip")
    assert call(endpoint, "drained", "10.0.0.1:8080", name)["changed"]
    assert endpoint.standings(arn) == {"10.0.0.1:80": "healthy", "10.0.0.2:80": "healthy"}
    assert call(endpoint, "in_service", "10.0.0.1:8080", name)["changed"]
    both = call(endpoint, "drained", "10.0.0.1", name)
    assert [place["target"] for place in both["places"]] == ["10.0.0.1:80", "10.0.0.1:8080"]
    assert endpoint.standings(arn) == {"10.0.0.2:80": "healthy"}


def test_a_group_that_is_missing_stops_it_before_anything_changes(endpoint: Endpoint) -> None:
    name, _ = endpoint.group(A, B)
    result = call(endpoint, "drained", A, name, "nosuch")
    assert (result["failed"], result["changed"]) == (True, False)
    assert result["msg"].startswith(f"There is no target group nosuch in {REGION}")
    assert endpoint.states.changes == []


def test_a_target_of_the_wrong_kind(endpoint: Endpoint) -> None:
    name, _ = endpoint.group(A, B)
    assert "has the target type instance" in call(endpoint, "in_service", "10.0.0.1", name)["msg"]
    assert "no instance id" in call(endpoint, "in_service", "host-1", name)["msg"]


@pytest.mark.parametrize(
    ("action", "state"),
    [
        ("DescribeTargetGroups", "drained"),
        ("DescribeTargetGroupAttributes", "drained"),
        ("DescribeTargetHealth", "drained"),
        ("DeregisterTargets", "drained"),
        ("RegisterTargets", "in_service"),
    ],
)
def test_a_denied_call_names_the_permission(endpoint: Endpoint, action: str, state: str) -> None:
    name, _ = endpoint.group(B, *([A] if state == "drained" else []))
    endpoint.faults.denied[f"elasticloadbalancing:{action}"] = ""
    result = call(endpoint, state, A, name)
    assert result["failed"]
    assert f"the role or user needs elasticloadbalancing:{action} on the target group {name}" in result["msg"]
    assert endpoint.states.changes == []


def test_who_may_not_leave_everywhere_leaves_nowhere(endpoint: Endpoint) -> None:
    first, first_arn = endpoint.group(A, B)
    second, second_arn = endpoint.group(A, B)
    endpoint.faults.denied["elasticloadbalancing:DeregisterTargets"] = second_arn
    result = call(endpoint, "drained", A, first, second)
    assert result["failed"]
    assert f"It was registered in {first} again." in result["msg"]
    assert endpoint.standings(first_arn)[f"{A}:80"] == endpoint.standings(second_arn)[f"{A}:80"] == "healthy"


def test_expired_and_missing_credentials(endpoint: Endpoint) -> None:
    name, _ = endpoint.group(A, B)
    assert "have expired" in call(endpoint, "drained", A, name, access_key="ASIAEXPIRED1")["msg"]
    bare = arguments(endpoint, "drained", A, name)
    del bare["access_key"], bare["secret_key"]
    nowhere = {"AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": "/dev/null", "HOME": "/nonexistent"}
    assert "No AWS credentials were found" in run_module("target_drain", bare, variables=nowhere)["msg"]
    unknown = run_module("target_drain", {**bare, "profile": "nosuch"}, variables=nowhere)
    assert "nosuch" in unknown["msg"]
    del bare["region"]
    assert "region" in run_module("target_drain", bare, variables=nowhere)["msg"]


def test_throttled_calls_are_made_again(endpoint: Endpoint) -> None:
    name, _ = endpoint.group(A, B)
    actions = {"DescribeTargetHealth": 2, "DeregisterTargets": 1}
    endpoint.faults.throttled.update({f"elasticloadbalancing:{action}": times for action, times in actions.items()})
    result = call(endpoint, "drained", A, name)
    assert (result["failed"], result["changed"]) == (False, True)


def test_an_endpoint_that_dies_while_draining_is_a_no() -> None:
    with Endpoint() as own:
        own.states.draining = 600
        name, _ = own.group(A, B)
        running = start_module("target_drain", arguments(own, "drained", A, name, timeout=3))
        await_true(lambda: own.states.changes, "it was deregistered")
    result = running.result()
    assert (result["failed"], result["changed"]) == (True, True)
    assert "DescribeTargetHealth got no answer" in result["msg"]


def test_through_ansible(endpoint: Endpoint) -> None:
    name, arn = endpoint.group(A, B)
    code, output = run_by_ansible("target_drain", arguments(endpoint, "drained", A, name), "--diff", "-vvv")
    assert (code, endpoint.standings(arn)) == (0, {f"{B}:80": "healthy"}), output
    assert SECRET not in output
    assert "state: unused" in output
