# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Six public services move behind their internal load balancer, and back, and no client notices."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.integration.aws.stage import SECRET, Played, command, play
from tests.integration.support import CHECKOUT, environment
from tests.system.local_ecs import LocalEcs
from tests.system.local_internal import COUNTS, PORTS, Internal

PREFIX = hashlib.sha1(str(Path(__file__).resolve().parents[2]).encode()).hexdigest()[:6]
RATE = 60
KILLS = int(os.environ.get("KILLS", "6"))
# A run shows some 30.
MOST_TASKS = 36
SEED = 16
LEGACY = {name: name for name in PORTS}
MOVED = {name: f"{name}-nlb" for name in PORTS}
RETIRED = dict.fromkeys(PORTS, (0, 0))
SERVING = {name: (count, count) for name, count in COUNTS.items()}


class Operator:
    """Who moves the services of a rig."""

    def __init__(self, rig: Internal) -> None:
        self.rig = rig

    def variables(self, broken: Mapping[str, str] | None = None, **more: Any) -> dict[str, Any]:
        return {
            **self.rig.variables(broken),
            "ecs_cutover_seconds": 5,
            "ecs_cutover_timeout": 60,
            "ecs_cutover_checks": [f"{self.rig.front}/health", f"{self.rig.front}/api/health/aggregate"],
            "ecs_deployer": "",
            **more,
        }

    def run(self, playbook: str, *options: str, broken: Mapping[str, str] | None = None, **more: Any) -> Played:
        wanted = self.variables(broken, **more)
        return play(self.rig.account, wanted, *options, playbook=f"playbooks/{playbook}.yml")  # type: ignore[arg-type]

    def killed_in(self, number: int, pause: float, **more: Any) -> bool:
        """Whether the controller was killed, so many seconds after it began a task; else it was done before."""
        arguments = ["playbooks/ecs_cutover.yml", "-i", "nobody,", "-e", json.dumps(self.variables(**more))]
        process = subprocess.Popen(
            [command("ansible-playbook"), *arguments],
            cwd=CHECKOUT,
            env=environment(
                AWS_ENDPOINT_URL=self.rig.account.url, AWS_ACCESS_KEY_ID="AKIATEST", AWS_SECRET_ACCESS_KEY=SECRET
            ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert process.stdout
        told = []
        for line in process.stdout:
            told.append(line)
            if sum(one.startswith("TASK [") for one in told) == number:
                time.sleep(pause)
                process.kill()
                break
        process.stdout.close()
        code = process.wait(60)
        assert code in (0, -signal.SIGKILL), "".join(told)
        return code != 0

    def counts(self) -> dict[str, tuple[int, int]]:
        """Of the legacy services."""
        return {name: found for name, found in self.rig.counts().items() if name in PORTS}


@pytest.fixture(scope="module")
def operator() -> Iterator[Operator]:
    local = LocalEcs(f"ek-{PREFIX}-ecs-cutover")
    try:
        rig = Internal(local)
        rig.start()
        operator = Operator(rig)
        made = operator.run("ecs", "--tags", "load_balancer")
        assert made.code == 0, made.text
        yield operator
    finally:
        local.close()


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        ("unhealthy", "Task failed ELB health checks"),
        ("port", "Task failed ELB health checks"),
        ("secret", "/internal/none"),
        ("slow", "answers in 0.1"),
    ],
)
def test_a_bad_service_never_gets_a_client(operator: Operator, fault: str, cause: str) -> None:
    with operator.rig.load(RATE) as load:
        told = operator.run("ecs_cutover", broken={"orders": fault}, ecs_service=["orders-nlb"])
    assert load.failures == []
    assert told.code != 0
    assert "orders-nlb" in told.failures
    assert cause in told.failures
    assert operator.rig.served_by() == LEGACY
    assert operator.counts() == SERVING


def test_six_services_move_and_return(operator: Operator) -> None:
    with operator.rig.load(RATE, at_least=1000) as load:
        time.sleep(10)
        moved = operator.run("ecs_cutover")
        assert moved.code == 0, moved.text
        assert operator.rig.served_by() == MOVED
        assert operator.counts() == RETIRED
        back = operator.run("ecs_cutover", ecs_cutover_back=True)
        assert back.code == 0, back.text
        assert operator.rig.served_by() == LEGACY
        assert operator.counts() == SERVING
    assert load.failures == []
    assert {"kept", "new", "slow", "stream", "websocket"} <= set(load.counts)


def test_killed_at_any_moment_it_loses_nothing_and_goes_on(operator: Operator) -> None:
    """Two of the services, there and back, until so many runs were killed."""
    draw = random.Random(SEED)
    some = ["users-nlb", "orders-nlb"]
    kills = moves = 0
    with operator.rig.load(RATE, at_least=1000) as load:
        while kills < KILLS:
            back = bool(moves % 2)
            task, pause = draw.randint(4, MOST_TASKS), draw.uniform(0, 1)
            if operator.killed_in(task, pause, ecs_cutover_back=back, ecs_service=some, ecs_cutover_seconds=1):
                kills += 1
                assert set(operator.rig.served_by().values()) <= {*LEGACY.values(), *MOVED.values()}
            else:
                moves += 1
                served = operator.rig.served_by()
                assert {served["users"], served["orders"]} == ({"users", "orders"} if back else set(some))
        # From wherever it is.
        returned = operator.run("ecs_cutover", ecs_cutover_back=True, ecs_service=some)
        assert returned.code == 0, returned.text
    assert load.failures == []
    assert moves > 1
    assert operator.rig.served_by() == LEGACY
    assert operator.counts() == SERVING
