# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ecs_deploy killed with SIGKILL at one of its calls to AWS, which arrives or does not: the next run ends it well."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from werkzeug.wrappers import Request, Response

from ansible_collections.evenkeel.fleet.plugins.module_utils._common import progress
from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs import deploy
from testbed.services.aws.calls import Call
from testbed.services.aws.ecs.api import Ecs
from testbed.services.aws.ecs.pretended import Behaviour, crashes
from testbed.services.aws.ecs.state import Pace
from tests.integration.aws.ecs_stage import CLUSTER, LoggingAgent, Stage
from tests.integration.endpoint import ACCOUNT, REGION, Endpoint
from tests.integration.support import CHECKOUT, await_true, environment

KILLS = int(os.environ.get("KILLS", "6"))
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 0.2
# Each child has all that it needs imported.
SERVER = f"""
import json, os, signal, sys
from ansible_collections.evenkeel.fleet.plugins.module_utils._common import progress
from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs import deploy
from ansible_collections.evenkeel.fleet.plugins.modules import ecs_deploy
from ansible_collections.evenkeel.fleet.plugins.plugin_utils._on_controller import InProcessModule

progress.FIRST_PAUSE, deploy.LONGEST_PAUSE = {FIRST_PAUSE}, {LONGEST_PAUSE}
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        try:
            ecs_deploy.main(lambda **said: InProcessModule("ecs_deploy", json.loads(line), said, False))
        finally:
            os._exit(0)
    print(pid, flush=True)
"""


class Killer:
    """Before the stand-in: kills a process at its call of that number."""

    def __init__(self) -> None:
        self.calls = 0
        self.at = 0
        self.arrives = True
        self.killed = False
        self._pid: int | None = None
        self._known = threading.Event()

    def arm(self, at: int, *, arrives: bool) -> None:
        self.calls, self.at, self.arrives, self.killed, self._pid = 0, at, arrives, False, None
        self._known.clear()

    def aim(self, pid: int) -> None:
        self._pid = pid
        self._known.set()

    def answer(self, call: Call, request: Request) -> Response | None:
        self.calls += 1
        if not self.at or self.calls != self.at:
            return None
        assert self._known.wait(10)
        assert self._pid
        os.kill(self._pid, signal.SIGKILL)
        self.killed = True
        return None if self.arrives else Response(status=503)


class Deployer:
    def __init__(self, made: Stage, killer: Killer, server: subprocess.Popen[str]) -> None:
        self.stage, self.killer, self._server = made, killer, server

    def run_and_kill(self, service: str, definition: str, at: int, *, arrives: bool) -> None:
        """Deploy in a process of its own; returns when that has ended. at=0 kills nothing."""
        arguments = {
            "cluster": CLUSTER, "service": service, "task_definition": definition, "wait_timeout": 20,
            "endpoint_url": self.stage.endpoint.url, "region": REGION, "access_key": "AKIATEST", "secret_key": "secret",
        }  # fmt: skip
        assert self._server.stdin and self._server.stdout
        self.killer.arm(at, arrives=arrives)
        self._server.stdin.write(f"{json.dumps(arguments)}\n")
        self._server.stdin.flush()
        pid = int(self._server.stdout.readline())
        self.killer.aim(pid)
        await_true(lambda: not alive(pid), "the process has ended")
        self.killer.at = 0


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture(scope="module")
def deployer() -> Iterator[Deployer]:
    agent, killer = LoggingAgent(), Killer()
    ecs = Ecs(ACCOUNT, REGION, agent, pace=Pace(settle=0.05, retry=0.05))
    command = [sys.executable, "-c", SERVER]
    with (
        Endpoint(killer.answer, ecs.answer) as endpoint,
        subprocess.Popen(
            command, cwd=CHECKOUT, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as server,
        pytest.MonkeyPatch.context() as patched,
    ):
        patched.setattr(progress, "FIRST_PAUSE", FIRST_PAUSE)
        patched.setattr(deploy, "LONGEST_PAUSE", LONGEST_PAUSE)
        yield Deployer(Stage(endpoint, ecs, agent), killer, server)
        server.kill()


@pytest.mark.parametrize("broken", [False, True], ids=["healthy", "broken"])
def test_a_killed_deployment_is_ended_by_the_next_run(deployer: Deployer, broken: bool) -> None:
    """The next run brings the revision or goes back; it starts no second deployment of one that runs."""
    ecs, killer = deployer.stage, deployer.killer

    def service_and_revision() -> tuple[str, str, str]:
        service, first = ecs.serving()
        behaviour = crashes() if broken else Behaviour(healthy_after=0.2)
        check = {"command": ["CMD-SHELL", "true"], "interval": 5, "retries": 1}
        return service, first, ecs.register(service, f"{service}:2", behaviour, healthCheck=check)

    service, _first, second = service_and_revision()
    deployer.run_and_kill(service, second, 0, arrives=True)
    whole = killer.calls
    assert whole > KILLS, "it made too few calls for so many moments"
    chosen = random.Random(f"kill {broken}").sample(
        [(at, arrives) for at in range(1, whole) for arrives in (True, False)], KILLS
    )
    struck = 0
    for at, arrives in chosen:
        service, first, second = service_and_revision()
        ecs.fake.writes.clear()
        deployer.run_and_kill(service, second, at, arrives=arrives)
        struck += killer.killed
        moment = f"killed at call {at} of {whole}, which {'arrived' if arrives else 'was lost'}"
        done = ecs.deploy(service, second)
        assert done["failed"] is broken, (moment, done)
        expected = first if broken else second
        assert ecs.runs(service) == {expected}, moment
        assert state(ecs, service) == (expected, 0), moment
        brought = [given["taskDefinition"] for action, given in ecs.fake.writes if action == "UpdateService"]
        assert brought.count(second) <= (2 if broken else 1), moment
        if not broken:
            again = ecs.deploy(service, second)
            assert (again["failed"], again["changed"]) == (False, False), (moment, again)
    assert struck >= KILLS - 2, "nearly every moment is within the run"


def state(ecs: Stage, service: str) -> tuple[str, int]:
    """The task definition that the service has, and how many deployments go on."""
    [found] = ecs.ecs.describe_services(cluster=CLUSTER, services=[service])["services"]
    listed: list[dict[str, Any]] = ecs.ecs.list_service_deployments(cluster=CLUSTER, service=service)[
        "serviceDeployments"
    ]
    ended = ("SUCCESSFUL", "STOPPED", "ROLLBACK_SUCCESSFUL", "ROLLBACK_FAILED")
    return found["taskDefinition"], sum(one["status"] not in ended for one in listed)
