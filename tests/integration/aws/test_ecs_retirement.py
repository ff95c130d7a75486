# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Services that are taken out of use, and come back with as many tasks as they had."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from werkzeug.wrappers import Request, Response

from testbed.services.aws.calls import Call
from tests.integration.aws.ecs_stage import CLUSTER, Stage, stage
from tests.integration.aws.interruptions import Interruptions
from tests.integration.aws.stage import call

SUSPENDED = {
    "DynamicScalingInSuspended": True,
    "DynamicScalingOutSuspended": True,
    "ScheduledScalingSuspended": True,
}
interruptions = Interruptions()


def interrupted(call: Call, request: Request) -> Response | None:
    """The tasks write their logs whatever the controller may do."""
    return None if call.service == "logs" else interruptions.answer(call, request)


@pytest.fixture(scope="module")
def ecs() -> Iterator[Stage]:
    with stage(first=interrupted) as made:
        yield made


def change(ecs: Stage, state: str, *services: str, check: bool = False) -> dict[str, Any]:
    wanted = {"cluster": CLUSTER, "services": list(services), "state": state, "wait_timeout": 10}
    return call(ecs.endpoint, "ecs_retirement", wanted, check=check)


def desired(ecs: Stage, name: str) -> int:
    return int(ecs.ecs.describe_services(cluster=CLUSTER, services=[name])["services"][0]["desiredCount"])


def tags(ecs: Stage, name: str) -> dict[str, str]:
    found = ecs.ecs.describe_services(cluster=CLUSTER, services=[name], include=["TAGS"])["services"][0]
    return {one["key"]: one["value"] for one in found.get("tags", [])}


def scaled(ecs: Stage, name: str, **suspended: bool) -> Any:
    """The name of a service with a scalable target; the function returns what is suspended."""
    scaling = ecs.endpoint.client("application-autoscaling")
    place = {"ServiceNamespace": "ecs", "ScalableDimension": "ecs:service:DesiredCount"}
    resource = f"service/{CLUSTER}/{name}"
    scaling.register_scalable_target(
        **place,
        ResourceId=resource,
        MinCapacity=2,
        MaxCapacity=9,
        SuspendedState={**dict.fromkeys(SUSPENDED, False), **suspended},
    )

    def state() -> dict[str, bool]:
        said = scaling.describe_scalable_targets(**place, ResourceIds=[resource])["ScalableTargets"][0]
        return dict(said["SuspendedState"])

    return state


def test_it_returns_with_its_number_and_its_scaling(ecs: Stage) -> None:
    name, _first = ecs.serving(count=3)
    other, _first = ecs.serving(count=2)
    suspended = scaled(ecs, name, DynamicScalingInSuspended=True)
    before = suspended()
    ecs.fake.writes.clear()
    predicted = change(ecs, "retired", name, other, check=True)
    assert predicted["changed"]
    assert ecs.writes == []
    assert change(ecs, "retired", name, other)["counts"] == predicted["counts"] == {name: 0, other: 0}
    assert (desired(ecs, name), desired(ecs, other)) == (0, 0)
    assert suspended() == SUSPENDED
    ecs.fake.writes.clear()
    assert not change(ecs, "retired", name, other)["changed"]
    assert ecs.writes == []
    assert change(ecs, "restored", name, other, check=True)["counts"] == {name: 3, other: 2}
    assert change(ecs, "restored", name, other)["changed"]
    assert (desired(ecs, name), desired(ecs, other)) == (3, 2)
    assert suspended() == before
    assert tags(ecs, name) == {}
    ecs.fake.writes.clear()
    assert not change(ecs, "restored", name, other)["changed"]
    assert ecs.writes == []


@pytest.mark.parametrize("state", ["retired", "restored"])
def test_killed_after_any_change_it_loses_no_number(ecs: Stage, state: str) -> None:
    names = [ecs.serving(count=number)[0] for number in (2, 3)]
    suspended = [scaled(ecs, name) for name in names]
    if state == "restored":
        change(ecs, "retired", *names)
    for moment in range(1, 20):
        with interruptions.after(moment):
            killed = change(ecs, state, *names)
        if not killed["failed"]:
            break
        assert "the process is gone" in killed["msg"]
    else:
        pytest.fail("it never ends")
    assert moment > 2
    if state == "retired":
        assert [desired(ecs, name) for name in names] == [0, 0]
        assert not change(ecs, "restored", *names)["failed"]
    assert [desired(ecs, name) for name in names] == [2, 3]
    assert [any(one().values()) for one in suspended] == [False, False]
    assert [tags(ecs, name) for name in names] == [{}, {}]


def test_each_missing_permission_is_named(ecs: Stage) -> None:
    name, _first = ecs.serving()
    scaled(ecs, name)
    with interruptions.each_denied_once() as denied:
        for state in ("retired", "restored"):
            for _again in range(10):
                told = change(ecs, state, name)
                if not told["failed"]:
                    break
                assert denied[-1] in told["msg"]
    assert {
        "application-autoscaling:DescribeScalableTargets",
        "application-autoscaling:RegisterScalableTarget",
        "ecs:DescribeServices",
        "ecs:TagResource",
        "ecs:UntagResource",
        "ecs:UpdateService",
    } == set(denied)
    assert desired(ecs, name) == 2


def test_a_service_that_does_not_exist_is_refused_before_anything_changes(ecs: Stage) -> None:
    name, _first = ecs.serving()
    told = change(ecs, "retired", name, "nothing-there")
    assert told["msg"].startswith("Nothing was changed: the cluster production has no active service nothing-there.")
    assert ecs.writes == []
