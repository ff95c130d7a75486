# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a VPC has, as far as a private network is about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..._common.progress import OperationError
from ..api import Api, RefusedError
from ..pairs import as_dict
from .declaration import OWNER, ZONE

Raw = Mapping[str, Any]
DEFAULT_ROUTE = "0.0.0.0/0"
LIVE = ("pending", "available")
ENDED = ("deleted", "rejected", "failed", "expired")


@dataclass
class Found:
    """Everything as the API describes it. addresses are those of the account in this region."""

    cidrs: list[str]
    subnets: list[Raw]
    tables: list[Raw]
    addresses: list[Raw]
    gateways: list[Raw]
    endpoints: list[Raw]
    rules: list[Raw] = field(default_factory=list)

    def subnet(self, identifier: str) -> Raw:
        return next((subnet for subnet in self.subnets if subnet["SubnetId"] == identifier), {})

    def table_of(self, subnet_id: str) -> Raw:
        """The route table of a subnet: its own, or the main one of the VPC."""
        own = self.association(subnet_id)
        wanted = own.get("RouteTableId")
        for table in self.tables:
            if table["RouteTableId"] == wanted:
                return table
            if not wanted and any(each.get("Main") for each in table.get("Associations", [])):
                return table
        return {}

    def association(self, subnet_id: str) -> Raw:
        return next(
            (
                each
                for table in self.tables
                for each in table.get("Associations", [])
                if each.get("SubnetId") == subnet_id
            ),
            {},
        )


def tags_of(raw: Raw) -> dict[str, str]:
    return as_dict(raw.get("Tags") or raw.get("TagSet") or [])


def owned(raws: Iterable[Raw], name: str) -> list[Raw]:
    """Those that were created for the network of that name."""
    return [raw for raw in raws if tags_of(raw).get(OWNER) == name]


def zone_of(raw: Raw) -> str:
    return tags_of(raw).get(ZONE, "")


def allocations(gateway: Raw) -> set[str]:
    """The allocation ids of the addresses of a NAT gateway."""
    return {each["AllocationId"] for each in gateway.get("NatGatewayAddresses", []) if each.get("AllocationId")}


def default_route(table: Raw) -> Raw:
    return next((route for route in table.get("Routes", []) if route.get("DestinationCidrBlock") == DEFAULT_ROUTE), {})


def target_of(route: Raw) -> str:
    """The id that a route leads to; empty where there is none."""
    keys = ("NatGatewayId", "GatewayId", "TransitGatewayId", "NetworkInterfaceId", "VpcPeeringConnectionId")
    return next((str(route[key]) for key in keys if route.get(key)), "")


def read(ec2: Api, vpc_id: str, name: str, groups: Sequence[str]) -> Found:
    """`groups` are the security groups whose rules are of interest."""
    of_vpc = [{"Name": "vpc-id", "Values": [vpc_id]}]
    about = f"the VPC {vpc_id}"
    found = Found(
        cidrs=_cidrs(ec2, vpc_id),
        subnets=list(ec2.pages("DescribeSubnets", about, "Subnets", Filters=of_vpc)),
        tables=list(ec2.pages("DescribeRouteTables", about, "RouteTables", Filters=of_vpc)),
        addresses=ec2.call("DescribeAddresses", "the Elastic IP addresses")["Addresses"],
        gateways=list(ec2.pages("DescribeNatGateways", about, "NatGateways", Filter=of_vpc)),
        endpoints=[
            endpoint
            for endpoint in ec2.pages("DescribeVpcEndpoints", about, "VpcEndpoints", Filters=of_vpc)
            if endpoint["State"].lower() not in ENDED
        ],
    )
    found.rules = read_rules(ec2, name, groups)
    return found


def read_rules(ec2: Api, name: str, groups: Sequence[str]) -> list[Raw]:
    """The ingress rules of the groups, and those that were created for the network in any group."""
    filters = [[{"Name": f"tag:{OWNER}", "Values": [name]}]]
    if groups:
        filters.append([{"Name": "group-id", "Values": sorted(groups)}])
    rules = {
        rule["SecurityGroupRuleId"]: rule
        for each in filters
        for rule in ec2.pages("DescribeSecurityGroupRules", "the security groups", "SecurityGroupRules", Filters=each)
        if not rule["IsEgress"]
    }
    return list(rules.values())


def _cidrs(ec2: Api, vpc_id: str) -> list[str]:
    try:
        (vpc,) = ec2.call("DescribeVpcs", f"the VPC {vpc_id}", VpcIds=[vpc_id])["Vpcs"]
    except RefusedError as error:
        if not error.code.startswith("InvalidVpcID"):
            raise
        raise OperationError(
            f"Nothing was changed: there is no VPC {vpc_id} in {ec2.region}. Check vpc_id, the region and the account."
        ) from None
    associated = [
        each["CidrBlock"]
        for each in vpc.get("CidrBlockAssociationSet", [])
        if each.get("CidrBlockState", {}).get("State", "associated") == "associated"
    ]
    return associated or [vpc["CidrBlock"]]
