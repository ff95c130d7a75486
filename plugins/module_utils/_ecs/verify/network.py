# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the network of a service lets its tasks pull their images and be reached."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..._aws.api import Api, RefusedError
from .findings import Clients, Declared, Finding
from .task import containers

ANYWHERE = "0.0.0.0/0"
KINDS = {"Subnet": "subnets", "SecurityGroup": "securityGroups"}


def network(declared: Declared, clients: Clients) -> Iterator[Finding]:
    """Of tasks with addresses of their own: subnets and security groups of one VPC, and a way to pull the image."""
    declared_network = declared["service"].get("networkConfiguration", {}).get("awsvpcConfiguration", {})
    if not declared_network:
        if declared["task"].get("networkMode") == "awsvpc":
            yield Finding("service", "tasks of the network mode awsvpc need networkConfiguration", "Declare it.")
        return
    ec2 = clients("ec2")
    named = {kind: declared_network.get(key, []) for kind, key in KINDS.items()}
    subnets, groups = (_listed(ec2, kind, identifiers) for kind, identifiers in named.items())
    there = {*(one["SubnetId"] for one in subnets), *(one["GroupId"] for one in groups)}
    for identifier in (one for identifiers in named.values() for one in identifiers if one not in there):
        yield Finding(f"network, {identifier}", "it does not exist in this account and region", "Correct its id.")
    places = {one["VpcId"] for one in (*subnets, *groups)}
    if len(places) > 1:
        yield Finding("network", f"subnets and security groups are of several VPCs: {', '.join(sorted(places))}", "")
    public = declared_network.get("assignPublicIp") == "ENABLED"
    for subnet in subnets:
        yield from _way_out(subnet, declared, clients, public=public)
    for balancer in declared["service"].get("loadBalancers", []):
        yield from _reachable(balancer, groups, clients)


def _listed(ec2: Api, kind: str, identifiers: Sequence[str]) -> list[dict[str, Any]]:
    """Those of the subnets or security groups that exist. A call by ids would fail for the first that does not."""
    if not identifiers:
        return []
    key = "subnet-id" if kind == "Subnet" else "group-id"
    filters = [{"Name": key, "Values": list(identifiers)}]
    return list(ec2.pages(f"Describe{kind}s", ", ".join(identifiers), f"{kind}s", Filters=filters))


def _way_out(subnet: Mapping[str, Any], declared: Declared, clients: Clients, *, public: bool) -> Iterator[Finding]:
    ec2, name, vpc = clients("ec2"), subnet["SubnetId"], subnet["VpcId"]
    own = _route_tables(ec2, name, [{"Name": "association.subnet-id", "Values": [name]}])
    main = [{"Name": "vpc-id", "Values": [vpc]}, {"Name": "association.main", "Values": ["true"]}]
    routes = [route for table in own or _route_tables(ec2, name, main) for route in table["Routes"]]
    default = next((one for one in routes if one.get("DestinationCidrBlock") == ANYWHERE), None)
    if default and default.get("State") == "blackhole":
        yield Finding(
            f"network, {name}", f"its route to {ANYWHERE} leads to a gateway that is gone", "Replace the route."
        )
    elif default and default.get("GatewayId", "").startswith("igw-") and not public:
        yield Finding(
            f"network, {name}",
            "it is a public subnet, and tasks without a public address have no way out of it",
            "Set assignPublicIp to ENABLED, or use private subnets with a NAT gateway or endpoints.",
        )
    elif not default:
        missing = _needed_endpoints(declared) - _endpoints(ec2, vpc)
        if missing:
            yield Finding(
                f"network, {name}",
                f"it has no route to {ANYWHERE}, and its VPC has no endpoints {', '.join(sorted(missing))}",
                "Add a NAT gateway with a route, or these endpoints.",
            )


def _route_tables(ec2: Api, about: str, filters: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return list(ec2.pages("DescribeRouteTables", about, "RouteTables", Filters=list(filters)))


def _needed_endpoints(declared: Declared) -> set[str]:
    needed = {"ecr.api", "ecr.dkr", "s3"}
    for one in containers(declared):
        if one.get("logConfiguration", {}).get("logDriver") == "awslogs":
            needed.add("logs")
        for secret in one.get("secrets", []):
            needed.add("secretsmanager" if ":secretsmanager:" in secret.get("valueFrom", "") else "ssm")
    return needed


def _endpoints(ec2: Api, vpc: str) -> set[str]:
    """Those of the VPC without the region's part of their names."""
    filters = [{"Name": "vpc-id", "Values": [vpc]}]
    listed = ec2.pages("DescribeVpcEndpoints", vpc, "VpcEndpoints", Filters=filters)
    return {one["ServiceName"].split(".", 3)[3] for one in listed if one.get("State", "").lower() == "available"}


def _reachable(balancer: Mapping[str, Any], groups: Sequence[Mapping[str, Any]], clients: Clients) -> Iterator[Finding]:
    """Whether the security groups of the tasks accept the load balancer at the container's port."""
    arn, port = balancer.get("targetGroupArn", ""), balancer.get("containerPort")
    try:
        found = clients("elbv2").call("DescribeTargetGroups", arn, TargetGroupArns=[arn])["TargetGroups"]
    except RefusedError:
        return
    balancers = [one for group in found for one in group.get("LoadBalancerArns", [])]
    for one in balancers:
        described = clients("elbv2").call("DescribeLoadBalancers", one, LoadBalancerArns=[one])["LoadBalancers"][0]
        theirs = set(described.get("SecurityGroups", []))
        if theirs and not any(_accepts(rule, port, theirs) for group in groups for rule in group["IpPermissions"]):
            yield Finding(
                "network",
                f"no security group of the tasks accepts {described['LoadBalancerName']} at port {port}",
                f"Add a rule for TCP {port} from {', '.join(sorted(theirs))}.",
            )


def _accepts(rule: Mapping[str, Any], port: int | None, groups: set[str]) -> bool:
    if rule["IpProtocol"] not in ("tcp", "-1"):
        return False
    if rule["IpProtocol"] == "tcp" and not rule["FromPort"] <= (port or 0) <= rule["ToPort"]:
        return False
    from_groups = {pair["GroupId"] for pair in rule.get("UserIdGroupPairs", [])}
    # Ranges of addresses are taken for wide enough: the load balancer's own addresses change.
    return bool(groups & from_groups or rule.get("IpRanges") or rule.get("PrefixListIds"))
