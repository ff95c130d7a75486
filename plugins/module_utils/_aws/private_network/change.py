# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Create a private network, or change what differs. A run that was interrupted is completed by the next one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..._common.progress import OperationError, Progress
from ..api import Api, RefusedError
from ..pairs import as_pairs
from ..tags import obsolete, recorded
from . import comparison, refusals, removal
from .declaration import DEFAULT_ZONES, NONE, OWNER, PrivateNetwork
from .declaration import refuse as refuse_declaration
from .found import DEFAULT_ROUTE, Found, Raw, default_route, read, tags_of, target_of
from .layout import EndpointPlace, Layout, NatPlace, ZonePlace, lay_out

LONGEST_PAUSE = 10.0
# How long an object that was just created may be unknown to AWS's other calls, in seconds.
UNKNOWN_FOR = 30.0
UNKNOWN = re.compile(r"^Invalid\w+[.]NotFound$|^NatGatewayNotFound$")


@dataclass
class Outcome:
    """subnets and route_tables are ids by zone, addresses public IP addresses by name; "" where there is none yet."""

    changed: bool = False
    subnets: dict[str, str] = field(default_factory=dict)
    route_tables: dict[str, str] = field(default_factory=dict)
    nat_gateways: dict[str, str] = field(default_factory=dict)
    addresses: dict[str, str] = field(default_factory=dict)
    endpoints: dict[str, str] = field(default_factory=dict)
    before: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)


def ensure(ec2: Api, declared: PrivateNetwork, progress: Progress, check_mode: bool) -> Outcome:
    refuse_declaration(declared)
    groups = sorted({rule.security_group for rule in declared.ingress})
    found = read(ec2, declared.vpc_id, declared.name, groups)
    zones = [subnet.zone for subnet in declared.subnets] or list(declared.zones) or _first_zones(ec2)
    layout = lay_out(declared, found, zones, ec2.region)
    refusals.refuse(ec2, declared, found, layout)
    outcome = Outcome(before=comparison.before(declared, found, layout), after=comparison.after(declared, layout))
    outcome.changed = outcome.before != outcome.after
    progress.warnings += _warnings(declared, layout)
    if outcome.changed and not check_mode:
        Change(ec2, declared, found, layout, progress).apply()
    _tell(outcome, layout)
    return outcome


def _first_zones(ec2: Api) -> list[str]:
    """The zones that a private network has unless they are declared."""
    filters = [{"Name": "zone-type", "Values": ["availability-zone"]}, {"Name": "state", "Values": ["available"]}]
    said = ec2.call("DescribeAvailabilityZones", "the availability zones", Filters=filters)["AvailabilityZones"]
    return sorted(zone["ZoneName"] for zone in said)[:DEFAULT_ZONES]


def _warnings(declared: PrivateNetwork, layout: Layout) -> list[str]:
    words = [
        f"The subnet {subnet['SubnetId']} ({subnet['CidrBlock']}, {subnet['AvailabilityZone']}) of {declared.name} is "
        "no longer declared, and was kept. Move what is in it, and delete it with aws ec2 delete-subnet --subnet-id "
        f"{subnet['SubnetId']}"
        for subnet in layout.old_subnets
    ]
    if not declared.release_address:
        words += [
            f"The Elastic IP address {tags_of(address).get('Name')} ({address['PublicIp']}) of {declared.name} is no "
            "longer declared, and was kept. AWS charges for it. Set private_network_release_address to release it."
            for address in layout.old_addresses
        ]
    return words


def _tell(outcome: Outcome, layout: Layout) -> None:
    outcome.subnets = {place.zone: place.subnet_id for place in layout.zones}
    outcome.route_tables = {place.zone: place.table_id for place in layout.zones}
    outcome.nat_gateways = {place.address_name: place.gateway_id for place in layout.gateways}
    outcome.addresses = {place.address_name: str(place.address.get("PublicIp", "")) for place in layout.gateways}
    outcome.endpoints = {place.service: str(place.endpoint.get("VpcEndpointId", "")) for place in layout.endpoints}


@dataclass
class Change:
    """One run that changes something; notes in the layout what it created."""

    ec2: Api
    declared: PrivateNetwork
    found: Found
    layout: Layout
    progress: Progress

    def apply(self) -> None:
        # A NAT gateway takes minutes to become available: it is created first, and waited for last.
        for nat in self.layout.gateways:
            self._allocate(nat)
            self._create_gateway(nat)
        for place in self.layout.zones:
            self._create_subnet(place)
            self._create_table(place)
        for rule in comparison.missing_rules(self.found, self.layout):
            self._authorize(rule.security_group, rule.permission)
        for endpoint in self.layout.endpoints:
            self._ensure_endpoint(endpoint)
        self._wait_for_gateways()
        for place in self.layout.zones:
            self._set_default_route(place)
        self._wait_for_endpoints()
        self._remove_old()
        self._change_tags()

    def _call(self, operation: str, what: str, **arguments: Any) -> dict[str, Any]:
        """A call about an object that this run may have created a moment ago."""
        answer: dict[str, Any] = {}
        wait = Progress(now=self.progress.now, sleep=self.progress.sleep, timeout=UNKNOWN_FOR)
        last: list[RefusedError] = []

        def known() -> bool:
            try:
                answer.update(self.ec2.call(operation, what, **arguments))
            except RefusedError as error:
                if not UNKNOWN.match(error.code):
                    raise
                last[:] = [error]
                return False
            return True

        if not wait.wait(known, LONGEST_PAUSE):
            raise last[0]
        return answer

    def _allocate(self, nat: NatPlace) -> None:
        if nat.address:
            return
        specification = self.declared.tag_specification("elastic-ip", nat.address_name)
        about = f"the Elastic IP address {nat.address_name}"
        nat.address = self.ec2.call("AllocateAddress", about, Domain="vpc", TagSpecifications=specification)
        self.progress.note(f"{about} is {nat.address['PublicIp']}")

    def _create_gateway(self, nat: NatPlace) -> None:
        if nat.gateway:
            return
        if nat.address.get("AssociationId"):
            removal.until_gateways_are_gone(
                self.ec2,
                [each for each in self.found.gateways if each["State"] in ("deleting", "failed")],
                self.progress,
            )
        made = self._call(
            "CreateNatGateway",
            nat.words,
            SubnetId=nat.public_subnet,
            AllocationId=nat.allocation_id,
            TagSpecifications=self.declared.tag_specification("natgateway", nat.address_name, nat.zone),
        )
        nat.gateway = made["NatGateway"]

    def _create_subnet(self, place: ZonePlace) -> None:
        name = f"{self.declared.name}-{place.zone}"
        about = f"the subnet {place.cidr} in {place.zone}"
        if not place.subnet:
            made = self.ec2.call(
                "CreateSubnet",
                about,
                VpcId=self.declared.vpc_id,
                CidrBlock=place.cidr,
                AvailabilityZone=place.zone,
                TagSpecifications=self.declared.tag_specification("subnet", name, place.zone),
            )
            place.subnet = made["Subnet"]
        if place.subnet.get("MapPublicIpOnLaunch"):
            self._call("ModifySubnetAttribute", about, SubnetId=place.subnet_id, MapPublicIpOnLaunch={"Value": False})

    def _create_table(self, place: ZonePlace) -> None:
        about = f"the route table of {self.declared.name} in {place.zone}"
        if not place.table:
            name = f"{self.declared.name}-{place.zone}"
            made = self.ec2.call(
                "CreateRouteTable",
                about,
                VpcId=self.declared.vpc_id,
                TagSpecifications=self.declared.tag_specification("route-table", name, place.zone),
            )
            place.table = made["RouteTable"]
        if comparison.is_associated(self.found, place):
            return
        association = self.found.association(place.subnet_id)
        if association:
            self._call(
                "ReplaceRouteTableAssociation",
                about,
                AssociationId=association["RouteTableAssociationId"],
                RouteTableId=place.table_id,
            )
        else:
            self._call("AssociateRouteTable", about, SubnetId=place.subnet_id, RouteTableId=place.table_id)

    def _authorize(self, group: str, permission: Mapping[str, Any]) -> None:
        tags = [{"ResourceType": "security-group-rule", "Tags": as_pairs({OWNER: self.declared.name})}]
        about = f"the security group {group}"
        try:
            self.ec2.call(
                "AuthorizeSecurityGroupIngress",
                about,
                GroupId=group,
                IpPermissions=[permission],
                TagSpecifications=tags,
            )
        except RefusedError as error:
            # Another process was faster.
            if error.code != "InvalidPermission.Duplicate":
                raise

    def _ensure_endpoint(self, place: EndpointPlace) -> None:
        about = f"the VPC endpoint {place.service}"
        if not place.endpoint:
            kind: dict[str, Any] = (
                {
                    "VpcEndpointType": "Interface",
                    "SubnetIds": self.layout.subnet_ids,
                    "SecurityGroupIds": list(self.declared.endpoint_security_groups),
                    "PrivateDnsEnabled": True,
                }
                if place.interface
                else {"VpcEndpointType": "Gateway", "RouteTableIds": self.layout.table_ids}
            )
            name = f"{self.declared.name}-{place.service}"
            made = self._call(
                "CreateVpcEndpoint",
                about,
                VpcId=self.declared.vpc_id,
                ServiceName=place.service_name,
                TagSpecifications=self.declared.tag_specification("vpc-endpoint", name),
                **kind,
            )
            place.endpoint = made["VpcEndpoint"]
            return
        was = comparison.endpoint_view(place)
        will = comparison.wanted_endpoint(self.declared, self.layout, place)
        names = {"subnets": "SubnetIds", "security_groups": "SecurityGroupIds", "route_tables": "RouteTableIds"}
        changes = {
            f"{verb}{names[key]}": different
            for key in will
            if key in names
            for verb, different in (
                ("Add", sorted(set(will[key]) - set(was[key]))),
                ("Remove", sorted(set(was[key]) - set(will[key]))),
            )
            if different
        }
        if changes:
            self._call("ModifyVpcEndpoint", about, VpcEndpointId=place.endpoint["VpcEndpointId"], **changes)

    def _wait_for_gateways(self) -> None:
        known = [each["NatGatewayId"] for each in self.found.gateways if each["State"] == "available"]
        waited = [nat for nat in self.layout.gateways if nat.gateway_id not in known]
        if not waited:
            return

        def available() -> bool:
            ids = [nat.gateway_id for nat in waited]
            said = self._call("DescribeNatGateways", "the NAT gateways", NatGatewayIds=ids)["NatGateways"]
            for gateway in said:
                self.progress.note(f"NAT gateway {gateway['NatGatewayId']} is {gateway['State']}")
                if gateway["State"] not in ("pending", "available"):
                    raise OperationError(_failed(self.declared, gateway))
            return all(gateway["State"] == "available" for gateway in said)

        if not self.progress.wait(available, LONGEST_PAUSE):
            raise OperationError(
                f"The NAT gateways of {self.declared.name} are not available after {self.progress.timeout:g} s: "
                f"{', '.join(nat.gateway_id for nat in waited)}. Run it again to continue waiting."
            )

    def _set_default_route(self, place: ZonePlace) -> None:
        about = f"the route table of {self.declared.name} in {place.zone}"
        route = default_route(place.table)
        wanted = place.nat.gateway_id if place.nat else ""
        at = {"RouteTableId": place.table_id, "DestinationCidrBlock": DEFAULT_ROUTE}
        if self.declared.nat == NONE:
            if comparison.leads_to_old_gateway(self.layout, target_of(route)):
                self.ec2.call("DeleteRoute", about, **at)
        elif not route:
            self._call("CreateRoute", about, **at, NatGatewayId=wanted)
        elif target_of(route) != wanted:
            self._call("ReplaceRoute", about, **at, NatGatewayId=wanted)

    def _wait_for_endpoints(self) -> None:
        known = [each["VpcEndpointId"] for each in self.found.endpoints if each["State"].lower() == "available"]
        waited = [
            place for place in self.layout.endpoints if place.ours and place.endpoint["VpcEndpointId"] not in known
        ]
        if not waited:
            return
        ids = [place.endpoint["VpcEndpointId"] for place in waited]

        def available() -> bool:
            said = self._call("DescribeVpcEndpoints", "the VPC endpoints", VpcEndpointIds=ids)["VpcEndpoints"]
            for endpoint in said:
                self.progress.note(f"VPC endpoint {endpoint['ServiceName']} is {endpoint['State'].lower()}")
                if endpoint["State"].lower() in ("failed", "rejected", "expired"):
                    why = endpoint.get("LastError", {}).get("Message", "")
                    raise OperationError(
                        f"The VPC endpoint {endpoint['VpcEndpointId']} ({endpoint['ServiceName']}) is "
                        f"{endpoint['State'].lower()}{f': {why}' if why else ''}. Delete it, and run this again."
                    )
            return all(endpoint["State"].lower() == "available" for endpoint in said)

        if not self.progress.wait(available, LONGEST_PAUSE):
            raise OperationError(
                f"The VPC endpoints of {self.declared.name} are not available after {self.progress.timeout:g} s: "
                f"{', '.join(ids)}. Run it again to continue waiting."
            )

    def _remove_old(self) -> None:
        removal.revoke(self.ec2, self.layout.old_rules)
        removal.delete_endpoints(self.ec2, self.layout.old_endpoints)
        for gateway in self.layout.old_gateways:
            removal.delete_gateway(self.ec2, gateway)
        if self.declared.release_address and self.layout.old_addresses:
            removal.until_gateways_are_gone(self.ec2, self.layout.old_gateways, self.progress)
            removal.release(self.ec2, self.layout.old_addresses)

    def _change_tags(self) -> None:
        if self.declared.tags is None:
            return
        wanted = recorded(self.declared.tags)
        late = []
        for label, raw in comparison.own_resources(self.declared, self.layout):
            tags = tags_of(raw)
            gone = obsolete(tags, self.declared.tags)
            # Before the new record, which no longer has them.
            if gone:
                keys = [{"Key": key} for key in gone]
                self.ec2.call("DeleteTags", label, Resources=[_id(raw)], Tags=keys)
            if any(tags.get(key) != value for key, value in wanted.items()):
                late.append(_id(raw))
        if late:
            self.ec2.call("CreateTags", ", ".join(late), Resources=late, Tags=as_pairs(wanted))


def _id(raw: Raw) -> str:
    # An address or a NAT gateway has the ids of others, too.
    keys = ("NatGatewayId", "VpcEndpointId", "AllocationId", "SubnetId", "RouteTableId")
    return next(str(raw[key]) for key in keys if raw.get(key))


def _failed(declared: PrivateNetwork, gateway: Raw) -> str:
    why = ": ".join(str(gateway[key]) for key in ("FailureCode", "FailureMessage") if gateway.get(key))
    state = gateway["State"] + (f" ({why})" if why else "")
    return (
        f"The NAT gateway {gateway['NatGatewayId']} of {declared.name} is {state}. "
        "Remove the cause and run this again, which creates another one with the same address."
    )
