# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What makes a private network impossible, found before anything changes."""

from __future__ import annotations

from collections.abc import Iterator

from ..._common.progress import OperationError
from ..api import Api, RefusedError
from .cidrs import overlap, within
from .declaration import NONE, OWNER, PER_ZONE, PrivateNetwork
from .found import Found, Raw, default_route, owned, tags_of
from .layout import Layout, NatPlace, public_id


def refuse(ec2: Api, declared: PrivateNetwork, found: Found, layout: Layout) -> None:
    """Raise OperationError with everything that is wrong. Asks AWS only about what is to be created."""
    problems = [
        *_of_subnets(declared, found, layout),
        *_of_public_subnets(declared, found, layout),
        *_of_addresses(ec2, found, layout),
        *_of_security_groups(ec2, declared),
        *_of_old_gateways(found, layout),
        *_of_endpoints(ec2, declared, layout),
    ]
    if problems:
        raise OperationError(f"Nothing was changed: {' '.join(problems)}")


def _of_subnets(declared: PrivateNetwork, found: Found, layout: Layout) -> Iterator[str]:
    for place in layout.zones:
        if not within(place.cidr, found.cidrs):
            yield (
                f"The subnet {place.cidr} is not within the VPC {declared.vpc_id} ({', '.join(found.cidrs)}). Choose a "
                "block within it, or add a CIDR block to the VPC."
            )
        if place.subnet and place.subnet["AvailabilityZone"] != place.zone:
            yield (
                f"The subnet {place.subnet_id} ({place.cidr}) is in {place.subnet['AvailabilityZone']}, and AWS can't "
                f"move it to {place.zone}. Declare its zone, or another CIDR block."
            )
        for other in found.subnets:
            # A subnet for IPv6 alone has no block.
            if other["SubnetId"] == place.subnet_id or not other.get("CidrBlock"):
                continue
            if not overlap(other["CidrBlock"], place.cidr):
                continue
            if other["CidrBlock"] == place.cidr:
                yield _of_another_owner(declared, place.zone, other)
            else:
                yield (
                    f"The subnet {place.cidr} for {place.zone} overlaps the subnet {other['SubnetId']} "
                    f"({other['CidrBlock']}). Choose another CIDR block."
                )


def _of_another_owner(declared: PrivateNetwork, zone: str, other: Raw) -> str:
    owner = tags_of(other).get(OWNER)
    whose = f"the private network {owner}" if owner else "another owner"
    words = (
        f"The CIDR block {other['CidrBlock']} for {zone} has a subnet of {whose} already, {other['SubnetId']} in "
        f"{other['AvailabilityZone']}. Choose another block"
    )
    if other["AvailabilityZone"] != zone:
        return f"{words}."
    return (
        f"{words}, or hand the subnet over, which absent then deletes: aws ec2 create-tags --resources "
        f"{other['SubnetId']} --tags Key={OWNER},Value={declared.name}"
    )


def _of_public_subnets(declared: PrivateNetwork, found: Found, layout: Layout) -> Iterator[str]:
    if declared.nat == NONE:
        return
    ids = []
    for given in declared.public_subnets:
        identifier = public_id(found, given)
        if not identifier:
            named = [each for each in found.subnets if tags_of(each).get("Name") == given]
            how_many = "several subnets" if named else "no subnet"
            yield f"The VPC {declared.vpc_id} has {how_many} {given}; public_subnets takes ids or unique Name tags."
            continue
        ids.append(identifier)
        table = found.table_of(identifier)
        route = default_route(table)
        if not str(route.get("GatewayId", "")).startswith("igw-") or route.get("State") == "blackhole":
            yield (
                f"The subnet {given} is not public: its route table {table.get('RouteTableId', '')} has no "
                "default route to an internet gateway, which a NAT gateway needs. Attach an internet gateway to "
                "the VPC, add the route, or name another subnet in public_subnets."
            )
    for place in layout.gateways:
        yield from _of_gateway(declared, place, ids)


def _of_gateway(declared: PrivateNetwork, place: NatPlace, ids: list[str]) -> Iterator[str]:
    if place.gateway and place.gateway["SubnetId"] != place.public_subnet:
        yield (
            f"The NAT gateway {place.gateway_id} with the address {place.address_name} is in the subnet "
            f"{place.gateway['SubnetId']}, and AWS can't move it. Name this subnet in public_subnets, or another "
            "address in addresses."
        )
    elif declared.nat == PER_ZONE and not place.public_subnet and len(ids) == len(declared.public_subnets):
        yield (
            f"nat is per_zone, and none of the public_subnets is in {place.zone}. Name one of this zone, or set nat to "
            "one."
        )


def _of_addresses(ec2: Api, found: Found, layout: Layout) -> Iterator[str]:
    for place in layout.gateways:
        same = [each for each in found.addresses if tags_of(each).get("Name") == place.address_name]
        if len(same) > 1:
            addresses = ", ".join(str(each["PublicIp"]) for each in same)
            yield (
                f"{len(same)} Elastic IP addresses have the Name tag {place.address_name}: {addresses}. Give "
                "all but one another name."
            )
        elif place.address.get("AssociationId") and not place.gateway and not _of_ending_gateway(found, place):
            user = place.address.get("InstanceId") or place.address.get("NetworkInterfaceId") or "something else"
            yield (
                f"The Elastic IP address {place.address_name} ({place.address['PublicIp']}) is associated with {user}. "
                f"Disassociate it, or name another one in addresses: aws ec2 disassociate-address --association-id "
                f"{place.address['AssociationId']}"
            )
    missing = [place.address_name for place in layout.gateways if not place.address]
    if not missing:
        return
    quota = _address_quota(ec2)
    if quota is not None and len(found.addresses) + len(missing) > quota:
        yield (
            f"{len(missing)} Elastic IP addresses are to be allocated ({', '.join(missing)}), and "
            f"{len(found.addresses)} of the quota of {quota} in {ec2.region} are in use. Name existing ones in "
            "addresses, release one, or request a higher quota: aws service-quotas request-service-quota-increase "
            f"--service-code ec2 --quota-code L-0263D0A3 --desired-value {len(found.addresses) + len(missing)}"
        )


def _of_ending_gateway(found: Found, place: NatPlace) -> bool:
    return any(
        each.get("AllocationId") == place.allocation_id
        for gateway in found.gateways
        if gateway["State"] in ("deleting", "failed")
        for each in gateway.get("NatGatewayAddresses", [])
    )


def _address_quota(ec2: Api) -> int | None:
    names = ["vpc-max-elastic-ips"]
    said = ec2.call("DescribeAccountAttributes", "the account's quotas", AttributeNames=names)["AccountAttributes"]
    values = [
        value["AttributeValue"]
        for attribute in said
        if attribute["AttributeName"] in names
        for value in attribute["AttributeValues"]
    ]
    return int(values[0]) if values else None


def _of_security_groups(ec2: Api, declared: PrivateNetwork) -> Iterator[str]:
    sources = [rule.source for rule in declared.ingress if rule.source.startswith("sg-")]
    named = [rule.security_group for rule in declared.ingress]
    groups = sorted({*named, *sources, *(declared.endpoint_security_groups if declared.interface_endpoints else [])})
    if not groups:
        return
    try:
        said = ec2.call("DescribeSecurityGroups", ", ".join(groups), GroupIds=groups)["SecurityGroups"]
    except RefusedError as error:
        if not error.code.startswith("InvalidGroup"):
            raise
        yield f"One of the security groups {', '.join(groups)} does not exist in {ec2.region}: {error.said}."
        return
    for group in said:
        # The group of a source may be of a peered VPC.
        if group["VpcId"] != declared.vpc_id and group["GroupId"] not in set(sources) - set(named):
            yield f"The security group {group['GroupId']} is of the VPC {group['VpcId']}, not of {declared.vpc_id}."


def _of_old_gateways(found: Found, layout: Layout) -> Iterator[str]:
    ours = set(layout.table_ids)
    for gateway in layout.old_gateways:
        yield from routes_of_others(found, gateway["NatGatewayId"], ours)


def routes_of_others(found: Found, gateway_id: str, ours: set[str]) -> Iterator[str]:
    """The other route tables that lead to a NAT gateway that is to be deleted."""
    for table in found.tables:
        if table["RouteTableId"] in ours:
            continue
        if any(route.get("NatGatewayId") == gateway_id for route in table.get("Routes", [])):
            yield (
                f"The route table {table['RouteTableId']} leads to the NAT gateway {gateway_id}, which is to be "
                "deleted. Change its route first."
            )


def _of_endpoints(ec2: Api, declared: PrivateNetwork, layout: Layout) -> Iterator[str]:
    if not any(place.interface and not place.endpoint for place in layout.endpoints):
        return
    for attribute, key in (("enableDnsSupport", "EnableDnsSupport"), ("enableDnsHostnames", "EnableDnsHostnames")):
        about = f"the VPC {declared.vpc_id}"
        said = ec2.call("DescribeVpcAttribute", about, VpcId=declared.vpc_id, Attribute=attribute)
        if not said[key]["Value"]:
            yield (
                f"Interface endpoints need {attribute} in the VPC {declared.vpc_id} for their private DNS names. Turn "
                f"it on, or declare no interface endpoints: aws ec2 modify-vpc-attribute --vpc-id {declared.vpc_id} "
                f"--{'enable-dns-support' if key == 'EnableDnsSupport' else 'enable-dns-hostnames'}"
            )


def other_users(found: Found, name: str) -> Iterator[str]:
    """The subnets of others that use a route table of the network, which is to be deleted."""
    ours = owned(found.subnets, name)
    others = {subnet["SubnetId"] for subnet in found.subnets if subnet not in ours}
    for table in owned(found.tables, name):
        for association in table.get("Associations", []):
            if association.get("SubnetId") in others:
                yield (
                    f"The subnet {association['SubnetId']} of others uses the route table {table['RouteTableId']}. "
                    "Associate it with another one first."
                )
