# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An endpoint of its own: Amazon ECS with real containers and load balancers, beside moto."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import boto3
import docker
from moto.cloudwatch.models import cloudwatch_backends
from moto.elbv2.models import elbv2_backends
from werkzeug.wrappers import Request, Response

from .. import associations, calls, query
from ..listener_refusals import ListenerRefusals
from ..log_groups import LogGroups
from ..targets import TargetStates
from . import metrics
from .api import Ecs
from .balancer import Balancer
from .containers.agent import ContainerAgent
from .containers.place import Place
from .containers.task import Surroundings
from .requests import RequestLog
from .state import Pace

log = logging.getLogger(__name__)
ACCOUNT, REGION = "123456789012", "eu-central-1"
TICK = 0.1
CREDENTIALS = {"aws_access_key_id": "AKIASTANDIN", "aws_secret_access_key": "standin"}


@dataclass(frozen=True)
class Settings:
    """name: label and prefix of all that is made. image: has HAProxy and sleep.

    second: how long a second of a health check's interval is. environment: of all containers of tasks.
    """

    name: str
    image: str
    host: str = "127.0.0.1"
    port: int = 0
    network: str = ""
    second: float = 1.0
    draining: float = 30.0
    labels: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)


def allow_everything(call: calls.Call, request: Request) -> Response | None:
    """IAM's policy simulator, which moto lacks: whatever it is asked is allowed."""
    if (call.service, call.action) != ("iam", "SimulatePrincipalPolicy"):
        return None
    action = calls.parameters(request).get("ActionNames.member.1", "")
    value = {"EvaluationResults": [{"EvalActionName": action, "EvalDecision": "allowed"}]}
    return query.answer(query.model("iam"), call.action, value)


class LocalEcs:
    """Serves while it is entered. url: the endpoint."""

    def __init__(self, settings: Settings) -> None:
        engine = docker.from_env(timeout=60, max_pool_size=50)
        self.place = Place(engine, settings.name, settings.network, dict(settings.labels))
        self.balancer = Balancer(self.place, settings.image, elbv2_backends[ACCOUNT][REGION], settings.second)
        self.requests = RequestLog()
        metrics.serve(cloudwatch_backends[ACCOUNT][REGION], self.requests)
        self.states = TargetStates(self.balancer, draining=settings.draining)
        around = Surroundings(self.place, self.client, settings.image, dict(settings.environment), settings.second)
        self.agent = ContainerAgent(around)
        pace = Pace(settle=2.0, minute=60 * settings.second)
        self.ecs = Ecs(ACCOUNT, REGION, self.agent, targets=self.states, pace=pace, step=TICK)
        gaps: list[calls.Gap] = [LogGroups(ACCOUNT, REGION).answer, allow_everything, self.ecs.answer]
        gaps += [associations.answer, ListenerRefusals(ACCOUNT, REGION).answer, self.states.answer]
        self._server = calls.server(settings.host, settings.port, gaps)
        self.url = f"http://{settings.host}:{self._server.server_port}"
        self._own = f"http://127.0.0.1:{self._server.server_port}"
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True),
            threading.Thread(target=self._tick, daemon=True),
        ]
        self._clients: dict[str, Any] = {}
        self._lock = threading.Lock()

    def client(self, service: str) -> Any:
        """Of this endpoint; one for all threads."""
        with self._lock:
            if service not in self._clients:
                self._clients[service] = boto3.client(
                    service, endpoint_url=self._own, region_name=REGION, **CREDENTIALS
                )
            return self._clients[service]

    def __enter__(self) -> LocalEcs:
        self.place.prepare()
        self.balancer.log = self.requests.address(self.place.gateway())
        self.requests.start()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._threads[1].join(10)
        self._server.shutdown()
        self._server.server_close()
        self.agent.close()
        self.place.clean(network=True)
        self.requests.close()

    def _tick(self) -> None:
        counted = 0
        while not self._over.wait(TICK):
            try:
                self.balancer.refresh()
                self.ecs.tick()
                if counted != (counted := int(time.time())):
                    self.requests.note_hosts(self.balancer.healthy_hosts())
            except Exception:
                log.exception("tick")
                self._over.wait(1)
