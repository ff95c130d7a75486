# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Listeners as HAProxy's configuration, and requests as metrics of CloudWatch, without an engine."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto.cloudwatch.models import cloudwatch_backends
from moto.elbv2.models import elbv2_backends

from testbed.services.aws import calls
from testbed.services.aws.ecs import metrics
from testbed.services.aws.ecs.configuration import SLOTS, Server, configuration, limits
from testbed.services.aws.ecs.requests import RequestLog
from testbed.services.aws.listener_refusals import ListenerRefusals
from testbed.services.aws.targets import Pretended, TargetStates

ACCOUNT, REGION = "123456789012", "eu-west-1"  # a region that no other test uses
START = 1_800_000_000
FRONT = "app/front/50dc6c495c0c9188"


class Endpoint:
    """A served endpoint with a network."""

    def __init__(self, url: str, requests: RequestLog, states: TargetStates) -> None:
        self.url, self.requests, self.states = url, requests, states
        ec2 = self.client("ec2")
        self.vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        self.subnets = [
            ec2.create_subnet(VpcId=self.vpc, CidrBlock=f"10.0.{index}.0/24", AvailabilityZone=f"{REGION}{zone}")[
                "Subnet"
            ]["SubnetId"]
            for index, zone in enumerate("ab")
        ]
        self.elb = self.client("elbv2")

    def client(self, service: str) -> Any:
        keys = {"aws_access_key_id": "AKIATEST", "aws_secret_access_key": "secret"}
        return boto3.client(service, endpoint_url=self.url, region_name=REGION, **keys)

    def balancer(self, name: str, kind: str, **more: Any) -> str:
        made = self.elb.create_load_balancer(Name=name, Type=kind, Subnets=self.subnets, **more)
        return str(made["LoadBalancers"][0]["LoadBalancerArn"])

    def group(self, name: str, protocol: str, port: int = 8080) -> str:
        made = self.elb.create_target_group(
            Name=name, Protocol=protocol, Port=port, VpcId=self.vpc, TargetType="ip",
            HealthCheckProtocol="HTTP", HealthCheckPath="/health",
        )  # fmt: skip
        return str(made["TargetGroups"][0]["TargetGroupArn"])

    def listen(self, balancer: str, protocol: str, port: int, **weights: int) -> str:
        groups = [{"TargetGroupArn": self.arn(name), "Weight": weight} for name, weight in weights.items()]
        made = self.elb.create_listener(
            LoadBalancerArn=balancer,
            Protocol=protocol,
            Port=port,
            DefaultActions=[{"Type": "forward", "ForwardConfig": {"TargetGroups": groups}}],
        )
        return str(made["Listeners"][0]["ListenerArn"])

    def arn(self, name: str) -> str:
        return str(self.elb.describe_target_groups(Names=[name])["TargetGroups"][0]["TargetGroupArn"])


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    for backends in (elbv2_backends, cloudwatch_backends):
        backends[ACCOUNT][REGION].reset()
    requests = RequestLog(lambda: START + 3.5)
    metrics.serve(cloudwatch_backends[ACCOUNT][REGION], requests)
    states = TargetStates(Pretended())
    server = calls.server("127.0.0.1", 0, [ListenerRefusals(ACCOUNT, REGION).answer, states.answer])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield Endpoint(f"http://127.0.0.1:{server.server_port}", requests, states)
    server.shutdown()
    server.server_close()
    thread.join(5)
    requests.close()


def shape(balancer: str) -> Any:
    backend = elbv2_backends[ACCOUNT][REGION]
    return configuration(backend.load_balancers[balancer], backend.target_groups, 0.1, "10.0.0.1:514")


def test_weights_become_limits_of_a_number_that_is_drawn() -> None:
    assert limits({"a": 1}) == {"a": 1_000_000}
    assert limits({"a": 90, "b": 10}) == {"a": 900_000, "b": 1_000_000}
    assert limits({"a": 0, "b": 999}) == {"a": 0, "b": 1_000_000}
    assert limits({"a": 0, "b": 0}) == {"a": 0, "b": 0}, "nothing is forwarded"


def test_a_weight_changes_no_text_and_a_group_does(endpoint: Endpoint) -> None:
    for name in ("legacy", "internal"):
        endpoint.group(name, "TCP")
    network = endpoint.balancer("inside", "network")
    listener = endpoint.listen(network, "TCP", 3001, legacy=90, internal=10)
    before = shape(network)
    assert before.weights == {"inside-3001/legacy": 900_000, "inside-3001/internal": 1_000_000}
    assert "mode tcp" in before.frontends
    assert "option httpchk GET /health" in before.backends["internal"]
    assert "inter 3000ms" in before.backends["internal"]

    def forward(**weights: int) -> None:
        groups = [{"TargetGroupArn": endpoint.arn(name), "Weight": weight} for name, weight in weights.items()]
        action = {"Type": "forward", "ForwardConfig": {"TargetGroups": groups}}
        endpoint.elb.modify_listener(ListenerArn=listener, DefaultActions=[action])

    forward(legacy=0, internal=1)
    after = shape(network)
    assert after.same_text(before)
    assert after.weights == {"inside-3001/legacy": 0, "inside-3001/internal": 1_000_000}
    forward(internal=1)
    assert not shape(network).same_text(before)


def test_a_worker_starts_with_the_targets_that_are_healthy(endpoint: Endpoint) -> None:
    endpoint.group("users", "HTTP")
    front = endpoint.balancer("front", "application")
    endpoint.listen(front, "HTTP", 80, users=1)
    text = shape(front).text({"users": {1: Server("10.0.0.7", 8080), 4: Server("10.0.0.8", 8080)}})
    servers = [line.split()[:3] for line in text.splitlines() if line.lstrip().startswith("server")]
    assert servers == [
        ["server", "target1", "10.0.0.7:8080"],
        ["server-template", "target", "2-3"],
        ["server", "target4", "10.0.0.8:8080"],
        ["server-template", "target", f"5-{SLOTS}"],
    ]
    assert "log 10.0.0.1:514 format raw local0" in text


def test_what_aws_refuses_of_listeners_is_refused(endpoint: Endpoint) -> None:
    for name, protocol in (("web", "HTTP"), ("plain", "TCP")):
        endpoint.group(name, protocol)
    network, front = endpoint.balancer("inside", "network"), endpoint.balancer("front", "application")
    with pytest.raises(ClientError, match="IncompatibleProtocols"):
        endpoint.listen(network, "TCP", 80, web=1)
    with pytest.raises(ClientError, match="IncompatibleProtocols"):
        endpoint.listen(front, "HTTP", 80, plain=1)
    with pytest.raises(ClientError, match="must be between 0 and 999"):
        endpoint.listen(network, "TCP", 80, plain=1000)
    made = endpoint.listen(network, "TCP", 80, plain=999)
    with pytest.raises(ClientError, match="IncompatibleProtocols"):
        endpoint.elb.modify_listener(
            ListenerArn=made, DefaultActions=[{"Type": "forward", "TargetGroupArn": endpoint.arn("web")}]
        )
    other = endpoint.balancer("other", "network")
    with pytest.raises(ClientError, match="TargetGroupAssociationLimit"):
        endpoint.listen(other, "TCP", 81, plain=1)
    endpoint.listen(network, "TCP", 81, plain=1)


def test_security_groups_of_a_network_load_balancer_can_only_be_replaced(endpoint: Endpoint) -> None:
    made = endpoint.client("ec2").create_security_group(GroupName="nlb", Description="nlb", VpcId=endpoint.vpc)
    group = made["GroupId"]
    without = endpoint.balancer("without", "network")
    with pytest.raises(ClientError, match="created without"):
        endpoint.elb.set_security_groups(LoadBalancerArn=without, SecurityGroups=[group])
    having = endpoint.balancer("having", "network", SecurityGroups=[group])
    said = endpoint.elb.set_security_groups(LoadBalancerArn=having, SecurityGroups=[group])
    assert said["SecurityGroupIds"] == [group]
    attribute = {"Key": "load_balancing.cross_zone.enabled", "Value": "true"}
    endpoint.elb.modify_load_balancer_attributes(LoadBalancerArn=having, Attributes=[attribute])
    assert attribute in endpoint.elb.describe_load_balancer_attributes(LoadBalancerArn=having)["Attributes"]


def test_a_target_without_a_port_has_that_of_its_group(endpoint: Endpoint) -> None:
    group = endpoint.group("users", "TCP", 3002)
    endpoint.elb.register_targets(TargetGroupArn=group, Targets=[{"Id": "10.0.0.7"}, {"Id": "10.0.0.8", "Port": 1}])
    found = endpoint.elb.describe_target_health(TargetGroupArn=group)["TargetHealthDescriptions"]
    assert [one["Target"] for one in found] == [{"Id": "10.0.0.7", "Port": 3002}, {"Id": "10.0.0.8", "Port": 1}]


def ask(endpoint: Endpoint, metric: str, statistic: str, group: str = "", **more: Any) -> dict[datetime, float]:
    dimensions = [{"Name": "LoadBalancer", "Value": FRONT}]
    if group:
        dimensions.append({"Name": "TargetGroup", "Value": f"targetgroup/{group}/73e2d6bc24d8a067"})
    wanted = {"Namespace": "AWS/ApplicationELB", "Period": 5, "StartTime": START - 60, "EndTime": START + 60, **more}
    query = {
        "Id": "wanted",
        "MetricStat": {
            "Metric": {"Namespace": wanted["Namespace"], "MetricName": metric, "Dimensions": dimensions},
            "Period": wanted["Period"],
            "Stat": statistic,
        },
    }
    said = endpoint.client("cloudwatch").get_metric_data(
        MetricDataQueries=[query],
        StartTime=datetime.fromtimestamp(wanted["StartTime"], timezone.utc),
        EndTime=datetime.fromtimestamp(wanted["EndTime"], timezone.utc),
        ScanBy="TimestampAscending",
    )["MetricDataResults"][0]
    return dict(zip(said["Timestamps"], said["Values"]))


MOMENT = datetime.fromtimestamp(START, timezone.utc)


def test_requests_become_metrics(endpoint: Endpoint) -> None:
    for number in range(98):
        endpoint.requests.note(f"request front-80 users target1 200 {number}")
    endpoint.requests.note("request front-80 orders target2 503 2000")
    endpoint.requests.note("request front-80 orders target2 502 -1")
    endpoint.requests.note("request front-80 orders <NOSRV> 503 -1")
    endpoint.requests.note("request other-80 others target1 500 5")

    def total(metric: str, group: str = "") -> list[float]:
        return list(ask(endpoint, metric, "Sum", group).values())

    assert ask(endpoint, "RequestCount", "Sum") == {MOMENT: 100.0}, "one had no target"
    assert total("RequestCount", "orders") == [2.0]
    assert total("HTTPCode_Target_5XX_Count") == total("HTTPCode_Target_5XX_Count", "orders") == [1.0]
    assert total("HTTPCode_ELB_5XX_Count") == [2.0]
    assert total("HTTPCode_Target_5XX_Count", "users") == [], "no data point without a value"
    assert list(ask(endpoint, "TargetResponseTime", "p99").values()) == [2.0], "the 99th of 99"
    assert list(ask(endpoint, "TargetResponseTime", "p50").values()) == [0.049]
    assert list(ask(endpoint, "TargetResponseTime", "Average", "users").values()) == [pytest.approx(0.0485)]


def test_a_period_is_any_number_of_seconds_and_the_end_is_outside(endpoint: Endpoint) -> None:
    endpoint.requests.note("request front-80 users target1 200 1")
    assert ask(endpoint, "RequestCount", "Sum", Period=1) == {MOMENT + timedelta(seconds=3): 1.0}
    assert ask(endpoint, "RequestCount", "Sum", Period=60) == {MOMENT: 1.0}
    assert ask(endpoint, "RequestCount", "Sum", Period=1, EndTime=START + 3) == {}
    assert ask(endpoint, "RequestCount", "Sum", Period=1, StartTime=START + 4) == {}


def test_targets_are_counted_for_network_load_balancers(endpoint: Endpoint) -> None:
    endpoint.requests.note_hosts({("network", "front", "users"): (2, 1)})
    of_network = {"Namespace": "AWS/NetworkELB"}
    assert ask(endpoint, "UnHealthyHostCount", "Maximum", "users", **of_network) == {MOMENT: 1.0}
    assert ask(endpoint, "HealthyHostCount", "Minimum", "users", **of_network) == {MOMENT: 2.0}


def test_other_metrics_stay_those_of_moto(endpoint: Endpoint) -> None:
    data = {
        "MetricName": "Own",
        "Timestamp": MOMENT,
        "Value": 7.0,
        "Dimensions": [{"Name": "LoadBalancer", "Value": FRONT}],
    }
    endpoint.client("cloudwatch").put_metric_data(Namespace="Ours", MetricData=[data])
    assert list(ask(endpoint, "Own", "Sum", Namespace="Ours").values()) == [7.0]


def test_lines_arrive_by_udp(endpoint: Endpoint) -> None:
    endpoint.requests.start()
    host, _colon, port = endpoint.requests.address("127.0.0.1").partition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for line in ("Proxy front-80 stopped", "request front-80 users target1 200 12"):
            sender.sendto(line.encode(), (host, int(port)))
    ends = time.monotonic() + 5
    while not (found := ask(endpoint, "RequestCount", "Sum")) and time.monotonic() < ends:
        time.sleep(0.01)
    assert list(found.values()) == [1.0]
