# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Delete a private network, in the order that AWS takes. Keeps what the network did not create."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..._common.progress import OperationError, Progress
from ..api import Api
from .found import LIVE, Found, Raw, owned, read, tags_of
from .refusals import other_users, routes_of_others

LONGEST_PAUSE = 10.0


@dataclass
class Removed:
    """`kept` are the Elastic IP addresses that the network has no longer and the account still has, by name."""

    changed: bool = False
    kept: dict[str, str] = field(default_factory=dict)
    before: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Belongings:
    """What was created for the network and is still there."""

    subnets: list[Raw]
    tables: list[Raw]
    gateways: list[Raw]
    addresses: list[Raw]
    endpoints: list[Raw]
    rules: list[Raw]


def remove(ec2: Api, name: str, vpc_id: str, release_address: bool, progress: Progress, check_mode: bool) -> Removed:
    """Refused while something of others depends on it. The next call completes an interrupted one."""
    found = read(ec2, vpc_id, name, [])
    own = _belongings(found, name)
    problems = list(_problems(ec2, found, own, name))
    if problems:
        raise OperationError(f"Nothing was changed: the private network {name} was not deleted. {' '.join(problems)}")
    removed = Removed(before=_view(own, release_address))
    removed.changed = bool(removed.before)
    if not release_address:
        removed.kept = {tags_of(each).get("Name", ""): each["PublicIp"] for each in own.addresses}
    if removed.changed and not check_mode:
        _delete(ec2, own, release_address, progress)
    return removed


def _belongings(found: Found, name: str) -> Belongings:
    return Belongings(
        subnets=owned(found.subnets, name),
        tables=owned(found.tables, name),
        gateways=[each for each in owned(found.gateways, name) if each["State"] in (*LIVE, "deleting")],
        addresses=owned(found.addresses, name),
        endpoints=owned(found.endpoints, name),
        rules=owned(found.rules, name),
    )


def _view(own: Belongings, release_address: bool) -> dict[str, Any]:
    parts: dict[str, list[str]] = {
        "subnets": [f"{each['SubnetId']} ({each['CidrBlock']})" for each in own.subnets],
        "route_tables": [each["RouteTableId"] for each in own.tables],
        "nat_gateways": [each["NatGatewayId"] for each in own.gateways],
        "addresses": [each["PublicIp"] for each in own.addresses] if release_address else [],
        "endpoints": [f"{each['VpcEndpointId']} ({each['ServiceName']})" for each in own.endpoints],
        "ingress": [each["SecurityGroupRuleId"] for each in own.rules],
    }
    return {key: sorted(values) for key, values in parts.items() if values}


def _problems(ec2: Api, found: Found, own: Belongings, name: str) -> Iterator[str]:
    ours = {each["RouteTableId"] for each in own.tables}
    for gateway in own.gateways:
        yield from routes_of_others(found, gateway["NatGatewayId"], ours)
    yield from other_users(found, name)
    ids = [each["SubnetId"] for each in own.subnets]
    if not ids:
        return
    filters = [{"Name": "subnet-id", "Values": ids}]
    about = f"the subnets of {name}"
    of_endpoints = {identifier for each in own.endpoints for identifier in each.get("NetworkInterfaceIds", [])}
    others = [
        f"{each['NetworkInterfaceId']} in {each['SubnetId']} ({each.get('Description') or 'without a description'})"
        for each in ec2.pages("DescribeNetworkInterfaces", about, "NetworkInterfaces", Filters=filters)
        if each["NetworkInterfaceId"] not in of_endpoints
    ]
    if others:
        yield (
            f"Its subnets have network interfaces of others: {', '.join(sorted(others))}. Delete the services, load "
            "balancers and instances there, or move them, first."
        )


def _delete(ec2: Api, own: Belongings, release_address: bool, progress: Progress) -> None:
    revoke(ec2, own.rules)
    delete_endpoints(ec2, own.endpoints)
    for gateway in own.gateways:
        if gateway["State"] != "deleting":
            delete_gateway(ec2, gateway)
    # Until then they have network interfaces in the subnets, and routes in the route tables.
    _until_endpoints_are_gone(ec2, own.endpoints, progress)
    for subnet in own.subnets:
        ec2.call("DeleteSubnet", f"the subnet {subnet['SubnetId']}", SubnetId=subnet["SubnetId"])
    for table in own.tables:
        ec2.call("DeleteRouteTable", f"the route table {table['RouteTableId']}", RouteTableId=table["RouteTableId"])
    until_gateways_are_gone(ec2, own.gateways, progress)
    if release_address:
        release(ec2, own.addresses)


def revoke(ec2: Api, rules: Sequence[Raw]) -> None:
    by_group: dict[str, list[str]] = {}
    for rule in rules:
        by_group.setdefault(rule["GroupId"], []).append(rule["SecurityGroupRuleId"])
    for group, ids in sorted(by_group.items()):
        about = f"the security group {group}"
        ec2.call("RevokeSecurityGroupIngress", about, GroupId=group, SecurityGroupRuleIds=sorted(ids))


def delete_endpoints(ec2: Api, endpoints: Sequence[Raw]) -> None:
    ids = [each["VpcEndpointId"] for each in endpoints if each["State"].lower() != "deleting"]
    if not ids:
        return
    failed = ec2.call("DeleteVpcEndpoints", ", ".join(ids), VpcEndpointIds=ids).get("Unsuccessful", [])
    if failed:
        reasons = [f"{each['ResourceId']}: {each['Error']['Code']}: {each['Error']['Message']}" for each in failed]
        raise OperationError(f"DeleteVpcEndpoints failed: {'; '.join(reasons)}. Remove the cause and run this again.")


def delete_gateway(ec2: Api, gateway: Raw) -> None:
    identifier = gateway["NatGatewayId"]
    ec2.call("DeleteNatGateway", f"the NAT gateway {identifier}", NatGatewayId=identifier)


def release(ec2: Api, addresses: Sequence[Raw]) -> None:
    for address in addresses:
        about = f"the Elastic IP address {tags_of(address).get('Name')} ({address['PublicIp']})"
        ec2.call("ReleaseAddress", about, AllocationId=address["AllocationId"])


def until_gateways_are_gone(ec2: Api, gateways: Sequence[Raw], progress: Progress) -> None:
    """Their addresses are in use until then."""
    ids = [each["NatGatewayId"] for each in gateways]
    if not ids:
        return

    def gone() -> bool:
        filters = [{"Name": "nat-gateway-id", "Values": ids}]
        said = ec2.pages("DescribeNatGateways", "the NAT gateways", "NatGateways", Filter=filters)
        left = [each for each in said if each["State"] in (*LIVE, "deleting")]
        for each in left:
            progress.note(f"NAT gateway {each['NatGatewayId']} is {each['State']}")
        return not left

    if not progress.wait(gone, LONGEST_PAUSE):
        raise OperationError(
            f"The NAT gateways {', '.join(ids)} are not deleted after {progress.timeout:g} s. Run it again to "
            "continue waiting."
        )


def _until_endpoints_are_gone(ec2: Api, endpoints: Sequence[Raw], progress: Progress) -> None:
    ids = [each["VpcEndpointId"] for each in endpoints]
    if not ids:
        return

    of_vpc = [{"Name": "vpc-id", "Values": sorted({each["VpcId"] for each in endpoints})}]

    def gone() -> bool:
        said = ec2.pages("DescribeVpcEndpoints", "the VPC endpoints", "VpcEndpoints", Filters=of_vpc)
        left = [each for each in said if each["VpcEndpointId"] in ids and each["State"].lower() != "deleted"]
        for each in left:
            progress.note(f"VPC endpoint {each['ServiceName']} is {each['State'].lower()}")
        return not left

    if not progress.wait(gone, LONGEST_PAUSE):
        raise OperationError(
            f"The VPC endpoints {', '.join(ids)} are not deleted after {progress.timeout:g} s. Run it again to "
            "continue waiting."
        )
