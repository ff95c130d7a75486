# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Services on Amazon ECS move behind their internal load balancer, and the gateways that call them run on hosts.

The hosts reach the tasks' network as instances reach a VPC. The load balancer of the fleet is its HAProxy.
"""

from __future__ import annotations

import ipaddress
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from testbed.planning.identity import choose_subnet
from testbed.services.aws.ecs.containers.place import FLEET, MADE_BY
from tests.system.fleet import wait_until
from tests.system.load import MixedLoad
from tests.system.local_ecs import LocalEcs
from tests.system.local_internal import COUNTS, REGION, Internal
from tests.system.rollouts import LOCK, QUICK, digest, digests, hooks, order, roll

if TYPE_CHECKING:
    from tests.system.fleet import Fleet, Process, Run

# Its services take minutes to start; make test runs cutovers in tests/system and tests/integration/aws.
pytestmark = pytest.mark.weekly

NAMES = ("users", "orders")
LEGACY = {name: name for name in NAMES}
MOVED = {name: f"{name}-nlb" for name in NAMES}
PARAMETER = "/internal/gateway-urls"
ALARM = "front-5xx"
RATE = 60
KEY = {"AWS_ACCESS_KEY_ID": "AKIATEST", "AWS_SECRET_ACCESS_KEY": "secret"}


class Operator:
    """Who runs the playbooks, with the fleet's inventory."""

    def __init__(self, fleet: Fleet, rig: Internal) -> None:
        self.fleet, self.rig = fleet, rig
        declared = fleet.variables["gateway_environment"]
        # The URLs of services come from the parameter, and so the routes.
        environment = {name: value for name, value in declared.items() if name != "ROUTES"}
        self.settings = {"gateway_urls_parameter": PARAMETER, "gateway_environment": environment}
        self.settings |= {name: rig.surroundings()[name] for name in ("fleet_region", "fleet_endpoint_url")}

    def run(self, playbook: str, *options: str, **more: Any) -> Run:
        return self.start(playbook, *options, **more).wait()

    def start(self, playbook: str, *options: str, broken: dict[str, str] | None = None, **more: Any) -> Process:
        variables = {
            **QUICK,
            **LOCK,
            "rollout_lock_wait": 60,
            "ecs_database": self.fleet.variables["rollout_database"],
            "ecs_lock_ttl": 15,
            "ecs_lock_wait": 60,
            **self.rig.surroundings(),
            **self.settings,
            "ecs_services": self.rig.declared(broken),
            "ecs_cutover_upstreams": list(MOVED.values()),
            "ecs_cutover_seconds": 2,
            "ecs_cutover_timeout": 60,
            "ecs_cutover_alarms": [ALARM],
            "ecs_cutover_checks": [f"{self.fleet.facts['load_balancer']['url']}/health"],
            "ecs_deployer": "",
            **more,
        }
        return self.fleet.start_play(f"{playbook}.yml", *options, environment=KEY, **variables)

    def roll(self, **more: Any) -> Run:
        """A rollout that knows nothing of the cutover."""
        return roll(self.fleet, environment=KEY, **{**self.settings, **more})

    def alarm(self, state: str) -> None:
        watch = self.rig.account.client("cloudwatch")
        watch.put_metric_alarm(
            AlarmName=ALARM, MetricName="Errors", Namespace="Shop", Statistic="Sum", Period=60, EvaluationPeriods=1,
            Threshold=1.0, ComparisonOperator="GreaterThanThreshold",
        )  # fmt: skip
        watch.set_alarm_state(AlarmName=ALARM, StateValue=state, StateReason="too many errors")

    def load(self) -> MixedLoad:
        return MixedLoad(self.fleet.facts["load_balancer"]["url"], RATE, 500, [f"/api/{name}/hello" for name in NAMES])

    def served_by(self) -> dict[str, dict[str, str]]:
        """By host, the service that answers for each name."""
        found = {host: self.fleet.facts["hosts"][host]["ipv4"] for host in self.fleet.hosts}
        return {host: self.rig.served_by(f"http://{address}") for host, address in found.items()}

    def urls(self) -> set[str]:
        """In the parameter, without their ports: those of the legacy services, or of the internal ones."""
        stored = self.rig.account.client("ssm").get_parameter(Name=PARAMETER)["Parameter"]["Value"]
        return {str(url).rpartition(":")[0] for url in json.loads(stored).values()}

    def versions(self) -> dict[str, Any]:
        """The containers of the hosts, and how often the parameter was written."""
        containers = {host: self.fleet.gateway(host)["Id"] for host in self.fleet.hosts}
        parameter = self.rig.account.client("ssm").get_parameter(Name=PARAMETER)["Parameter"]
        return {**containers, PARAMETER: parameter["Version"]}

    def at_rest_on_legacy(self) -> None:
        """Hosts, parameter and services say the same, and no lock is held."""
        assert self.served_by() == self.everywhere(LEGACY)
        assert self.urls() == {url.rpartition(":")[0] for url in self.rig.public.values()}
        assert self.counts() == SERVING
        assert self.fleet.sql("SELECT count(*) FROM fleet_rollout WHERE finished_at IS NULL") == "0", (
            "the locks are free"
        )

    def counts(self) -> dict[str, int]:
        """The tasks that run, of the legacy services."""
        return {name: running for name, (_desired, running) in self.rig.counts().items() if name in NAMES}

    def everywhere(self, services: dict[str, str]) -> dict[str, dict[str, str]]:
        return dict.fromkeys(self.fleet.hosts, services)


SERVING = {name: COUNTS[name] for name in NAMES}
RETIRED = dict.fromkeys(NAMES, 0)


class Network:
    """The tasks' network, as an instance has it: the hosts are in it, and know the names of load balancers."""

    def __init__(self, fleet: Fleet, name: str) -> None:
        self.fleet, self.name = fleet, name
        self.resolver = fleet.state / "services" / "dns" / "dnsmasq.conf"
        self.before = self.resolver.read_text()

    def make(self) -> None:
        """Before the tasks do: the engine's own choice may be a network that is in use within the hosts."""
        labels = [word for label in (f"{FLEET}={self.name}", f"{MADE_BY}=network") for word in ("--label", label)]
        subnet = ipaddress.ip_network(choose_subnet(self.name))
        place = ["--subnet", str(subnet), "--gateway", str(next(subnet.hosts()))]
        # One that a run left behind is as good.
        self._docker("network", "create", *place, *labels, self.name, check=False)

    def join(self) -> None:
        for container in (*self.fleet.hosts, "dns"):
            self._docker("network", "connect", self.name, f"{self.fleet.name}-{container}", check=True)
        # It may not ask anyone for other names of AWS, so that no host reaches the real one.
        self._know(f"{self.before}server=/{REGION}.elb.amazonaws.com/127.0.0.11\n")

    def leave(self) -> None:
        for container in (*self.fleet.hosts, "dns"):
            self._docker("network", "disconnect", "-f", self.name, f"{self.fleet.name}-{container}", check=False)
        self._know(self.before)

    def _know(self, configuration: str) -> None:
        self.resolver.write_text(configuration)
        self._docker("restart", "-t", "1", f"{self.fleet.name}-dns", check=True)

    def _docker(self, *words: str, check: bool) -> None:
        done = subprocess.run(["docker", *words], timeout=60, capture_output=True, text=True)
        assert done.returncode == 0 or not check, done.stderr


@pytest.fixture(scope="module")
def operator(serving: Fleet) -> Iterator[Operator]:
    # Its network's name sorts behind the fleet's, so that the hosts keep their default route.
    network = Network(serving, f"{serving.name}-z-ecs")
    network.make()
    local = LocalEcs(network.name)
    try:
        rig = Internal(local, NAMES)
        rig.start_services()
        network.join()
        operator = Operator(serving, rig)
        operator.alarm("OK")
        made = operator.run("ecs", "--tags", "load_balancer")
        assert made.code == 0, made.output
        rig.wait_for_services()
        began = operator.roll()
        assert began.code == 0, began.output
        wait_until(lambda: operator.served_by() == operator.everywhere(LEGACY), "the hosts reach the legacy services")
        yield operator
    finally:
        declared = roll(serving)
        network.leave()
        local.close()
        assert declared.code == 0, declared.output
        serving.assert_serving()


def test_a_bad_service_never_gets_a_client(operator: Operator) -> None:
    with operator.load() as load:
        told = operator.run("ecs_cutover", broken={"orders": "slow"})
    assert load.failures == []
    assert told.code != 0, told.output
    assert told.says("from host-1: orders-nlb:", "answers in 0.1", "The clients were not changed.")
    operator.at_rest_on_legacy()


def test_a_rollout_that_stops_at_a_host_sets_the_others_back(
    operator: Operator, images: tuple[str, str], tmp_path: Path
) -> None:
    """One host has the new URLs by then, and they answer."""
    _first, second, _leader = order(operator.fleet)
    # Only the first time.
    fails = f"sh -c 'test -e {tmp_path}/once || (touch {tmp_path}/once && false)'"
    stops = hooks("before_host", "command.yml", happens=fails, happens_to=second)
    with operator.load() as load:
        told = operator.run("ecs_cutover", **stops)
    assert load.failures == []
    assert told.code != 0, told.output
    assert told.says(f"{second} failed", "The legacy services serve again: users, orders.")
    assert digests(operator.fleet) == {digest(images[0])}
    operator.at_rest_on_legacy()


def test_an_alarm_sets_all_hosts_back(operator: Operator) -> None:
    operator.alarm("ALARM")
    with operator.load() as load:
        told = operator.run("ecs_cutover")
    operator.alarm("OK")
    assert load.failures == []
    assert told.code != 0, told.output
    assert told.says("is in alarm: too many errors", "The legacy services serve again: users, orders.")
    operator.at_rest_on_legacy()


def test_services_move_after_a_kill_stay_there_with_another_image_and_return(
    operator: Operator, images: tuple[str, str]
) -> None:
    with operator.load() as load:
        planned = operator.run("ecs_cutover", "--check", "--diff")
        assert planned.code == 0, planned.output
        assert planned.says("+ USERS_SERVICE_URL: http://internal-", "update host-")
        operator.at_rest_on_legacy()
        legacy = operator.urls()
        killed = operator.start("ecs_cutover")
        wait_until(lambda: operator.urls() != legacy, "the parameter has the internal URLs", 120)
        killed.kill()
        assert operator.served_by() == operator.everywhere(LEGACY), "no host has them yet"
        assert operator.counts() == SERVING
        moved = operator.run("ecs_cutover")
        assert moved.code == 0, moved.output
        assert operator.served_by() == operator.everywhere(MOVED)
        assert operator.counts() == RETIRED
        before = operator.versions()
        again = operator.run("ecs_cutover")
        assert again.code == 0, again.output
        assert again.changed() <= {"host-1", "localhost"}, "it has nothing to do but to write its journal"
        assert operator.versions() == before
        other = operator.roll(gateway_image=images[1])
        assert other.code == 0, other.output
        assert digests(operator.fleet) == {digest(images[1])}
        assert operator.served_by() == operator.everywhere(MOVED)
        back = operator.run("ecs_cutover", ecs_cutover_back=True)
        assert back.code == 0, back.output
        assert digests(operator.fleet) == {digest(images[1])}, "the URLs alone change"
        operator.at_rest_on_legacy()
    assert load.failures == []
    assert {"kept", "new", "slow", "stream", "websocket"} <= set(load.counts)
