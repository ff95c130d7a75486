# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Connections move to internal services in steps, by the weights of the listeners, as an operator moves them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from werkzeug.wrappers import Request, Response

from testbed.services.aws.calls import Call, parameters
from testbed.services.aws.targets import State
from tests.integration.aws.ecs_cutover_scene import NAMES, PORTS, ProbingAgent, Scene
from tests.integration.aws.ecs_declaration import policy_simulator
from tests.integration.aws.ecs_stage import CLUSTER, stage
from tests.integration.aws.interruptions import Interruptions, changes
from tests.integration.aws.stage import Played

WEIGHTS = [10, 50]
BEFORE = {"users": 2, "orders": 3, "users-nlb": 2, "orders-nlb": 2}
AFTER = {**BEFORE, "users": 0, "orders": 0}
TIMED_OUT: State = ("unhealthy", "Target.Timeout", "Request timed out")


class Witness(Interruptions):
    """Sees each call that changes something at the load balancer; `meanwhile` may do something at one."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[str] = []
        self.weights: list[tuple[str, int]] = []
        self.meanwhile: Callable[[str, int], None] = lambda _name, _weight: None

    def answer(self, call: Call, request: Request) -> Response | None:
        # The stand-in's own calls are not the controller's.
        ours = self._denied is None or call.service == "elasticloadbalancing"
        ended = super().answer(call, request) if ours else None
        if ended is None and call.service == "elasticloadbalancing" and changes(call.permission):
            self.writes.append(call.action)
            if call.action == "ModifyListener":
                self._note(parameters(request))
        return ended

    def _note(self, given: dict[str, str]) -> None:
        """The new service's share, by the name of its group."""
        shares = {
            given[key].split("/")[-2]: int(given[key.replace("TargetGroupArn", "Weight")])
            for key in given
            if re.search(r"TargetGroups\.member\.\d+\.TargetGroupArn$", key)
        }
        name = next(name for name in shares if not name.endswith("-legacy"))
        share = shares[name] if len(shares) > 1 else 100
        self.weights.append((name, share))
        self.meanwhile(name, share)


@pytest.fixture(scope="module")
def witness() -> Witness:
    return Witness()


@pytest.fixture(scope="module")
def started(witness: Witness) -> Iterator[Scene]:
    agent = ProbingAgent()
    with stage(policy_simulator, first=witness.answer, agent=agent) as ecs:
        made = Scene(ecs, agent)
        made.begin()
        made.variables |= {"ecs_cutover_weights": WEIGHTS, "ecs_cutover_alarms": ["front-5xx"]}
        yield made


@pytest.fixture
def scene(started: Scene, witness: Witness) -> Scene:
    """All clients use the legacy services, and nothing is wrong."""
    started.ecs.endpoint.traffic.sick.clear()
    alarm(started, "OK")
    witness.meanwhile = lambda _name, _weight: None
    if started.counts() != BEFORE:
        returned = started.cut_over(ecs_cutover_back=True)
        assert returned.code == 0, returned.text
    calm(started, witness)
    return started


def calm(scene: Scene, witness: Witness) -> None:
    scene.calm()
    witness.writes.clear()
    witness.weights.clear()


def alarm(scene: Scene, state: str) -> None:
    watch = scene.ecs.endpoint.client("cloudwatch")
    watch.put_metric_alarm(
        AlarmName="front-5xx", MetricName="Errors", Namespace="Shop", Statistic="Sum", Period=60, EvaluationPeriods=1,
        Threshold=1.0, ComparisonOperator="GreaterThanThreshold",
    )  # fmt: skip
    watch.set_alarm_state(AlarmName="front-5xx", StateValue=state, StateReason="too many errors")


def groups(scene: Scene) -> set[str]:
    listed = scene.ecs.endpoint.client().describe_target_groups()["TargetGroups"]
    return {str(one["TargetGroupName"]) for one in listed}


def forwards(scene: Scene) -> dict[int, list[str]]:
    """The groups of each listener that get connections."""
    elb = scene.ecs.endpoint.client()
    arn = elb.describe_load_balancers(Names=["inside"])["LoadBalancers"][0]["LoadBalancerArn"]
    found = {}
    for listener in elb.describe_listeners(LoadBalancerArn=arn)["Listeners"]:
        action: dict[str, Any] = listener["DefaultActions"][0]
        listed = action.get("ForwardConfig", {}).get("TargetGroups") or [action]
        found[listener["Port"]] = [one["TargetGroupArn"].split("/")[-2] for one in listed]
    return found


def deployments(scene: Scene) -> int:
    """Of the gateway."""
    return len(scene.ecs.ecs.list_service_deployments(cluster=CLUSTER, service="gateway")["serviceDeployments"])


ALONE = {PORTS[name]: [f"{name}-nlb"] for name in NAMES}


def at_rest(scene: Scene) -> bool:
    """Whether nothing of a canary is left."""
    return forwards(scene) == ALONE and not any(name.endswith("-legacy") for name in groups(scene))


def test_connections_move_in_steps(scene: Scene, witness: Witness) -> None:
    checked = scene.cut_over("--check")
    assert checked.code == 0, checked.text
    assert (scene.ecs.writes, witness.writes) == ([], [])
    assert "would get 10 % of the new connections: users-nlb" in checked.text
    before_it = deployments(scene)
    moved = scene.cut_over()
    assert moved.code == 0, moved.text
    # With other URLs, and again once no new connection goes to a legacy service.
    assert deployments(scene) == before_it + 2
    steps = [(f"{name}-nlb", weight) for name in NAMES for weight in (10, 50, 100)]
    # Health checks of the legacy groups begin while they get nothing.
    joined = [(f"{name}-nlb", 100) for name in NAMES]
    before = [(f"{name}-nlb", 0) for name in NAMES]
    assert witness.weights == [*joined, *before, *steps, *joined]
    assert scene.counts() == AFTER
    assert all(url.startswith("http://inside-") for url in scene.urls().values())
    assert at_rest(scene)
    calm(scene, witness)
    again = scene.cut_over()
    assert (again.code, again.changed, scene.ecs.writes, witness.writes) == (0, [], [], []), again.text


@pytest.mark.weekly
def test_all_services_at_once(scene: Scene, witness: Witness) -> None:
    moved = scene.cut_over(ecs_cutover_weights=[25], ecs_cutover_batch=0)
    assert moved.code == 0, moved.text
    shares = [weight for _name, weight in witness.weights]
    assert shares == [100, 100, 0, 0, 25, 25, 100, 100, 100, 100]
    assert scene.counts() == AFTER


def test_a_service_that_fails_under_traffic_is_named_and_goes_back(scene: Scene, witness: Witness) -> None:
    before = scene.urls()

    def meanwhile(name: str, weight: int) -> None:
        if (name, weight) == ("orders-nlb", 50):
            alarm(scene, "ALARM")

    witness.meanwhile = meanwhile
    told = scene.cut_over()
    assert told.code != 0
    assert "orders-nlb: with 50 % of the connections, the alarm front-5xx is in alarm: too many errors" in told.failures
    assert "The legacy services serve again: users, orders." in told.failures
    # At once, before the gateway is deployed.
    after = witness.weights[witness.weights.index(("orders-nlb", 50)) + 1 :]
    assert after[:2] == [("users-nlb", 0), ("orders-nlb", 0)]
    assert (scene.urls(), scene.counts()) == (before, BEFORE)
    assert at_rest(scene)


@pytest.mark.weekly
def test_a_service_that_fails_with_all_connections_is_named(scene: Scene, witness: Witness) -> None:
    before = scene.urls()

    def meanwhile(name: str, weight: int) -> None:
        if (name, weight) == ("orders-nlb", 100) and ("users-nlb", 50) in witness.weights:
            alarm(scene, "ALARM")

    witness.meanwhile = meanwhile
    told = scene.cut_over(ecs_cutover_weights=[50])
    assert told.code != 0
    assert "orders-nlb: with 100 % of the connections, the alarm front-5xx is in alarm" in told.failures
    assert (scene.urls(), scene.counts()) == (before, BEFORE)
    assert at_rest(scene)


def test_legacy_tasks_that_the_load_balancer_does_not_reach_are_named(scene: Scene, witness: Witness) -> None:
    before = scene.urls()
    listed = scene.ecs.ecs.list_tasks(cluster=CLUSTER, serviceName="orders")["taskArns"]
    [task, *_others] = scene.ecs.ecs.describe_tasks(cluster=CLUSTER, tasks=listed)["tasks"]
    details = {one["name"]: one["value"] for one in task["attachments"][0]["details"]}
    address = details["privateIPv4Address"]
    scene.ecs.endpoint.traffic.sick[address] = TIMED_OUT
    told = scene.cut_over(ecs_cutover_timeout=5)
    assert told.code != 0
    assert f"orders: the target {address}:8080 is unhealthy" in told.failures
    assert "must admit the load balancer's security groups, or its subnets, on port 8080" in told.failures
    assert ("users-nlb", 10) not in witness.weights
    assert (scene.urls(), scene.counts()) == (before, BEFORE)
    assert at_rest(scene)


@pytest.fixture
def of_others(scene: Scene) -> Iterator[str]:
    """A target group that happens to have the name."""
    elb = scene.ecs.endpoint.client()
    made = elb.create_target_group(Name="users-nlb-legacy", Protocol="TCP", Port=1, VpcId=scene.vpc, TargetType="ip")
    yield "users-nlb-legacy"
    elb.delete_target_group(TargetGroupArn=made["TargetGroups"][0]["TargetGroupArn"])


def test_what_others_made_stays(scene: Scene, of_others: str) -> None:
    told = scene.cut_over()
    assert told.code != 0
    assert f"{of_others} exists without the tag evenkeel:legacy" in told.failures
    assert of_others in groups(scene)
    assert scene.counts() == BEFORE
    plain = scene.cut_over(ecs_cutover_weights=[])
    assert plain.code == 0, plain.text
    assert of_others in groups(scene)


@pytest.mark.parametrize(
    ("weights", "words"),
    [([50, 10], "ecs_cutover_weights has 50, 10: list ascending percentages"), ([0], "ecs_cutover_weights has 0:")],
)
def test_weights_that_make_no_sense_are_refused(scene: Scene, weights: list[int], words: str) -> None:
    told = scene.cut_over(ecs_cutover_weights=weights)
    assert told.code != 0
    assert words in told.failures
    assert scene.ecs.writes == []


@pytest.mark.parametrize(
    ("changed", "back"),
    [
        (14, True),
        (17, False),
        pytest.param(9, False, marks=pytest.mark.weekly),
        pytest.param(20, {"weights": []}, marks=pytest.mark.weekly),
        pytest.param(24, True, marks=pytest.mark.weekly),
    ],
)
def test_a_run_that_is_killed_goes_on_or_returns(
    scene: Scene, witness: Witness, changed: int, back: bool | dict[str, Any]
) -> None:
    with witness.after(changed):
        assert scene.cut_over().code != 0
    given: dict[str, Any] = {"ecs_cutover_back": True} if back is True else {}
    if isinstance(back, dict):
        given = {"ecs_cutover_weights": back["weights"]}
    told = scene.cut_over(**given)
    assert told.code == 0, told.text
    assert at_rest(scene)
    assert scene.counts() == (BEFORE if back is True else AFTER)


@pytest.mark.weekly
def test_each_call_that_is_denied_is_named(scene: Scene, witness: Witness) -> None:
    """The next run goes on, until one has what it needs."""
    runs: list[Played] = []
    with witness.each_denied_once() as denied:
        while not runs or runs[-1].code:
            assert len(runs) < 40, runs[-1].text
            runs.append(scene.cut_over())
    told = "".join(one.failures for one in runs)
    assert [permission for permission in denied if permission not in told] == []
    expected = {"CreateTargetGroup", "RegisterTargets", "DeregisterTargets", "ModifyListener", "DeleteTargetGroup"}
    assert {f"elasticloadbalancing:{name}" for name in expected} <= set(denied)
    assert scene.counts() == AFTER
    assert at_rest(scene)
