# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A service of the ECS engine, with a clock that a test moves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from testbed.services.aws.ecs.deployments import Engine
from testbed.services.aws.ecs.pretended import Behaviour, PretendedAgent
from testbed.services.aws.ecs.service_calls import CONFIGURATION
from testbed.services.aws.ecs.state import Deployment, Pace, Revision, Task

CLUSTER = "arn:aws:ecs:eu-central-1:123456789012:cluster/main"
GROUP = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/web/1"
BREAKER: dict[str, Any] = {"deploymentCircuitBreaker": {"enable": True, "rollback": True}}


class Bench:
    """A service of one container; its images are good, and what a test says of others is so."""

    def __init__(
        self, desired: int = 2, *, checked: bool = False, behaviours: dict[str, Behaviour] | None = None, **more: Any
    ):
        self.now = 1000.0
        self.checked = checked
        self.agent = PretendedAgent(behaviours or {})
        self.triggered: list[str] = []
        self.functions: dict[str, str] = {}
        self.targets = Targets()
        self.engine = Engine(
            self.agent,
            self.definition,
            alarms=lambda names: [name for name in names if name in self.triggered],
            functions=lambda _hook, stage, _arn: self.functions.get(stage, "SUCCEEDED"),
            targets=self.targets,
            pace=Pace(settle=3.0, retry=1.0, minute=6.0),
            seed=1,
        )
        settings = {"taskDefinition": "good", "deploymentConfiguration": {**CONFIGURATION, **more}}
        self.service = self.engine.create(CLUSTER, "web", desired, settings, self.now)

    def definition(self, arn: str) -> dict[str, Any]:
        check = {"healthCheck": {"command": ["CMD", "true"]}} if self.checked else {}
        container = {"name": "main", "image": arn, "essential": True, **check}
        return {"taskDefinitionArn": arn, "family": "web", "containerDefinitions": [container]}

    def deploy(self, image: str, **settings: Any) -> Deployment:
        self.service.settings = {**self.service.settings, "taskDefinition": image, **settings}
        return self.engine.deploy(self.service, self.now)

    def pass_time(self, seconds: float, each: Callable[[], None] = lambda: None) -> None:
        end = self.now + seconds
        while self.now < end:
            self.now += 0.5
            self.engine.tick(self.now)
            each()

    def tasks(self, revision: Revision | None = None) -> list[Task]:
        """Those that run and are not asked to stop."""
        found = [task for task in self.engine.tasks.of(self.service.arn) if task.running]
        return [task for task in found if revision is None or task.revision == revision.id]

    @property
    def images(self) -> list[str]:
        return sorted(task.containers[0].image for task in self.tasks())

    @property
    def events(self) -> list[str]:
        """The oldest first, without the identifiers of tasks."""
        return [event["message"].partition("(task ")[0] for event in reversed(self.service.events)]


class Targets:
    """healthy by address and port; draining until a test says that it is over."""

    def __init__(self) -> None:
        self.states: dict[tuple[str, str, int], str] = {}
        self.first = "healthy"

    def register(self, group: str, address: str, port: int) -> None:
        self.states[group, address, port] = self.first

    def deregister(self, group: str, address: str, port: int) -> None:
        self.states[group, address, port] = "draining"

    def state(self, group: str, address: str, port: int) -> str:
        return self.states.get((group, address, port), "unused")

    def become(self, state: str, of: str) -> None:
        self.states = {key: state if present == of else present for key, present in self.states.items()}


def steady(bench: Bench) -> Bench:
    bench.pass_time(20)
    assert bench.service.deployments[0].status == "SUCCESSFUL"
    return bench
