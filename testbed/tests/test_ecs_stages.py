# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""BLUE_GREEN, LINEAR and CANARY deployments of Amazon ECS."""

from __future__ import annotations

from typing import Any

import pytest

from testbed.services.aws.ecs import pretended, stages
from testbed.services.aws.ecs.state import Deployment
from testbed.tests.ecs_bench import BREAKER, Bench, steady


def stage_list(bench: Bench, deployment: Deployment, seconds: float) -> list[tuple[str, float, float]]:
    seen: list[tuple[str, float, float]] = []

    def note() -> None:
        now = (deployment.stage, deployment.target.test_weight, deployment.target.weight)
        if not seen or seen[-1] != now:
            seen.append(now)

    bench.pass_time(seconds, note)
    return seen


def test_blue_green_goes_through_its_stages() -> None:
    bench = steady(Bench(2, strategy="BLUE_GREEN", bakeTimeInMinutes=1))
    blue = bench.service.primary
    deployment = bench.deploy("better")
    assert (blue.weight, deployment.target.weight) == (100.0, 0.0)
    counts: set[int] = set()
    seen = stage_list(bench, deployment, 10)
    bench.pass_time(3, lambda: counts.add(len(bench.tasks(blue))))
    assert (deployment.stage, deployment.target.weight, blue.weight, counts) == ("BAKE_TIME", 100.0, 0.0, {2})
    bench.pass_time(20)
    assert (deployment.status, bench.images) == ("SUCCESSFUL", ["better", "better"])
    order = [stage for stage, _test, _weight in seen if stage]
    assert list(dict.fromkeys(order)) == list(stages.STAGES[1 : stages.STAGES.index("BAKE_TIME") + 1])
    assert ("PRE_PRODUCTION_TRAFFIC_SHIFT", 100.0, 0.0) in seen


def test_a_green_revision_that_fails_gets_no_traffic() -> None:
    bench = steady(Bench(2, strategy="BLUE_GREEN", behaviours={"bad": pretended.crashes()}, **BREAKER))
    blue = bench.service.primary
    deployment = bench.deploy("bad")
    bench.pass_time(40)
    assert (deployment.status, blue.weight, bench.images) == ("ROLLBACK_SUCCESSFUL", 100.0, ["good", "good"])


def test_linear_and_canary_shift_by_steps() -> None:
    linear = {"strategy": "LINEAR", "linearConfiguration": {"stepPercent": 40.0, "stepBakeTimeInMinutes": 2}}
    assert [stages.weight(linear, minutes) for minutes in (0, 1.9, 2, 4)] == [40.0, 40.0, 80.0, 100.0]
    canary: dict[str, Any] = {
        "strategy": "CANARY",
        "canaryConfiguration": {"canaryPercent": 5.0, "canaryBakeTimeInMinutes": 3},
    }
    assert [stages.weight(canary, minutes) for minutes in (0, 2.9, 3)] == [5.0, 5.0, 100.0]
    bench = steady(Bench(1, **canary))
    deployment = bench.deploy("better")
    seen = stage_list(bench, deployment, 60)
    assert ("PRODUCTION_TRAFFIC_SHIFT", 100.0, 5.0) in seen and deployment.status == "SUCCESSFUL"


def hooked(kind: str, timeout: int = 100, action: str = "ROLLBACK") -> Bench:
    hook = {
        "targetType": kind,
        "hookTargetArn": "arn:aws:lambda:eu-central-1:123456789012:function:check",
        "lifecycleStages": ["POST_TEST_TRAFFIC_SHIFT"],
        "timeoutConfiguration": {"timeoutInMinutes": timeout, "action": action},
    }
    bench = Bench(1, strategy="BLUE_GREEN", lifecycleHooks=[hook])
    bench.functions = {"POST_TEST_TRAFFIC_SHIFT": "SUCCEEDED"}
    if kind == "PAUSE":
        bench.pass_time(20)
        [waiting] = bench.service.deployments[0].hooks
        waiting.status = "SUCCEEDED"
    return steady(bench)


def test_a_pause_waits_for_somebody() -> None:
    bench = hooked("PAUSE")
    deployment = bench.deploy("better")
    bench.pass_time(30)
    [hook] = deployment.hooks
    assert (deployment.stage, hook.status, deployment.target.weight) == (
        "POST_TEST_TRAFFIC_SHIFT",
        "AWAITING_ACTION",
        0.0,
    )
    hook.status = "SUCCEEDED"
    bench.pass_time(10)
    assert deployment.status == "SUCCESSFUL"


@pytest.mark.parametrize(("action", "status"), [("ROLLBACK", "ROLLBACK_SUCCESSFUL"), ("CONTINUE", "SUCCESSFUL")])
def test_a_pause_that_times_out(action: str, status: str) -> None:
    bench = hooked("PAUSE", timeout=10, action=action)
    deployment = bench.deploy("better")
    bench.pass_time(100)
    assert (deployment.status, deployment.hooks[0].status) == (status, "TIMED_OUT")


def test_a_function_that_fails_rolls_back() -> None:
    bench = hooked("AWS_LAMBDA")
    bench.functions = {"POST_TEST_TRAFFIC_SHIFT": "FAILED"}
    deployment = bench.deploy("better")
    bench.pass_time(60)
    assert (deployment.status, bench.images) == ("ROLLBACK_SUCCESSFUL", ["good"])
    assert deployment.reason.startswith(
        "Service deployment rolled back because POST_TEST_TRAFFIC_SHIFT lifecycle hook(s) failed."
    )
