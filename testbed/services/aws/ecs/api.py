# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Amazon ECS as a gap of the endpoint."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from botocore import xform_name
from moto.cloudwatch.models import cloudwatch_backends
from moto.ecs.models import ecs_backends
from werkzeug.wrappers import Request, Response

from ..calls import Call, error
from ..query import RefusedError, model
from . import stages
from .agent import Agent, Targets
from .cluster_calls import ClusterCalls
from .deployment_calls import DeploymentCalls
from .deployments import Engine
from .service_calls import ServiceCalls
from .state import Pace
from .task_calls import TaskCalls
from .task_definitions import TaskDefinitionCalls
from .world import World

MODEL = model("ecs")
TICKS = 400  # at most, to catch up with the clock
Answer = Callable[[Mapping[str, Any]], "dict[str, Any] | None"]


class Ecs:
    """Answers the calls of Amazon ECS. A call that it does not know goes on to moto.

    writes has all calls that change something, with their arguments, refused ones and moto's included.

    Every call of ECS first brings the engine up to now, in steps of `step` seconds. An agent of real containers wants
    `tick` to be called by a thread as well: nothing else happens between two calls.
    """

    def __init__(
        self,
        account: str,
        region: str,
        agent: Agent,
        *,
        targets: Targets | None = None,
        functions: stages.Functions = stages.succeeded,
        pace: Pace | None = None,
        step: float = 0.05,
        clock: Callable[[], float] = time.time,
        caller: str = "",
    ) -> None:
        alarms = cloudwatch_backends[account][region].alarms

        def in_alarm(names: Iterable[str]) -> list[str]:
            return [name for name in names if name in alarms and alarms[name].state_value == "ALARM"]

        self.engine = Engine(
            agent,
            self._definition,
            prefix=f"arn:aws:ecs:{region}:{account}",
            targets=targets,
            alarms=in_alarm,
            functions=functions,
            pace=pace,
        )
        who = caller or f"arn:aws:iam::{account}:root"
        self.world = World(ecs_backends[account][region], self.engine, {}, who, clock())
        self.step = step
        self.writes: list[tuple[str, dict[str, Any]]] = []
        self._clock = clock
        self._lock = threading.Lock()
        self._clusters = ClusterCalls(self.world)
        self._answers = operations(
            TaskDefinitionCalls(self.world),
            ServiceCalls(self.world, account, region),
            DeploymentCalls(self.world),
            TaskCalls(self.world),
            self._clusters,
        )

    def answer(self, call: Call, request: Request) -> Response | None:
        if call.service != "ecs":
            return None
        with self._lock:
            self._catch_up()
            given = json.loads(request.get_data() or b"{}")
            if not call.action.startswith(("Describe", "List", "Get")):
                self.writes.append((call.action, given))
            known = self._answers.get(call.action)
            if known is None:
                return None
            try:
                check(call.action, given)
                content = known(given)
            except RefusedError as refused:
                return error(call, *refused.args)
            finally:
                self._clusters.mirror()
            if content is None:
                return None
            return Response(json.dumps(content), content_type="application/x-amz-json-1.1")

    def tick(self) -> None:
        """Bring everything up to now."""
        with self._lock:
            self._catch_up()
            self._clusters.mirror()

    def _catch_up(self) -> None:
        now = self._clock()
        late = now - self.world.now
        steps = max(1, min(TICKS, int(late / self.step))) if late > 0 else 0
        for number in range(1, steps + 1):
            self.world.now += late / steps if number < steps else now - self.world.now
            self.engine.tick(self.world.now)

    def _definition(self, arn: str) -> Mapping[str, Any]:
        found = self.world.definition(arn)
        assert found, f"no task definition {arn}"
        return found


def operations(*groups: object) -> dict[str, Answer]:
    """The calls by their names in the API, of methods that are named as boto3 names them."""
    names = {xform_name(name): name for name in MODEL.operation_names}
    return {
        names[attribute]: getattr(group, attribute)
        for group in groups
        for attribute in dir(group)
        if attribute in names
    }


def check(action: str, given: Mapping[str, Any]) -> None:
    """InvalidParameterException for a call without what the API's model requires, or with what it does not know."""
    shape = MODEL.operation_model(action).input_shape
    for name in shape.required_members:
        if name not in given:
            raise RefusedError("InvalidParameter", f"{name} is required.")
    for name in given:
        if name not in shape.members:
            raise RefusedError("InvalidParameter", f"Unknown parameter: {name}.")
    for name, value in given.items():
        allowed = shape.members[name].metadata.get("enum")
        if allowed and value not in allowed:
            raise RefusedError("InvalidParameter", f"{name} must be one of {', '.join(allowed)}.")
