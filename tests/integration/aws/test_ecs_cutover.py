# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Services move behind their internal load balancer, and back, as an operator moves them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from testbed.services.aws.ecs.pretended import crashes
from tests.integration.aws.ecs_cutover_scene import ProbingAgent, Scene
from tests.integration.aws.ecs_declaration import REGISTRY, policy_simulator
from tests.integration.aws.ecs_stage import stage


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    agent = ProbingAgent()
    with stage(policy_simulator, agent=agent) as ecs:
        made = Scene(ecs, agent)
        made.begin()
        yield made


def test_a_bad_service_keeps_the_clients_where_they_are(scene: Scene) -> None:
    """Found by the deployment, and by the task that asks; each by its name and cause."""
    before = scene.urls()
    told = scene.cut_over(ecs_services=scene.with_orders(image=f"{REGISTRY}/orders:1.0-missing"))
    assert told.code != 0
    assert "orders-nlb: Nothing was registered: the image" in told.failures
    assert "The nearest tags are 1.0, and the newest is 1.0." in told.failures
    assert scene.ecs.writes == []
    scene.agent.by_command["crash"] = crashes(code=3)
    told = scene.cut_over(ecs_services=scene.with_orders(command=["crash"]))
    assert told.code != 0
    assert "orders-nlb" in told.failures
    assert "exit code 3" in told.failures, told.text
    assert (scene.urls(), scene.counts()["users"]) == (before, 2)
    dns = scene.dns_name()
    scene.agent.answers = {
        f"http://{dns}:3002/health": (200, 0.5),
        "http://public.example.com:3002/health": (200, 0.1),
        f"http://{dns}:5003/health": (503, 0.1),
    }
    told = scene.cut_over()
    assert told.code != 0
    assert (
        f"users-nlb: http://{dns}:3002/health answers in 0.500 s, and http://public.example.com:3002/health"
        in told.failures
    )
    assert f"orders-nlb: 9 of 9 requests to http://{dns}:5003/health failed: status 503" in told.failures
    assert "The clients were not changed." in told.failures
    assert (scene.urls(), scene.counts()["users"]) == (before, 2)


def test_an_alarm_turns_everything_back(scene: Scene) -> None:
    scene.calm()
    before = scene.urls()
    watch = scene.ecs.endpoint.client("cloudwatch")
    watch.put_metric_alarm(
        AlarmName="front-5xx", MetricName="Errors", Namespace="Shop", Statistic="Sum", Period=60, EvaluationPeriods=1,
        Threshold=1.0, ComparisonOperator="GreaterThanThreshold",
    )  # fmt: skip
    watch.set_alarm_state(AlarmName="front-5xx", StateValue="ALARM", StateReason="too many errors")
    told = scene.cut_over(ecs_cutover_alarms=["front-5xx", "never-made"])
    assert told.code != 0
    assert "the alarm never-made does not exist; the alarm front-5xx is in alarm: too many errors." in told.failures
    assert "The legacy services serve again: users, orders." in told.failures
    assert scene.urls() == before
    assert scene.counts() == {"users": 2, "orders": 3, "users-nlb": 2, "orders-nlb": 2}


def test_services_move_and_return(scene: Scene) -> None:
    scene.calm()
    before = scene.urls()
    assert before["USERS_SERVICE_URL"] == "http://public.example.com:3002"
    checked = scene.cut_over("--check")
    assert checked.code == 0, checked.text
    assert scene.ecs.writes == []
    moved = scene.cut_over()
    assert moved.code == 0, moved.text
    assert scene.counts() == {"users": 0, "orders": 0, "users-nlb": 2, "orders-nlb": 2}
    inside = scene.urls()
    assert all(url.startswith("http://inside-") for url in inside.values()), inside
    assert set(scene.agent.asked) == {f"{url}/health" for url in (*before.values(), *inside.values())}
    scene.calm()
    again = scene.cut_over()
    assert again.code == 0, again.text
    assert again.changed == []
    assert scene.ecs.writes == []
    back = scene.cut_over(ecs_cutover_back=True)
    assert back.code == 0, back.text
    assert scene.counts() == {"users": 2, "orders": 3, "users-nlb": 2, "orders-nlb": 2}
    assert scene.urls() == before
    scene.calm()
    assert scene.cut_over(ecs_cutover_back=True).changed == []
    assert scene.ecs.writes == []
