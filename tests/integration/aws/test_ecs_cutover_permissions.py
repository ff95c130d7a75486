# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The deployer's policy has the calls of a cutover, its way back and of moving secrets, with their resources."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

import pytest
from werkzeug.wrappers import Request, Response

from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.policy_statements import ClusterPlace
from testbed.services.aws.calls import Call, parameters
from testbed.services.aws.scaling_tags import ScalingTags
from tests.integration.aws.ecs_cutover_scene import ProbingAgent, Scene
from tests.integration.aws.ecs_declaration import policy_simulator
from tests.integration.aws.ecs_stage import CLUSTER, stage
from tests.integration.aws.stage import Played
from tests.integration.endpoint import ACCOUNT, REGION

KEY = "AKIADEPLOYER"
DEPLOYER = "production-deployer"
PLACE = ClusterPlace(CLUSTER, REGION, ACCOUNT)
OF_ALL = {"sts:GetCallerIdentity"}
OF_TARGET_GROUPS = {
    f"elasticloadbalancing:{action}"
    for action in (
        "AddTags",
        "DeleteTargetGroup",
        "DeregisterTargets",
        "ModifyTargetGroup",
        "ModifyTargetGroupAttributes",
        "RegisterTargets",
        "RemoveTags",
    )
}


class Recorder:
    """The calls of the deployer, each with the ARN that it is about, or "" where it is about none that is checked."""

    def __init__(self) -> None:
        self.calls: set[tuple[str, str]] = set()

    def answer(self, call: Call, request: Request) -> Response | None:
        if call.access_key == KEY and call.permission not in OF_ALL:
            given = json.loads(request.get_data() or b"{}") if call.protocol == "json" else parameters(request)
            self.calls.add((call.permission, resource(call.permission, given)))
        return None

    @property
    def permissions(self) -> set[str]:
        return {permission for permission, _resource in self.calls}


def resource(permission: str, given: Mapping[str, Any]) -> str:
    """By the Service Authorization Reference of AWS."""
    if permission in ("ecs:CreateService", "ecs:UpdateService"):
        return PLACE.arn("ecs", f"service/{CLUSTER}/{given.get('service') or given.get('serviceName')}")
    if permission in ("ecs:TagResource", "ecs:UntagResource"):
        return str(given["resourceArn"])
    if permission == "ecs:RunTask":
        return str(given["taskDefinition"])
    if permission in ("ssm:GetParameter", "ssm:PutParameter"):
        return PLACE.arn("ssm", f"parameter/{given['Name'].lstrip('/')}")
    if permission in ("iam:GetRolePolicy", "iam:PutRolePolicy"):
        return PLACE.role(str(given["RoleName"]))
    if permission == "elasticloadbalancing:CreateTargetGroup":
        return PLACE.arn("elasticloadbalancing", f"targetgroup/{given['Name']}/0123456789abcdef")
    if permission == "elasticloadbalancing:ModifyListener":
        # In moto, the ARNs of all listeners are those of an Application Load Balancer.
        return str(given["ListenerArn"]).replace(":listener/app/", ":listener/net/")
    if permission in OF_TARGET_GROUPS:
        return str(given.get("TargetGroupArn") or given["ResourceArns.member.1"])
    return ""


def allows(statements: list[dict[str, Any]], permission: str, about: str) -> bool:
    return any(
        permission in one["Action"] and (not about or any(fnmatchcase(about, pattern) for pattern in one["Resource"]))
        for one in statements
    )


@pytest.fixture(scope="module")
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture(scope="module")
def scene(recorder: Recorder) -> Iterator[Scene]:
    agent = ProbingAgent()
    with stage(policy_simulator, ScalingTags().answer, first=recorder.answer, agent=agent) as ecs:
        made = Scene(ecs, agent)
        made.begin()
        ecs.endpoint.client("application-autoscaling").register_scalable_target(
            ServiceNamespace="ecs", ResourceId=f"service/{CLUSTER}/users", MinCapacity=1, MaxCapacity=4,
            ScalableDimension="ecs:service:DesiredCount",
        )  # fmt: skip
        made.variables |= {"ecs_deployer": DEPLOYER, "ecs_cutover_alarms": ["front-5xx"]}
        yield made


def written(scene: Scene, **more: Any) -> list[dict[str, Any]]:
    """The statements that ecs.yml puts; with the operator's credentials."""
    played = scene.run("ecs", "--tags", "roles", **more)
    assert played.code == 0, played.text
    found = scene.ecs.endpoint.client("iam").get_role_policy(RoleName=DEPLOYER, PolicyName="evenkeel-ecs")
    statements: list[dict[str, Any]] = found["PolicyDocument"]["Statement"]
    return statements


@pytest.fixture(scope="module")
def usual(scene: Scene) -> list[dict[str, Any]]:
    return written(scene)


def as_deployer(scene: Scene, playbook: str, *options: str, **more: Any) -> Played:
    operator, scene.key = scene.key, KEY
    try:
        return scene.run(playbook, *options, **more)
    finally:
        scene.key = operator


def test_the_deployer_may_cut_over_and_go_back(scene: Scene, recorder: Recorder, usual: list[dict[str, Any]]) -> None:
    watch = scene.ecs.endpoint.client("cloudwatch")
    watch.put_metric_alarm(
        AlarmName="front-5xx", MetricName="Errors", Namespace="Shop", Statistic="Sum", Period=60, EvaluationPeriods=1,
        Threshold=1.0, ComparisonOperator="GreaterThanThreshold",
    )  # fmt: skip

    def alarm(state: str) -> None:
        watch.set_alarm_state(AlarmName="front-5xx", StateValue=state, StateReason="a test")

    alarm("ALARM")
    told = as_deployer(scene, "ecs_cutover", ecs_cutover_metrics={"load_balancer": "front"})
    assert "The legacy services serve again: users, orders." in told.failures, told.text
    alarm("OK")
    for back in (False, True):
        told = as_deployer(scene, "ecs_cutover", ecs_cutover_back=back)
        assert told.code == 0, told.text
        assert scene.counts()["users"] == (2 if back else 0)
    denied = {(permission, about) for permission, about in recorder.calls if not allows(usual, permission, about)}
    assert denied == set(), "denied in production"
    beside = {
        "application-autoscaling:RegisterScalableTarget",
        "cloudwatch:DescribeAlarms",
        "cloudwatch:GetMetricData",
        "ecs:UntagResource",
        "elasticloadbalancing:DescribeListeners",
        "elasticloadbalancing:DescribeTargetHealth",
    }
    assert beside <= recorder.permissions
    run = {
        about.rpartition("/")[2].partition(":")[0]
        for permission, about in recorder.calls
        if permission == "ecs:RunTask"
    }
    assert run == {"gateway-probe"}


@pytest.mark.weekly
def test_the_deployer_may_set_weights_only_where_that_is_declared(
    scene: Scene, recorder: Recorder, usual: list[dict[str, Any]]
) -> None:
    recorder.calls.clear()
    moved = as_deployer(scene, "ecs_cutover", ecs_cutover_weights=[10], ecs_cutover_batch=0)
    assert moved.code == 0, moved.text
    used = {permission for permission, about in recorder.calls if not allows(usual, permission, about)}
    assert used >= {"elasticloadbalancing:CreateTargetGroup", "elasticloadbalancing:ModifyListener"}
    more = written(scene, ecs_cutover_weights=[10])
    denied = {(permission, about) for permission, about in recorder.calls if not allows(more, permission, about)}
    assert denied == set(), "denied in production"
    others = {
        "elasticloadbalancing:ModifyListener": "listener/net/other/0123456789abcdef/0123456789abcdef",
        "elasticloadbalancing:DeregisterTargets": "targetgroup/users-nlb/0123456789abcdef",
    }
    for permission, about in others.items():
        assert not allows(more, permission, PLACE.arn("elasticloadbalancing", about))
    assert as_deployer(scene, "ecs_cutover", ecs_cutover_back=True).code == 0


def test_the_deployer_may_move_secrets_only_where_that_is_declared(
    scene: Scene, recorder: Recorder, usual: list[dict[str, Any]]
) -> None:
    plain = scene.with_orders(environment={"DB_PASSWORD": "correct-horse-battery"})
    assert as_deployer(scene, "ecs_deploy", ecs_services=plain, ecs_service=["orders-nlb"]).code == 0
    recorder.calls.clear()
    moved = as_deployer(scene, "ecs_secrets", ecs_services=plain, ecs_service=["orders-nlb"])
    assert moved.code == 0, moved.text
    stored = PLACE.arn("ssm", f"parameter/{CLUSTER}/orders-nlb/DB_PASSWORD")
    assert {("ssm:PutParameter", stored), ("iam:PutRolePolicy", scene.execution)} <= recorder.calls
    rights = {"iam:GetRolePolicy", "iam:PutRolePolicy", "ssm:GetParameter", "ssm:PutParameter"}
    denied = {permission for permission, about in recorder.calls if not allows(usual, permission, about)}
    assert denied == rights
    more = written(scene, ecs_deployer_secrets=True)
    assert all(allows(more, permission, about) for permission, about in recorder.calls)
    assert not allows(more, "iam:PutRolePolicy", PLACE.role(DEPLOYER))
    assert not allows(more, "ssm:PutParameter", PLACE.arn("ssm", f"parameter/{CLUSTER}/users/DB_PASSWORD"))
