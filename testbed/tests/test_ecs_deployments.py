# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine of Amazon ECS: services, deployments and tasks, with a clock that the test moves."""

from __future__ import annotations

from typing import Any

import pytest

from testbed.services.aws.ecs import breaker, pretended
from testbed.services.aws.ecs.pretended import Behaviour
from testbed.services.aws.ecs.service_calls import CONFIGURATION
from testbed.services.aws.ecs.state import Service
from testbed.tests.ecs_bench import BREAKER, CLUSTER, GROUP, Bench, steady


@pytest.mark.parametrize(
    ("configuration", "desired", "expected"),
    [
        ({}, 1, 3),
        ({}, 7, 4),
        ({}, 25, 13),
        ({}, 1000, 200),
        ({"type": "COUNT", "value": 1}, 100, 1),
        ({"type": "COUNT", "value": 500}, 1, 500),
        ({"type": "BOUNDED_PERCENT", "value": 10}, 10, 3),
        ({"type": "UNBOUNDED_PERCENT", "value": 10}, 10, 1),
        ({"type": "UNBOUNDED_PERCENT", "value": 100}, 1000, 1000),
    ],
)
def test_threshold_of_the_circuit_breaker(configuration: dict[str, Any], desired: int, expected: int) -> None:
    assert breaker.threshold({"thresholdConfiguration": configuration} if configuration else {}, desired) == expected


def test_a_service_starts_its_tasks_and_becomes_steady() -> None:
    bench = Bench(2)
    [deployment] = bench.service.deployments
    assert (deployment.status, bench.service.primary.rollout_state) == ("PENDING", "IN_PROGRESS")
    bench.pass_time(2)
    assert (deployment.status, bench.images) == ("IN_PROGRESS", ["good", "good"])
    bench.pass_time(10)
    assert (deployment.status, bench.service.primary.rollout_state) == ("SUCCESSFUL", "COMPLETED")
    number = bench.service.primary.deployment_id
    assert bench.events == [
        "(service web) has started 2 tasks: ",
        f"(service web) (deployment {number}) deployment completed.",
        "(service web) has reached a steady state.",
    ]
    bench.pass_time(60)
    assert len(bench.events) == 3


def test_a_rolling_update_keeps_to_its_limits() -> None:
    bench = steady(Bench(4, minimumHealthyPercent=50, maximumPercent=100))
    before = bench.service.primary
    deployment = bench.deploy("better")
    seen = set()
    bench.pass_time(40, lambda: seen.add((len(bench.tasks(before)), len(bench.tasks(bench.service.primary)))))
    assert (deployment.status, bench.images) == ("SUCCESSFUL", ["better"] * 4)
    assert {old for old, _new in seen} == {2, 0}
    assert max(old + new for old, new in seen) == 4
    assert [item.status for item in bench.service.listed] == ["PRIMARY"]


@pytest.mark.parametrize(
    ("behaviour", "code", "reason", "exit_code"),
    [
        (pretended.crashes(after=1, code=3), "EssentialContainerExited", "Essential container in task exited", 3),
        (pretended.out_of_memory(after=1), "EssentialContainerExited", "Essential container in task exited", 137),
        (pretended.no_image("bad"), "TaskFailedToStart", "CannotPullContainerError: bad: not found", None),
        (pretended.no_secret("db"), "TaskFailedToStart", "ResourceInitializationError: ", None),
    ],
)
def test_the_breaker_rolls_back(behaviour: Behaviour, code: str, reason: str, exit_code: int | None) -> None:
    bench = steady(Bench(2, behaviours={"bad": behaviour}, **BREAKER))
    good = bench.service.primary
    deployment = bench.deploy("bad")
    bad = deployment.target
    bench.pass_time(60)
    assert bench.images == ["good", "good"]
    assert (deployment.status, deployment.breaker_status) == ("ROLLBACK_SUCCESSFUL", "TRIGGERED")
    assert deployment.reason == "Service deployment rolled back because the circuit breaker threshold was exceeded."
    assert deployment.rollback["serviceRevisionArn"] == good.arn
    assert (bad.rollout_state, bad.status, good.status) == ("FAILED", "INACTIVE", "PRIMARY")
    assert bench.service.settings["taskDefinition"] == "good"
    failed = [task for task in bench.engine.tasks.tasks.values() if task.revision == bad.id]
    assert len(failed) >= 3
    assert {(task.stop_code, task.last_status) for task in failed} <= {
        (code, "STOPPED"),
        ("ServiceSchedulerInitiated", "STOPPED"),
    }
    first = failed[0]
    assert first.stopped_reason.startswith(reason)
    assert first.containers[0].report.exit_code == exit_code
    named = [f"(deployment {bad.deployment_id}) deployment failed: tasks failed to start."]
    named += [f"rolling back to deployment {good.deployment_id}."]
    assert [event for event in bench.events if event.removeprefix("(service web) ") in named] == [
        f"(service web) {text}" for text in named
    ]


def test_rollback_goes_to_the_revision_that_succeeded_last_and_not_to_the_one_before() -> None:
    bench = steady(Bench(1, behaviours={"bad": pretended.crashes()}))
    good = bench.service.primary
    never_ran = bench.deploy("bad")
    bench.pass_time(5)
    assert never_ran.status == "IN_PROGRESS"
    worse = bench.deploy("bad", deploymentConfiguration={**CONFIGURATION, **BREAKER})
    bench.pass_time(60)
    assert (never_ran.status, never_ran.reason) == ("STOPPED", "Replaced by a new service deployment.")
    assert (worse.status, worse.way_back, bench.service.primary) == ("ROLLBACK_SUCCESSFUL", None, good)


def test_without_a_candidate_the_rollback_fails() -> None:
    bench = Bench(1, behaviours={"good": pretended.crashes()}, **BREAKER)
    bench.pass_time(60)
    [deployment] = bench.service.deployments
    assert (deployment.status, deployment.rollback) == ("ROLLBACK_FAILED", {})
    assert deployment.reason == "No rollback candidate was found to run the rollback."
    started = len(bench.agent.starts)
    bench.pass_time(60)
    assert len(bench.agent.starts) == started, "a failed deployment launches no tasks"


def test_without_rollback_the_old_tasks_stay() -> None:
    switch: dict[str, Any] = {"deploymentCircuitBreaker": {"enable": True, "rollback": False}}
    bench = steady(Bench(2, behaviours={"bad": pretended.crashes()}, **switch))
    deployment = bench.deploy("bad")
    bench.pass_time(60)
    assert (deployment.status, deployment.finished, bench.images) == ("STOPPED", None, ["good", "good"])
    assert [(item.status, item.rollout_state) for item in bench.service.listed] == [
        ("PRIMARY", "FAILED"),
        ("ACTIVE", "COMPLETED"),
    ]


def test_retries_take_longer_each_time() -> None:
    bench = Bench(1, behaviours={"good": pretended.crashes()})
    starts: list[float] = []

    def note() -> None:
        starts.extend([bench.now] * (len(bench.agent.starts) - len(starts)))

    bench.pass_time(60, note)
    pauses = [later - earlier for earlier, later in zip(starts, starts[1:])]
    assert len(pauses) >= 4 and pauses == sorted(pauses) and pauses[-1] > 4 * pauses[0]
    assert sum("unable to consistently start tasks" in event for event in bench.events) == 1


@pytest.mark.parametrize(("reset", "left"), [({}, 0), ({"resetOnHealthyTask": False}, 2)])
def test_a_healthy_task_resets_the_count_unless_that_is_off(reset: dict[str, Any], left: int) -> None:
    switch = {"enable": True, "rollback": True, **reset}
    bench = steady(Bench(2, behaviours={"flaky": pretended.crashes()}, deploymentCircuitBreaker=switch))
    deployment = bench.deploy("flaky")
    while deployment.failures < 2:
        bench.pass_time(0.5)
    bench.agent.behaviours.clear()
    bench.pass_time(20)
    assert (deployment.status, deployment.failures) == ("SUCCESSFUL", left)


def test_a_task_that_is_never_healthy_fails_the_deployment() -> None:
    bench = steady(Bench(1, checked=True, behaviours={"bad": pretended.NEVER_HEALTHY}, **BREAKER))
    deployment = bench.deploy("bad")
    bench.pass_time(60)
    assert (deployment.status, bench.images) == ("ROLLBACK_SUCCESSFUL", ["good"])
    failed = [task for task in bench.engine.tasks.tasks.values() if task.revision == deployment.target.id]
    assert failed[0].stopped_reason == "Task failed container health checks"
    ids = {task.id for task in failed}
    told = [event["message"] for event in bench.service.events if "failed container health checks" in event["message"]]
    assert any("Amazon ECS replaced 1 tasks due to an unhealthy" in item["message"] for item in bench.service.events)
    assert told and all(any(f"(service web) (task {identifier}) failed" in text for identifier in ids) for text in told)


def test_grace_period_holds_health_checks_off() -> None:
    bench = Bench(1, checked=True, behaviours={"good": pretended.NEVER_HEALTHY})
    bench.service.settings["healthCheckGracePeriodSeconds"] = 200  # 20 s of this clock
    bench.pass_time(18)
    assert len(bench.agent.starts) == 1
    bench.pass_time(10)
    assert len(bench.agent.starts) > 1


def test_targets_gate_a_deployment_and_drain_before_sigterm() -> None:
    bench = Bench(1)
    bench.service.settings["loadBalancers"] = [
        {"targetGroupArn": GROUP, "containerName": "main", "containerPort": 8080}
    ]
    bench.targets.first = "initial"
    bench.deploy("better")
    bench.pass_time(20)
    assert bench.service.deployments[0].status == "IN_PROGRESS"
    bench.targets.become("healthy", "initial")
    bench.pass_time(3)
    assert bench.service.deployments[0].status == "SUCCESSFUL"

    [old] = bench.tasks()
    bench.targets.first = "healthy"
    deployment = bench.deploy("best")
    bench.pass_time(20)
    assert (old.last_status, old.arn in bench.agent.stops, deployment.status) == ("DEACTIVATING", False, "IN_PROGRESS")
    bench.targets.become("unused", "draining")
    bench.pass_time(3)
    assert (old.last_status, old.arn in bench.agent.stops, deployment.status) == ("STOPPED", True, "SUCCESSFUL")
    told = [event for event in bench.events if "registered 1 targets" in event]
    assert told[-2:] == [
        f"(service web) {verb} 1 targets in (target-group {GROUP})" for verb in ("registered", "deregistered")
    ]


def test_unhealthy_targets_are_replaced() -> None:
    bench = Bench(1, **BREAKER)
    bench.service.settings["loadBalancers"] = [
        {"targetGroupArn": GROUP, "containerName": "main", "containerPort": 8080}
    ]
    bench.targets.first = "unhealthy"
    bench.deploy("better")
    bench.pass_time(60, lambda: bench.targets.become("unused", "draining"))
    assert bench.service.deployments[0].status == "ROLLBACK_FAILED"
    assert any("is unhealthy in (target-group" in event["message"] for event in bench.service.events)


def test_alarms_roll_back_also_while_it_bakes() -> None:
    alarms: dict[str, Any] = {"alarms": {"enable": True, "rollback": True, "alarmNames": ["5xx", "lag"]}}
    bench = Bench(1, **alarms, bakeTimeInMinutes=5)
    bench.pass_time(40)
    assert (bench.service.deployments[0].status, bench.service.deployments[0].alarm_status) == (
        "SUCCESSFUL",
        "MONITORING_COMPLETE",
    )
    deployment = bench.deploy("better")
    bench.pass_time(20)
    assert (deployment.status, deployment.stage, bench.images) == ("IN_PROGRESS", "BAKE_TIME", ["better"])
    bench.triggered = ["lag"]
    bench.pass_time(20)
    assert (deployment.status, deployment.alarm_status, deployment.triggered, bench.images) == (
        "ROLLBACK_SUCCESSFUL",
        "TRIGGERED",
        ["lag"],
        ["good"],
    )


def test_an_alarm_that_is_on_from_the_beginning_is_ignored() -> None:
    watched: dict[str, Any] = {"alarms": {"enable": True, "rollback": True, "alarmNames": ["5xx"]}}
    bench = steady(Bench(1, **watched))
    bench.triggered = ["5xx"]
    deployment = bench.deploy("better")
    bench.pass_time(20)
    assert (deployment.status, deployment.alarm_status) == ("SUCCESSFUL", "DISABLED")


def test_a_user_rolls_back_or_aborts() -> None:
    bench = steady(Bench(1, behaviours={"slow": Behaviour(starts_after=100)}))
    deployment = bench.deploy("slow")
    bench.pass_time(3)
    bench.engine.stop_deployment(deployment, "ROLLBACK", bench.now)
    assert deployment.status == "ROLLBACK_REQUESTED"
    bench.pass_time(10)
    assert (deployment.status, bench.images) == ("ROLLBACK_SUCCESSFUL", ["good"])
    assert "(service web) stopped 1 pending tasks." in bench.events
    deployment = bench.deploy("slow")
    bench.pass_time(3)
    bench.engine.stop_deployment(deployment, "ABORT", bench.now)
    bench.pass_time(10)
    assert (deployment.status, bench.images) == ("STOPPED", ["good"])


def test_early_success_leaves_the_rest_for_later() -> None:
    criteria: dict[str, Any] = {"enable": True, "healthyPercent": 50, "sourceServiceRevisionCleanup": "DEFERRED"}
    slow = Behaviour(stops_after=30)
    bench = steady(Bench(2, behaviours={"good": slow}, earlySuccessCriteria=criteria))
    deployment = bench.deploy("better")
    bench.pass_time(8)
    assert deployment.status == "SUCCESSFUL"
    assert len([task for task in bench.engine.tasks.of(bench.service.arn) if task.containers[0].image == "good"]) > 0
    bench.pass_time(60)
    assert bench.images == ["better", "better"]


def test_impossible_limits_are_told() -> None:
    bench = steady(Bench(1, minimumHealthyPercent=100, maximumPercent=100))
    bench.deploy("better")
    bench.pass_time(10)
    assert sum("because of the service deployment configuration" in event for event in bench.events) == 1


def test_protected_tasks_are_not_stopped() -> None:
    bench = steady(Bench(1))
    [task] = bench.tasks()
    task.protected_until = bench.now + 30
    deployment = bench.deploy("better")
    bench.pass_time(20)
    assert (bench.images, deployment.status) == (["better", "good"], "IN_PROGRESS")
    assert any("1 tasks under protection" in event["message"] for event in bench.service.events)
    bench.pass_time(20)
    assert (bench.images, deployment.status) == (["better"], "SUCCESSFUL")


def test_a_changed_count_is_no_deployment() -> None:
    bench = steady(Bench(1))
    bench.service.desired = 3
    bench.pass_time(10)
    assert (len(bench.images), len(bench.service.deployments)) == (3, 1)
    bench.service.desired = 2
    bench.pass_time(10)
    assert len(bench.images) == 2
    assert bench.events[-1] == "(service web) has reached a steady state."


def test_delete_drains() -> None:
    bench = steady(Bench(2, behaviours={"good": Behaviour(stops_after=5)}))
    bench.engine.delete(bench.service, bench.now)
    bench.pass_time(2)
    assert bench.service.status == "DRAINING"
    bench.pass_time(10)
    assert (bench.service.status, bench.service.listed) == ("INACTIVE", [])


def test_a_service_of_the_same_name_begins_anew() -> None:
    bench = steady(Bench(1))
    bench.engine.delete(bench.service, bench.now)
    bench.pass_time(5)
    bench.service = bench.engine.create(CLUSTER, "web", 1, bench.service.settings, bench.now)
    steady(bench)
    assert len(bench.service.deployments) == 1


def test_stopped_tasks_are_kept_for_an_hour() -> None:
    bench = steady(Bench(1))
    [task] = bench.tasks()
    bench.deploy("better")
    bench.pass_time(20)
    assert bench.engine.tasks.tasks[task.arn].last_status == "STOPPED"
    bench.engine.tick(bench.now + 3700)
    assert task.arn not in bench.engine.tasks.tasks


def test_events_are_a_hundred_at_most() -> None:
    bench = steady(Bench(1))
    for number in range(60):
        bench.service.desired = 1 + number % 2
        bench.pass_time(5)
    assert len(bench.service.events) == 100
    assert len({event["id"] for event in bench.service.events}) == 100


def test_states_of_a_task() -> None:
    bench = Bench(1)
    service: Service = bench.service
    states: list[str] = []

    def note() -> None:
        status = next(iter(bench.engine.tasks.tasks.values())).last_status
        if not states or states[-1] != status:
            states.append(status)

    bench.pass_time(5, note)
    bench.engine.delete(service, bench.now)
    bench.pass_time(5, note)
    assert states == ["PROVISIONING", "PENDING", "ACTIVATING", "RUNNING", "STOPPING", "DEPROVISIONING", "STOPPED"]
