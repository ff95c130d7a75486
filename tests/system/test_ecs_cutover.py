# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Six public services move behind their internal load balancer, and back, and no client notices."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.integration.aws.stage import SECRET, Played, command, play
from tests.integration.support import CHECKOUT, environment
from tests.system.fleet import PREFIX
from tests.system.load import Background, Clients
from tests.system.local_ecs import LocalEcs
from tests.system.local_internal import COUNTS, PERIOD, PORTS, Internal

RATE = 60
KILLS = int(os.environ.get("KILLS", "3"))
# A canary takes longer.
CANARY_KILLS = int(os.environ.get("KILLS", "2"))
# A run shows some 30.
MOST_TASKS = 36
SEED = 16
LEGACY = {name: name for name in PORTS}
MOVED = {name: f"{name}-nlb" for name in PORTS}
RETIRED = dict.fromkeys(PORTS, (0, 0))
SERVING = {name: (count, count) for name, count in COUNTS.items()}
# By fault: what the operator reads of it.
CAUSES = {
    "unhealthy": "Task failed ELB health checks",
    "port": "Task failed ELB health checks",
    "secret": "/internal/none",
    "slow": "answers in 0.1",
}


def faults() -> list[tuple[str, str]]:
    """A service with each fault; with FAULTS=all, each service with each fault."""
    every = itertools.product(PORTS, CAUSES)
    return list(every if os.environ.get("FAULTS") == "all" else zip(PORTS, CAUSES))


class Operator:
    """Who moves the services of a rig."""

    def __init__(self, rig: Internal) -> None:
        self.rig = rig

    def variables(self, broken: Mapping[str, str] | None = None, **more: Any) -> dict[str, Any]:
        # A gateway that keeps connections shows a weight only when it makes new ones.
        gateway = {"PROXY_POOL_CONNECTIONS": "0"} if more.get("ecs_cutover_weights") else {}
        return {
            **self.rig.variables(broken, gateway),
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

    def at_rest(self) -> bool:
        """Whether nothing of a canary is left."""
        alone = {port: [f"{name}-nlb"] for name, port in PORTS.items()}
        found = {port: list(weights) for port, weights in self.rig.listeners().items()}
        return found == alone and not any(name.endswith("-legacy") for name in self.rig.groups())

    def counts(self) -> dict[str, tuple[int, int]]:
        """Of the legacy services."""
        return {name: found for name, found in self.rig.counts().items() if name in PORTS}


class Shares(Background):
    """Asks for a service again and again. By the weight of the new one, `seen` counts which of both answered."""

    def __init__(self, rig: Internal, name: str) -> None:
        super().__init__(1, self._work)
        self.seen: dict[int, Counter[str]] = defaultdict(Counter)
        self._rig, self._name = rig, name

    def __enter__(self) -> Shares:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _work(self) -> None:
        before = -1
        while not self.over.is_set():
            weight = self._weight()
            # The load balancer needs a moment.
            if weight != before:
                self.over.wait(1)
            answers = [self._rig.served(self._name) for _number in range(10)]
            if weight == self._weight():
                self.seen[weight].update(answers)
            before = weight

    def _weight(self) -> int:
        weights = self._rig.listeners()[PORTS[self._name]]
        return weights[f"{self._name}-nlb"] if len(weights) > 1 else 100

    def share(self, weight: int) -> float:
        """Of the new service."""
        seen = self.seen[weight]
        return seen[f"{self._name}-nlb"] / max(1, seen.total())


@pytest.fixture(scope="module")
def operator() -> Iterator[Operator]:
    local = LocalEcs(f"{PREFIX}-ecs-cutover")
    try:
        rig = Internal(local)
        rig.start()
        operator = Operator(rig)
        made = operator.run("ecs", "--tags", "load_balancer")
        assert made.code == 0, made.text
        yield operator
    finally:
        local.close()


@pytest.mark.parametrize(("name", "fault"), faults())
def test_a_bad_service_never_gets_a_client(operator: Operator, name: str, fault: str) -> None:
    with operator.rig.load(RATE) as load:
        told = operator.run("ecs_cutover", broken={name: fault}, ecs_service=[f"{name}-nlb"])
    assert load.failures == []
    assert told.code != 0
    assert f"{name}-nlb" in told.failures
    assert CAUSES[fault] in told.failures
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


def test_six_services_move_by_weights(operator: Operator) -> None:
    """Each request finds a service, and as many find the new one as the weights say."""
    with operator.rig.load(RATE, at_least=1000) as load, Shares(operator.rig, "users") as shares:
        moved = operator.run("ecs_cutover", ecs_cutover_weights=[10, 50], ecs_cutover_batch=0)
        assert moved.code == 0, moved.text
    assert operator.rig.served_by() == MOVED
    assert operator.counts() == RETIRED
    assert operator.at_rest()
    assert load.failures == []
    assert {"kept", "new", "slow", "stream", "websocket"} <= set(load.counts)
    assert min(shares.seen[weight].total() for weight in (10, 50)) >= 50, shares.seen
    assert 0.01 <= shares.share(10) <= 0.25, shares.seen
    assert 0.33 <= shares.share(50) <= 0.67, shares.seen
    assert set(shares.seen[0]) == {"users"}
    back = operator.run("ecs_cutover", ecs_cutover_back=True)
    assert back.code == 0, back.text
    assert operator.rig.served_by() == LEGACY
    assert operator.counts() == SERVING


def test_a_service_that_is_bad_under_traffic_goes_back(operator: Operator) -> None:
    """It is the second one; the first one has all connections by then, and goes back with it."""
    some = ["users-nlb", "orders-nlb"]
    with Clients(operator.rig.front, RATE, "/api/orders/hello") as load:
        time.sleep(15)
        told = bad_under_traffic(operator, "errs", some, ecs_cutover_seconds=15)
        assert "of the requests fail with 5xx" in told.failures
        assert "The legacy services serve again: users, orders." in told.failures
    assert {one.partition(":")[0] for one in load.failures} == {"500"}
    # At 20 % for some 20 s, of a run that took minutes.
    assert len(load.failures) < 0.15 * load.answered


@pytest.mark.weekly
def test_a_service_that_is_slow_under_traffic_goes_back(operator: Operator) -> None:
    """The 99th percentile is compared where there are three whole periods since the step."""
    with Clients(operator.rig.front, RATE, "/api/orders/hello") as load:
        time.sleep(20)
        told = bad_under_traffic(operator, "drags", ["orders-nlb"], ecs_cutover_seconds=4 * PERIOD)
    assert "the 99th percentile of the response time is 0.3" in told.failures, told.failures
    assert "The legacy services serve again: orders." in told.failures
    assert load.failures == []


def bad_under_traffic(operator: Operator, fault: str, services: list[str], **more: Any) -> Played:
    """A canary of 20 % in which orders-nlb is bad, which returns everything."""
    told = operator.run("ecs_cutover", broken={"orders": fault}, ecs_service=services, ecs_cutover_weights=[20], **more)
    assert told.code != 0
    assert "orders-nlb: with 20 % of the connections, " in told.failures, told.text
    assert operator.rig.served_by() == LEGACY
    assert operator.counts() == SERVING
    assert operator.at_rest()
    return told


@pytest.mark.parametrize(
    "weights", [pytest.param([], id="at once"), pytest.param([30], id="by weights", marks=pytest.mark.weekly)]
)
def test_killed_at_any_moment_it_loses_nothing_and_goes_on(operator: Operator, weights: list[int]) -> None:
    """Services there and back, until so many runs were killed, and at once until they got there and back."""
    draw = random.Random(SEED)
    some = ["orders-nlb"] if weights else ["users-nlb", "orders-nlb"]
    names = [name.removesuffix("-nlb") for name in some]
    # A canary shows more tasks.
    longest = MOST_TASKS + 30 * bool(weights)
    given: dict[str, Any] = {"ecs_service": some, "ecs_cutover_seconds": 1, "ecs_cutover_weights": weights}
    kills = moves = 0
    least_kills, least_moves = (CANARY_KILLS, 0) if weights else (KILLS, 2)
    with operator.rig.load(RATE, at_least=1000) as load:
        while kills < least_kills or moves < least_moves:
            back = bool(moves % 2)
            task, pause = draw.randint(4, longest), draw.uniform(0, 1)
            if operator.killed_in(task, pause, ecs_cutover_back=back, **given):
                kills += 1
                assert set(operator.rig.served_by().values()) <= {*LEGACY.values(), *MOVED.values()}
            else:
                moves += 1
                assert {operator.rig.served(name) for name in names} == set(names if back else some)
        # From wherever it is.
        returned = operator.run("ecs_cutover", ecs_cutover_back=True, **given)
        assert returned.code == 0, returned.text
    assert load.failures == []
    assert operator.rig.served_by() == LEGACY
    assert operator.counts() == SERVING
    assert operator.at_rest()
