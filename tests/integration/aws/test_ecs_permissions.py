# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The deployer's policy has exactly the calls that deployments make, and a denied one is named and made up for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from werkzeug.wrappers import Request, Response

from ansible_collections.evenkeel.fleet.plugins.module_utils._aws import client
from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.policy_statements import ClusterPlace
from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.role_policies import managed_roles
from testbed.services.aws.calls import Call, denied
from testbed.services.aws.ecs.pretended import Behaviour, crashes
from testbed.services.aws.scaling_tags import ScalingTags
from tests.integration.aws.ecs_declaration import declaration, policy_simulator
from tests.integration.aws.ecs_stage import CLUSTER, Stage, stage
from tests.integration.aws.stage import call
from tests.integration.endpoint import ACCOUNT, REGION

# Which every identity may call, whatever its policies.
OF_ALL = {"sts:GetCallerIdentity"}
CALLED_BY_OTHERS = {
    "iam:PassRole": "ECS, for RegisterTaskDefinition, CreateService, UpdateService and RunTask",
    "ecr:GetAuthorizationToken": "the AWS CLI, before docker push",
    "ecr:BatchCheckLayerAvailability": "ECR, for docker push",
    "ecr:CompleteLayerUpload": "ECR, for docker push",
    "ecr:InitiateLayerUpload": "ECR, for docker push",
    "ecr:PutImage": "ECR, for docker push",
    "ecr:UploadLayerPart": "ECR, for docker push",
}
# For which AWS knows no narrower resource.
OF_NO_RESOURCE = {
    "application-autoscaling:DescribeScalableTargets",
    "application-autoscaling:DescribeScalingPolicies",
    "ec2:DescribeRouteTables",
    "ec2:DescribeSecurityGroups",
    "ec2:DescribeSubnets",
    "ec2:DescribeVpcEndpoints",
    "ecr:GetAuthorizationToken",
    "ecs:DeregisterTaskDefinition",
    "ecs:DescribeTaskDefinition",
    "ecs:ListClusters",
    "ecs:ListServices",
    "ecs:ListTaskDefinitions",
    "ecs:ListTasks",
    "ecs:RegisterTaskDefinition",
    "elasticloadbalancing:DescribeLoadBalancers",
    "elasticloadbalancing:DescribeTargetGroups",
    "logs:DescribeLogGroups",
}
# The pretended containers use another one.
KEY = "AKIADEPLOYER"
MIGRATES = Behaviour(exits_after=0.05)
Step = Callable[[], dict[str, Any]]


class Denials:
    """Notes the calls of the deployer. Denies, whenever it is armed, the first one that it has not denied before."""

    def __init__(self) -> None:
        self.armed = False
        self.called: set[str] = set()
        self.denied: list[str] = []

    def answer(self, call: Call, _request: Request) -> Response | None:
        if call.access_key != KEY or call.permission in OF_ALL:
            return None
        self.called.add(call.permission)
        if not self.armed or call.permission in self.denied:
            return None
        self.armed = False
        self.denied.append(call.permission)
        return denied(call, ACCOUNT, "deployer")


class Deployment:
    """The modules' calls that deploy one version of a service. Each step can be repeated."""

    def __init__(self, ecs: Stage, name: str, version: int, command: str = "serve") -> None:
        self.ecs, self.name, self.version = ecs, name, version
        made = declaration(ecs.endpoint)
        (api,) = made["task"]["containerDefinitions"]
        api["environment"] = [{"name": "VERSION", "value": str(version)}]
        api["command"] = [command]
        api["logConfiguration"]["options"]["awslogs-group"] = self.log
        self.task = {**made["task"], "family": name}
        self.service = {"launchType": "FARGATE", **made["definition"], "healthCheckGracePeriodSeconds": 60 + version}
        self.revision = ""

    @property
    def log(self) -> str:
        return f"/ecs/{self.name}"

    @property
    def declared(self) -> dict[str, Any]:
        """As ecs_services has it."""
        return {"name": self.name, "task": self.task, "service": self.service, "scaling": {"min": 1, "max": 9}}

    def steps(self) -> list[Step]:
        return [
            self.keep_logs,
            self.verify,
            self.register,
            self.migrate,
            self.create,
            self.scale,
            self.deploy,
        ]

    def keep_logs(self) -> dict[str, Any]:
        return self._call("log_group", name=self.log, retention="30" if self.version % 2 else "never")

    def verify(self) -> dict[str, Any]:
        return self._call("ecs_verify", cluster=CLUSTER, task=self.task, definition=self.service)

    def verify_without_nat(self) -> dict[str, Any]:
        lonely = declaration(self.ecs.endpoint)["others"]["lonely"]
        network = {"awsvpcConfiguration": {"subnets": [lonely]}}
        definition = {"networkConfiguration": network}
        return self._call("ecs_verify", cluster=CLUSTER, task=self.task, definition=definition, fail=False)

    def register(self) -> dict[str, Any]:
        told = self._call(
            "ecs_task_definition", cluster=CLUSTER, service=self.name, definition=self.task, keep=1, tags=self._tags
        )
        self.revision = told.get("task_definition") or self.revision
        return told

    def migrate(self, timeout: float = 20) -> dict[str, Any]:
        override = {"containerOverrides": [{"name": "api", "command": ["migrate"]}]}
        return self._call(
            "ecs_run",
            cluster=CLUSTER,
            service=self.name if self.version > 1 else None,
            task_definition=self.revision,
            definition={
                "launchType": "FARGATE",
                "networkConfiguration": self.service["networkConfiguration"],
                "overrides": override,
            },
            wait_timeout=timeout,
        )

    def create(self) -> dict[str, Any]:
        return self._call(
            "ecs_service",
            cluster=CLUSTER,
            name=self.name,
            task_definition=self.revision,
            keep_task_definition=True,
            desired_count=1,
            definition=self.service,
            tags=self._tags,
        )

    def scale(self) -> dict[str, Any]:
        policy = {"name": f"cpu-{self.version}", "metric": "ECSServiceAverageCPUUtilization", "target_value": 60}
        return self._call(
            "scalable_target",
            cluster=CLUSTER,
            service=self.name,
            min_capacity=1,
            max_capacity=2 + self.version,
            policies=[policy] if self.version < 3 else [],
        )

    def deploy(self) -> dict[str, Any]:
        return self.ecs.deploy(self.name, self.revision, access_key=KEY)

    def fail(self) -> dict[str, Any]:
        """A revision whose tasks fail; what is expected then is no failure of the step."""
        told = self.deploy()
        return {**told, "failed": not (told["failed"] and told["outcome"] == "rolled_back")}

    def migrate_too_long(self) -> dict[str, Any]:
        self.ecs.agent.by_command.pop("migrate", None)
        told = self.migrate(timeout=0.3)
        self.ecs.agent.by_command["migrate"] = MIGRATES
        return {**told, "failed": "was stopped" not in told.get("msg", "")}

    @property
    def _tags(self) -> dict[str, str]:
        return {"team": "identity"} if self.version % 2 else {}

    def _call(self, module: str, **wanted: Any) -> dict[str, Any]:
        return call(self.ecs.endpoint, module, wanted, access_key=KEY)


def life(ecs: Stage, name: str) -> Iterator[Step]:
    """A service is created, changed, changed again, and deployed with a revision that does not run."""
    for version in (1, 2, 3):
        yield from Deployment(ecs, name, version).steps()
    broken = Deployment(ecs, name, 4, "crash")
    yield from (broken.verify_without_nat, broken.register, broken.migrate_too_long, broken.fail)


@pytest.fixture(autouse=True)
def clients_are_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each takes longer than its calls."""
    made: dict[tuple[str, str], Any] = {}
    make = client.client

    def once(module: Any, service: str, region: str = "", sessions: dict[str, Any] | None = None) -> Any:
        if (service, region) not in made:
            made[service, region] = make(module, service, region, sessions)
        return made[service, region]

    monkeypatch.setattr(client, "client", once)


@pytest.fixture(scope="module")
def denials() -> Denials:
    return Denials()


@pytest.fixture(scope="module")
def ecs(denials: Denials) -> Iterator[Stage]:
    with stage(policy_simulator, ScalingTags().answer, first=denials.answer) as served:
        served.agent.by_command.update({"migrate": MIGRATES, "crash": crashes()})
        yield served


def test_the_deployer_may_do_what_deployments_do_and_no_more(ecs: Stage, denials: Denials) -> None:
    declared = Deployment(ecs, "vault", 1).declared
    (role,) = managed_roles([{**declared, "build": {"path": "."}}], ClusterPlace(CLUSTER, REGION, ACCOUNT), "deployer")
    statements = role["policy"]["Statement"]
    for step in life(ecs, "vault"):
        told = step()
        assert not told["failed"], (step, told)
    called = denials.called
    allowed = {action for statement in statements for action in statement["Action"]}
    assert called <= allowed, "denied in production"
    assert allowed - called == set(CALLED_BY_OTHERS), "allowed, but not used"
    wide = {action for statement in statements if "*" in statement["Resource"] for action in statement["Action"]}
    assert wide == OF_NO_RESOURCE


def test_a_denied_call_is_named_and_the_next_run_goes_on(ecs: Stage, denials: Denials) -> None:
    """Each call is denied once, one in a run of its module."""
    for step in life(ecs, "denied"):
        while True:
            before = len(denials.denied)
            denials.armed = True
            told = step()
            denials.armed = False
            if len(denials.denied) == before:
                break
            permission = denials.denied[-1]
            assert f"AWS denies it: the role or user needs {permission} on " in str(told), (step, told)
        assert not told["failed"], (step, told)
    assert set(denials.denied) == denials.called
    (running,) = ecs.runs("denied")
    assert running.endswith(":3")
    assert len(denials.denied) > 40
