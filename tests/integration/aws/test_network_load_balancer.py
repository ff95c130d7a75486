# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""load_balancer, target_group and traffic_split with a Network Load Balancer, against moto.

moto modifies no listener to TLS or UDP, and takes any target group behind a listener.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from ansible_collections.evenkeel.fleet.plugins.module_utils._aws.network_listeners import OWNER
from tests.integration.aws.interruptions import Interruptions, changes
from tests.integration.aws.stage import call, network
from tests.integration.endpoint import Endpoint

_numbers = itertools.count(1)
INTERRUPTIONS = Interruptions()


@pytest.fixture(scope="module")
def served() -> Iterator[Endpoint]:
    with Endpoint(INTERRUPTIONS.answer) as endpoint:
        yield endpoint


@pytest.fixture
def aws(served: Endpoint) -> Endpoint:
    return served.at_its_best()


@pytest.fixture(scope="module")
def place(served: Endpoint) -> Mapping[str, Any]:
    return network(served)


@pytest.fixture
def name() -> str:
    return f"services-{next(_numbers)}"


def writes(aws: Endpoint) -> list[str]:
    """The calls since the last run that change something."""
    return [name.partition(":")[2] for name in aws.faults.calls if changes(name)]


def run(
    aws: Endpoint, wanted: Mapping[str, Any], *, check: bool = False, module: str = "load_balancer"
) -> dict[str, Any]:
    aws.faults.calls.clear()
    return call(aws, module, wanted, check=check)


def both(aws: Endpoint, wanted: Mapping[str, Any], *, module: str = "load_balancer") -> dict[str, Any]:
    """Check mode writes nothing and predicts the run; the next runs change nothing."""
    expected = run(aws, wanted, check=True, module=module)
    assert (expected["changed"], writes(aws)) == (True, []), expected
    result = run(aws, wanted, module=module)
    result["writes"] = writes(aws)
    assert (result["failed"], result["changed"], result["diff"]) == (False, True, expected["diff"]), result
    for check in (True, False, False):
        again = run(aws, wanted, check=check, module=module)
        assert (again["failed"], again["changed"], writes(aws)) == (False, False, []), again
    return result


def group(aws: Endpoint, place: Mapping[str, Any], protocol: str = "TCP", **more: Any) -> str:
    """The ARN of a new target group."""
    wanted = {
        "name": f"group-{next(_numbers)}",
        "vpc_id": place["vpc_id"],
        "protocol": protocol,
        "port": 8080,
        "target_type": "ip",
        **more,
    }
    made = call(aws, "target_group", wanted)
    assert not made["failed"], made
    return str(made["target_group_arn"])


def balancer(place: Mapping[str, Any], name: str, ports: Mapping[int, str], **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "type": "network",
        "scheme": "internal",
        "subnets": place["subnets"],
        "security_groups": place["security_groups"],
        "listeners": [{"port": port, "target_group_arn": arn} for port, arn in ports.items()],
        **more,
    }


def listeners(aws: Endpoint, name: str) -> dict[int, dict[str, Any]]:
    elb = aws.client()
    (found,) = elb.describe_load_balancers(Names=[name])["LoadBalancers"]
    listed = elb.describe_listeners(LoadBalancerArn=found["LoadBalancerArn"])["Listeners"]
    return {listener["Port"]: listener for listener in listed}


def weights(listener: Mapping[str, Any]) -> dict[str, int]:
    (action,) = listener["DefaultActions"]
    return {each["TargetGroupArn"]: each["Weight"] for each in action["ForwardConfig"]["TargetGroups"]}


def test_created_kept_changed_and_deleted(aws: Endpoint, place: Mapping[str, Any], name: str) -> None:
    auth, user, jobs = (group(aws, place) for _ in range(3))
    tags = {"Project": "shop"}
    wanted = balancer(
        place, name, {5001: auth, 3002: user}, attributes={"load_balancing.cross_zone.enabled": True}, tags=tags
    )
    made = both(aws, wanted)
    assert made["writes"] == [
        "CreateLoadBalancer",
        "ModifyLoadBalancerAttributes",
        "AddTags",
        "CreateListener",
        "CreateListener",
    ]
    (found,) = aws.client().describe_load_balancers(Names=[name])["LoadBalancers"]
    assert (found["Type"], found["Scheme"]) == ("network", "internal")
    assert found["SecurityGroups"] == place["security_groups"]
    assert made["dns_name"] == found["DNSName"]
    there = listeners(aws, name)
    assert {port: weights(listener) for port, listener in there.items()} == {5001: {auth: 1}, 3002: {user: 1}}
    tagged = aws.client().describe_tags(ResourceArns=[there[5001]["ListenerArn"]])["TagDescriptions"][0]["Tags"]
    assert tagged == [{"Key": OWNER, "Value": name}]

    # A listener of others stays; one of ours that is no longer declared goes.
    aws.client().create_listener(
        LoadBalancerArn=made["load_balancer_arn"],
        Protocol="TCP",
        Port=9000,
        DefaultActions=[{"Type": "forward", "TargetGroupArn": group(aws, place)}],
    )
    changed = both(aws, {**wanted, "listeners": balancer(place, name, {5001: auth, 5003: jobs})["listeners"]})
    assert changed["writes"] == ["CreateListener", "DeleteListener"]
    assert set(listeners(aws, name)) == {5001, 5003, 9000}

    gone = {"name": name, "type": "network", "state": "absent"}
    for check in (True, False):
        refused = run(aws, gone, check=check)
        assert refused["msg"] == (
            f"The load balancer {name} was not deleted: It has listeners of others, on port 9000; delete these first."
        )
    aws.client().delete_listener(ListenerArn=listeners(aws, name)[9000]["ListenerArn"])
    assert run(aws, gone, check=True)["changed"] and writes(aws) == []
    assert run(aws, gone)["changed"] and writes(aws) == ["DeleteLoadBalancer"]
    assert not run(aws, gone)["changed"]


def test_weights_are_kept_unless_told_otherwise(aws: Endpoint, place: Mapping[str, Any], name: str) -> None:
    blue, green = group(aws, place), group(aws, place)
    wanted = balancer(place, name, {5001: blue})
    both(aws, wanted)
    arn = listeners(aws, name)[5001]["ListenerArn"]
    for side in (blue, green):
        aws.states.take_for_registered(side.split("/")[-2], ["10.0.0.10"], 8080)
    sides = {"listeners": [arn], "sides": {"blue": [blue], "green": [green]}}
    before = call(aws, "traffic_split", sides)
    assert before["weights"] == {"blue": 100, "green": 0}
    for share in (10, 50, 100):
        to = {**sides, "weights": {"blue": 100 - share, "green": share}}
        assert call(aws, "traffic_split", to, check=True)["changed"]
        assert call(aws, "traffic_split", to)["weights"] == {"blue": 100 - share, "green": share}
        assert weights(listeners(aws, name)[5001]) == {blue: 100 - share, green: share}
        assert not call(aws, "traffic_split", to)["changed"]
        assert not run(aws, wanted)["changed"] and writes(aws) == []
    assert both(aws, {**wanted, "keep_forward": False})["writes"] == ["ModifyListener"]
    assert weights(listeners(aws, name)[5001]) == {blue: 1}


def test_no_traffic_is_switched_to_a_group_that_the_listener_can_not_have(
    aws: Endpoint, place: Mapping[str, Any], name: str
) -> None:
    blue, green = group(aws, place), group(aws, place, "HTTP")
    both(aws, balancer(place, name, {5001: blue}))
    arn = listeners(aws, name)[5001]["ListenerArn"]
    sides = {"listeners": [arn], "sides": {"blue": [blue], "green": [green]}, "weights": {"green": 10}}
    refused = run(aws, sides, module="traffic_split", check=True)
    assert refused["msg"].startswith(
        f"Traffic was not switched: the target group {green.split('/')[-2]} has the protocol HTTP, and AWS takes TCP "
        "or TCP_UDP behind the TCP listener on port 5001 (IncompatibleProtocols). "
    )
    assert weights(listeners(aws, name)[5001]) == {blue: 1}


def test_a_listener_that_was_there_is_changed_and_never_deleted(
    aws: Endpoint, place: Mapping[str, Any], name: str
) -> None:
    auth, user = group(aws, place), group(aws, place)
    made = both(aws, balancer(place, name, {3002: user}))
    forward = [{"Type": "forward", "TargetGroupArn": auth}]
    there = {"LoadBalancerArn": made["load_balancer_arn"], "Protocol": "UDP", "DefaultActions": forward}
    aws.client().create_listener(Port=5001, **there)
    assert both(aws, balancer(place, name, {3002: user, 5001: auth}))["writes"] == ["ModifyListener"]
    assert listeners(aws, name)[5001]["Protocol"] == "TCP"
    assert not run(aws, balancer(place, name, {3002: user}))["changed"]
    assert set(listeners(aws, name)) == {3002, 5001}


def test_tls_and_udp(aws: Endpoint, place: Mapping[str, Any], name: str) -> None:
    certificate = aws.client("acm").request_certificate(DomainName="example.com")["CertificateArn"]
    tls = {"port": 443, "protocol": "TLS", "target_group_arn": group(aws, place, "TLS"), "certificate_arn": certificate}
    both_protocols = {"port": 53, "protocol": "TCP_UDP", "target_group_arn": group(aws, place, "TCP_UDP")}
    wanted = balancer(place, name, {}, listeners=[tls, both_protocols])
    made = both(aws, wanted)
    assert made["diff"]["after"]["listeners"][443] == {
        "protocol": "TLS",
        "actions": [[{"TargetGroupArn": tls["target_group_arn"], "Weight": 1}]],
        "certificates": [certificate],
        "ssl_policy": "ELBSecurityPolicy-TLS13-1-2-2021-06",
    }
    bare = {**tls, "certificate_arn": ""}
    refused = run(aws, {**wanted, "listeners": [bare]})
    assert refused["msg"].endswith(f"the listener on port 443 of {name} is TLS. Set certificate_arn.")
    dressed = {**both_protocols, "certificate_arn": certificate}
    refused = run(aws, {**wanted, "listeners": [dressed]})
    assert refused["msg"].endswith(
        f"the listener on port 53 of {name} is TCP_UDP. Remove certificate_arn, or set protocol: TLS."
    )


def test_security_groups_can_not_come_later(aws: Endpoint, place: Mapping[str, Any], name: str) -> None:
    auth = group(aws, place)
    without = balancer(place, name, {5001: auth}, security_groups=[])
    both(aws, without)
    for check in (True, False):
        refused = run(aws, balancer(place, name, {5001: auth}), check=check)
        assert refused["msg"] == (
            f"Nothing was changed: the Network Load Balancer {name} was created without security groups, and AWS can't "
            "add any later. Remove security_groups, or create one with another name."
        )
        assert writes(aws) == []

    other = f"{name}-with"
    user = group(aws, place)
    both(aws, balancer(place, other, {3002: user}))
    vpc, groups = place["vpc_id"], aws.client("ec2")
    second = groups.create_security_group(GroupName=other, Description="second", VpcId=vpc)["GroupId"]
    assert both(aws, balancer(place, other, {3002: user}, security_groups=[second]))["writes"] == ["SetSecurityGroups"]
    left_out = {**balancer(place, other, {3002: user})}
    del left_out["security_groups"]
    kept = run(aws, left_out)
    assert (kept["changed"], kept["diff"]["after"]["security_groups"]) == (False, [second])


def test_what_aws_would_refuse_is_refused_before_anything_changes(
    aws: Endpoint, place: Mapping[str, Any], name: str
) -> None:
    web, auth, udp = group(aws, place, "HTTP"), group(aws, place), group(aws, place, "UDP")
    call(aws, "load_balancer", balancer(place, f"{name}-other", {5001: auth}))
    missing = auth[:-4] + "0000"

    def refused(wanted: Mapping[str, Any], check: bool) -> str:
        result = run(aws, wanted, check=check)
        assert (result["failed"], writes(aws)) == (True, []), result
        return str(result["msg"])

    for check in (True, False):
        of_http = refused(balancer(place, name, {5001: web}), check)
        assert of_http == (
            f"Nothing was changed in the load balancer {name}: the target group {web.split('/')[-2]} has the protocol "
            "HTTP, and AWS takes TCP or TCP_UDP behind the TCP listener on port 5001 (IncompatibleProtocols). Create a "
            "target group with another name, protocol: TCP, and in its health_check protocol: HTTP, which keeps the "
            "HTTP health checks."
        )
        of_udp = refused(balancer(place, name, {5001: udp}), check)
        assert of_udp.endswith("Create a target group with another name and protocol: TCP, or change the listener's.")
        used = refused(balancer(place, name, {5001: auth}), check)
        assert f"is used by the load balancer {name}-other, and AWS takes one load balancer for each" in used
        unknown = refused(balancer(place, name, {5001: missing}), check)
        assert f"one of these target groups does not exist in eu-central-1: {missing}." in unknown
        twice = [{"port": 53, "protocol": protocol, "target_group_arn": udp} for protocol in ("TCP", "UDP")]
        assert "two listeners on port 53. For TCP and UDP on one port declare one listener" in refused(
            balancer(place, name, {}, listeners=twice), check
        )
        beyond = refused(balancer(place, name, {70000: udp}), check)
        assert "the listener port 70000 of" in beyond
        mixed = refused(balancer(place, name, {5001: udp}, target_group_arn=udp), check)
        assert mixed == "target_group_arn is not an option of a load balancer with type: network. Remove it."
        bare = {"name": name, "type": "network"}
        assert refused(bare, check) == (
            "state is present and type is network, but these are missing: subnets, listeners."
        )
        other = refused({**balancer(place, f"{name}-other", {}), "type": "application", "listeners": None}, check)
        assert other == "state is present and type is application, but these are missing: target_group_arn."
    front = {"name": f"{name}-other", "state": "absent"}
    assert "is of the type network, not application. AWS can't change the type" in refused(front, False)
    # The group of a task before does not exist in check mode.
    planned = run(aws, balancer(place, name, {5001: "known after creation"}), check=True)
    assert planned["changed"]


def test_each_call_denied_once(aws: Endpoint, place: Mapping[str, Any], name: str) -> None:
    auth, user, jobs = (group(aws, place) for _ in range(3))
    settings = {"attributes": {"deletion_protection.enabled": False}, "tags": {"Env": "test"}}
    wanted = balancer(place, name, {5001: auth, 3002: user}, **settings)
    second = aws.client("ec2").create_security_group(GroupName=name, Description="2", VpcId=place["vpc_id"])["GroupId"]
    changed = balancer(place, name, {5001: jobs, 5003: user}, keep_forward=False, tags={}, security_groups=[second])
    gone = {"name": name, "type": "network", "state": "absent"}
    refused = set()
    for step in (wanted, changed, gone):
        with INTERRUPTIONS.each_denied_once() as denied:
            for _ in range(20):
                before = len(denied)
                result = run(aws, step)
                if not result["failed"]:
                    break
                assert len(denied) == before + 1 and f"needs {denied[-1]} on " in result["msg"], result
            refused |= set(denied)
        again = run(aws, step)
        assert (again["failed"], again["changed"], writes(aws)) == (False, False, [])
    assert refused == {
        f"elasticloadbalancing:{action}"
        for action in (
            "AddTags",
            "CreateListener",
            "CreateLoadBalancer",
            "DeleteListener",
            "DeleteLoadBalancer",
            "DescribeListeners",
            "DescribeLoadBalancerAttributes",
            "DescribeLoadBalancers",
            "DescribeTags",
            "DescribeTargetGroups",
            "ModifyListener",
            "ModifyLoadBalancerAttributes",
            "RemoveTags",
            "SetSecurityGroups",
        )
    }


def test_killed_after_each_change(aws: Endpoint, place: Mapping[str, Any], name: str) -> None:
    auth, user = group(aws, place), group(aws, place)
    wanted = balancer(place, name, {5001: auth, 3002: user}, tags={"Env": "test"})
    gone = {"name": name, "type": "network", "state": "absent"}
    for changed in itertools.count(1):
        with INTERRUPTIONS.after(changed):
            interrupted = run(aws, wanted)
        finished = run(aws, wanted)
        assert not finished["failed"] and set(listeners(aws, name)) == {5001, 3002}
        assert not run(aws, wanted)["changed"]
        assert not run(aws, gone)["failed"]
        if not interrupted["failed"]:
            break
    assert changed == 5


HEALTH = {"protocol": "HTTP", "path": "/health", "interval": 10, "timeout": 5, "matcher": "200-299"}


@pytest.mark.parametrize("protocol", ["TCP", "TLS", "UDP", "TCP_UDP"])
def test_target_groups_of_network_protocols(aws: Endpoint, place: Mapping[str, Any], protocol: str) -> None:
    wanted = {
        "name": f"group-{next(_numbers)}",
        "vpc_id": place["vpc_id"],
        "protocol": protocol,
        "port": 5001,
        "target_type": "ip",
        "health_check": HEALTH,
        "attributes": {"deregistration_delay.timeout_seconds": 30},
    }
    both(aws, wanted, module="target_group")
    (found,) = aws.client().describe_target_groups(Names=[wanted["name"]])["TargetGroups"]
    assert (found["Protocol"], found["HealthCheckProtocol"], found["HealthCheckPath"]) == (protocol, "HTTP", "/health")
    by_port = {**wanted, "name": f"group-{next(_numbers)}", "health_check": {"protocol": "TCP", "interval": 10}}
    both(aws, by_port, module="target_group")
    assert both(
        aws, {**by_port, "health_check": {"protocol": "TCP", "interval": 30, "timeout": 10}}, module="target_group"
    )["writes"] == ["ModifyTargetGroup"]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (
            {"protocol": "HTTP", "health_check": {"protocol": "TCP"}},
            "health_check protocol TCP is for target groups of TCP, TLS, UDP and TCP_UDP, and this one is HTTP; set "
            "HTTP or HTTPS",
        ),
        (
            {"health_check": {"path": "/health"}},
            "TCP health checks have no path; remove it from health_check, or set protocol: HTTP there",
        ),
        ({"health_check": {"protocol": "TCP", "matcher": "200"}}, "TCP health checks have no matcher"),
        ({"health_check": {"interval": 3}}, "health_check interval 3 is not between 5 and 300"),
        ({"health_check": {"timeout": 121}}, "health_check timeout 121 is not between 2 and 120"),
        ({"health_check": {"healthy_threshold": 1}}, "health_check healthy_threshold 1 is not between 2 and 10"),
        ({"health_check": {"timeout": 40}}, "health_check timeout 40 is not less than the interval 30"),
        (
            {"attributes": {"stickiness.enabled": True, "stickiness.type": "lb_cookie"}},
            "stickiness.type lb_cookie is not supported with the protocol TCP; set source_ip",
        ),
        (
            {"protocol": "HTTP", "attributes": {"stickiness.type": "source_ip"}},
            "stickiness.type source_ip is not supported with the protocol HTTP; set lb_cookie or app_cookie",
        ),
        ({"protocol": "TLS", "attributes": {"stickiness.enabled": True}}, "stickiness is not supported with"),
        (
            {"attributes": {"slow_start.duration_seconds": 30}},
            "the attribute slow_start.duration_seconds is for target groups of Application Load Balancers; remove it",
        ),
        (
            {"protocol": "HTTP", "attributes": {"preserve_client_ip.enabled": True}},
            "the attribute preserve_client_ip.enabled is for target groups of Network Load Balancers; remove it",
        ),
        (
            {"protocol": "UDP", "attributes": {"preserve_client_ip.enabled": False}},
            "preserve_client_ip.enabled can't be false with the protocol UDP; remove it",
        ),
    ],
)
def test_target_groups_that_aws_would_refuse(
    aws: Endpoint, place: Mapping[str, Any], wrong: Mapping[str, Any], words: str
) -> None:
    name = f"group-{next(_numbers)}"
    wanted = {"name": name, "vpc_id": place["vpc_id"], "protocol": "TCP", "port": 5001, "target_type": "ip", **wrong}
    for check in (True, False):
        refused = run(aws, wanted, check=check, module="target_group")
        assert refused["failed"] and writes(aws) == []
        assert refused["msg"].startswith(f"Nothing was changed: AWS refuses the target group {name}: ")
        assert words in refused["msg"]


def test_a_timeout_is_compared_with_the_interval_of_the_group(aws: Endpoint, place: Mapping[str, Any]) -> None:
    name = f"group-{next(_numbers)}"
    wanted = {"name": name, "vpc_id": place["vpc_id"], "protocol": "TCP", "port": 5001, "target_type": "ip"}
    both(aws, {**wanted, "health_check": {"interval": 60, "timeout": 10}}, module="target_group")
    both(aws, {**wanted, "health_check": {"timeout": 60}}, module="target_group")
    refused = run(aws, {**wanted, "health_check": {"timeout": 61}}, module="target_group")
    assert "health_check timeout 61 is not less than the interval 60" in refused["msg"]
