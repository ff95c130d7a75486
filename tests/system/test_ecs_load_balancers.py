# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Load balancers of the local Amazon ECS: weights, connections that stay, names inside tasks, and their metrics."""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.system.fleet import PREFIX, wait_until
from tests.system.load import Clients
from tests.system.local_ecs import Front, LocalEcs, forward


@pytest.fixture(scope="module")
def local() -> Iterator[LocalEcs]:
    local = LocalEcs(f"{PREFIX}-ecs-balancers")
    try:
        local.furnish()
        yield local
    finally:
        local.close()


@pytest.fixture(scope="module")
def network(local: LocalEcs) -> Front:
    return local.load_balancer("network")


def register(local: LocalEcs, group: str, address: str) -> None:
    """As a client, not as Amazon ECS. It has the group's port."""
    local.client("elbv2").register_targets(TargetGroupArn=group, Targets=[{"Id": address}])


def states(local: LocalEcs, group: str) -> list[str]:
    found = local.client("elbv2").describe_target_health(TargetGroupArn=group)["TargetHealthDescriptions"]
    return [one["TargetHealth"]["State"] for one in found]


def await_healthy(local: LocalEcs, *groups: str) -> None:
    wait_until(lambda: all(set(states(local, group)) == {"healthy"} for group in groups), "the targets are healthy")


def asked(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return str(json.load(answer)["service"])


class Stream:
    """A connection, over which a request is sent now and then. It is never opened again."""

    def __init__(self, address: str, port: int) -> None:
        self._connection = http.client.HTTPConnection(address, port, timeout=10)
        self._connection.connect()
        self._connection.auto_open = 0
        self.served_by = self.ask()

    def ask(self) -> str:
        self._connection.request("GET", "/")
        return str(json.loads(self._connection.getresponse().read())["service"])

    def close(self) -> None:
        self._connection.close()


def test_a_network_load_balancer_splits_connections_by_weight_and_ends_none(local: LocalEcs, network: Front) -> None:
    elb = local.client("elbv2")
    legacy, internal = local.group("TCP"), local.group("TCP")
    listener, port = local.listen(network, {legacy: 90, internal: 10})
    addresses = {"legacy": local.upstream("legacy", DELAY="0"), "internal": local.upstream("internal", DELAY="0")}
    register(local, legacy, addresses["legacy"])
    register(local, internal, addresses["internal"])
    await_healthy(local, legacy, internal)
    url = f"http://{network.address}:{port}/"

    def split(count: int = 600) -> Counter[str]:
        return Counter(asked(url) for _number in range(count))

    # Five standard deviations of 600 draws with 10 %.
    assert 23 <= split()["internal"] <= 97
    before = [Stream(network.address, port) for _number in range(12)]

    def weigh(weights: Mapping[str, int]) -> None:
        elb.modify_listener(ListenerArn=listener, DefaultActions=forward(weights))

    with Clients(url, 100, "/") as clients:
        weigh({legacy: 0, internal: 999})
        wait_until(lambda: split(20) == {"internal": 20}, "the weights count")
        assert split(100) == {"internal": 100}
        assert states(local, legacy) == ["healthy"], "a group with the weight 0 is still in use"
        assert [stream.ask() for stream in before] == [stream.served_by for stream in before]
        # A listener more is another configuration; a group less as well.
        local.listen(network, {local.group("TCP"): 1})
        weigh({internal: 1})
        wait_until(lambda: states(local, legacy) == ["unused"], "the group is not in use")
    assert clients.failures == []
    assert [stream.ask() for stream in before] == [stream.served_by for stream in before]
    assert split(100) == {"internal": 100}
    assert "legacy" in [stream.served_by for stream in before]


def test_a_target_that_leaves_keeps_its_connections_until_they_end(local: LocalEcs, network: Front) -> None:
    elb = local.client("elbv2")
    group = local.group("TCP")
    _listener, port = local.listen(network, {group: 1})
    address = local.upstream("leaving", DELAY="0")
    register(local, group, address)
    await_healthy(local, group)
    stream = Stream(network.address, port)
    # The worker that has the connection is replaced meanwhile.
    local.listen(network, {local.group("TCP"): 1})
    elb.deregister_targets(TargetGroupArn=group, Targets=[{"Id": address}])
    time.sleep(1)
    assert states(local, group) == ["draining"]
    assert stream.ask() == "leaving"
    with pytest.raises(OSError):
        asked(f"http://{network.address}:{port}/")
    stream.close()
    wait_until(lambda: states(local, group) == [], "the target is gone")


def test_tasks_reach_a_load_balancer_by_its_name(local: LocalEcs, network: Front) -> None:
    group = local.group("TCP")
    _listener, port = local.listen(network, {group: 1})
    register(local, group, local.upstream("named"))
    await_healthy(local, group)
    ask = f"import urllib.request; print(urllib.request.urlopen('http://{network.dns_name}:{port}/').read().decode())"
    task = local.run(local.register({"command": ["python3", "-c", ask]}))
    assert local.task(task, "STOPPED")["containers"][0]["exitCode"] == 0
    assert json.loads(local.logged(task)[0])["service"] == "named"


def test_metrics_are_those_of_the_requests(local: LocalEcs) -> None:
    front = local.load_balancer("application")
    group, empty = local.group("HTTP"), local.group("HTTP")
    _listener, port = local.listen(front, {group: 1})
    _listener, nowhere = local.listen(front, {empty: 1})
    register(local, group, local.upstream("measured", DELAY="0.05"))
    await_healthy(local, group)
    since = datetime.now(timezone.utc)
    url = f"http://{front.address}:{port}/"
    for _number in range(95):
        asked(url)
    for query in ("status=503", "status=500", "status=503", "delay=1", "delay=1"):
        try:
            asked(f"{url}?{query}")
        except urllib.error.HTTPError as error:
            assert error.code in (500, 503)
    with pytest.raises(urllib.error.HTTPError, match="503"):
        asked(f"http://{front.address}:{nowhere}/")
    dimensions = [{"Name": "LoadBalancer", "Value": front.arn.partition("loadbalancer/")[2]}]
    of_group = [*dimensions, {"Name": "TargetGroup", "Value": group.rpartition(":")[2]}]
    wanted: dict[str, tuple[str, str, list[dict[str, str]]]] = {
        "requests": ("RequestCount", "Sum", dimensions),
        "failed": ("HTTPCode_Target_5XX_Count", "Sum", dimensions),
        "of_group": ("HTTPCode_Target_5XX_Count", "Sum", of_group),
        "refused": ("HTTPCode_ELB_5XX_Count", "Sum", dimensions),
        "p99": ("TargetResponseTime", "p99", dimensions),
        "average": ("TargetResponseTime", "Average", of_group),
        "absent": ("HTTPCode_Target_4XX_Count", "Sum", dimensions),
    }

    def ask(period: int) -> dict[str, list[Any]]:
        queries = [
            {
                "Id": name,
                "MetricStat": {
                    "Metric": {"Namespace": "AWS/ApplicationELB", "MetricName": metric, "Dimensions": dims},
                    "Period": period,
                    "Stat": statistic,
                },
            }
            for name, (metric, statistic, dims) in wanted.items()
        ]
        said = local.client("cloudwatch").get_metric_data(
            MetricDataQueries=queries,
            StartTime=since,
            EndTime=since + timedelta(minutes=5),
            ScanBy="TimestampAscending",
        )
        return {one["Id"]: one["Values"] for one in said["MetricDataResults"]}

    found = ask(3600)
    assert {name: sum(found[name]) for name in ("requests", "failed", "of_group", "refused")} == {
        "requests": 100,
        "failed": 3,
        "of_group": 3,
        "refused": 1,
    }
    assert 1.0 <= found["p99"][-1] < 1.5
    assert 0.05 <= found["average"][-1] < 0.2
    assert found["absent"] == []
    by_second = ask(1)
    assert sum(by_second["requests"]) == 100
    assert len(by_second["requests"]) > 3


def test_it_refuses_a_group_of_another_protocol(local: LocalEcs, network: Front) -> None:
    with pytest.raises(ClientError, match="IncompatibleProtocols"):
        local.listen(network, {local.group("HTTP"): 1})
