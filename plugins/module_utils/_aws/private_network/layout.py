# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where each part of a private network belongs: the declaration, with the objects that are there already."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .cidrs import derive
from .declaration import ONE, PER_ZONE, Ingress, PrivateNetwork
from .found import LIVE, Found, Raw, allocations, default_route, owned, tags_of, target_of, zone_of


@dataclass
class NatPlace:
    """A NAT gateway with its named address. Empty mappings where they are not there yet."""

    address_name: str
    zone: str
    public_subnet: str
    address: Raw = field(default_factory=dict)
    gateway: Raw = field(default_factory=dict)

    @property
    def allocation_id(self) -> str:
        return str(self.address.get("AllocationId", ""))

    @property
    def gateway_id(self) -> str:
        return str(self.gateway.get("NatGatewayId", ""))

    @property
    def words(self) -> str:
        return f"the NAT gateway with the address {self.address_name}"


@dataclass
class ZonePlace:
    """The private subnet of a zone with its route table and its NAT gateway, if it has one."""

    zone: str
    cidr: str
    subnet: Raw = field(default_factory=dict)
    table: Raw = field(default_factory=dict)
    nat: NatPlace | None = None

    @property
    def subnet_id(self) -> str:
        return str(self.subnet.get("SubnetId", ""))

    @property
    def table_id(self) -> str:
        return str(self.table.get("RouteTableId", ""))


@dataclass(frozen=True)
class Rule:
    """One rule of a security group; source is a CIDR block or a security group."""

    security_group: str
    protocol: str
    port: int
    source: str

    @property
    def words(self) -> str:
        return f"{self.security_group} {self.protocol} {self.port} from {self.source}"

    @property
    def permission(self) -> dict[str, Any]:
        """In the shape of the API."""
        if self.source.startswith("sg-"):
            source: dict[str, Any] = {"UserIdGroupPairs": [{"GroupId": self.source}]}
        else:
            source = {"IpRanges": [{"CidrIp": self.source}]}
        return {"IpProtocol": self.protocol, "FromPort": self.port, "ToPort": self.port, **source}


@dataclass
class EndpointPlace:
    """A VPC endpoint; ours where it has our tag. One of others for the same service is used as it is."""

    service: str
    service_name: str
    interface: bool
    endpoint: Raw = field(default_factory=dict)
    ours: bool = True


@dataclass
class Layout:
    zones: list[ZonePlace]
    gateways: list[NatPlace]
    rules: list[Rule]
    endpoints: list[EndpointPlace]
    # Created for this network, and no longer declared.
    old_gateways: list[Raw]
    old_addresses: list[Raw]
    old_rules: list[Raw]
    old_endpoints: list[Raw]
    old_subnets: list[Raw]

    @property
    def subnet_ids(self) -> list[str]:
        return [place.subnet_id for place in self.zones]

    @property
    def table_ids(self) -> list[str]:
        return [place.table_id for place in self.zones]


def lay_out(declared: PrivateNetwork, found: Found, zones: Sequence[str], region: str) -> Layout:
    """`zones` are those of the private subnets, in their order."""
    places = _zones(declared, found, zones)
    gateways = list(_gateways(declared, found, zones))
    for number, place in enumerate(places):
        if gateways:
            place.nat = gateways[0] if declared.nat == ONE else gateways[number]
    rules = _rules(declared.ingress, found.cidrs)
    endpoints = [_endpoint(declared, found, service, region) for service in declared.endpoints]
    used_gateways = {place.gateway_id for place in gateways}
    names = {place.address_name for place in gateways}
    kept = {place.endpoint.get("VpcEndpointId") for place in endpoints}
    subnets = {place.subnet_id for place in places}
    wanted_rules = set(rules)
    live = [gateway for gateway in found.gateways if gateway["State"] in LIVE]
    return Layout(
        zones=places,
        gateways=gateways,
        rules=rules,
        endpoints=endpoints,
        old_gateways=[each for each in owned(live, declared.name) if each["NatGatewayId"] not in used_gateways],
        old_addresses=[
            each for each in owned(found.addresses, declared.name) if tags_of(each).get("Name") not in names
        ],
        old_rules=[rule for rule in owned(found.rules, declared.name) if rule_of(rule) not in wanted_rules],
        old_endpoints=[
            each
            for each in owned(found.endpoints, declared.name)
            if each["VpcEndpointId"] not in kept and not going(each)
        ],
        old_subnets=[each for each in owned(found.subnets, declared.name) if each["SubnetId"] not in subnets],
    )


def going(endpoint: Raw) -> bool:
    return str(endpoint["State"]).lower() == "deleting"


def rule_of(raw: Raw) -> Rule:
    source = raw.get("CidrIpv4") or raw.get("ReferencedGroupInfo", {}).get("GroupId") or ""
    return Rule(raw["GroupId"], raw["IpProtocol"], int(raw.get("FromPort", -1)), source)


def is_single_port(raw: Raw) -> bool:
    return bool(raw.get("FromPort") == raw.get("ToPort"))


def _zones(declared: PrivateNetwork, found: Found, zones: Sequence[str]) -> list[ZonePlace]:
    ours = {subnet["AvailabilityZone"]: subnet for subnet in owned(found.subnets, declared.name)}
    tables = {zone_of(table): table for table in owned(found.tables, declared.name)}
    if declared.subnets:
        by_cidr = {subnet["CidrBlock"]: subnet for subnet in owned(found.subnets, declared.name)}
        return [
            ZonePlace(each.zone, each.cidr, by_cidr.get(each.cidr, {}), tables.get(each.zone, {}))
            for each in declared.subnets
        ]
    missing = [zone for zone in zones if zone not in ours]
    taken = [subnet["CidrBlock"] for subnet in found.subnets if subnet.get("CidrBlock")]
    derived = dict(zip(missing, derive(found.cidrs, taken, declared.prefix_length, len(missing))))
    return [
        ZonePlace(
            zone,
            ours[zone]["CidrBlock"] if zone in ours else derived[zone],
            ours.get(zone, {}),
            tables.get(zone, {}),
        )
        for zone in zones
    ]


def _gateways(declared: PrivateNetwork, found: Found, zones: Sequence[str]) -> Iterator[NatPlace]:
    by_name = {tags_of(address).get("Name", ""): address for address in found.addresses}
    for name, zone in zip(declared.address_names(zones), zones):
        address = by_name.get(name, {})
        gateway = _gateway_of(found, address)
        public = public_subnet(declared, found, zone, gateway)
        yield NatPlace(name, found.subnet(public).get("AvailabilityZone", zone), public, address, gateway)


def _gateway_of(found: Found, address: Raw) -> Raw:
    live = [gateway for gateway in found.gateways if gateway["State"] in LIVE]
    return next((each for each in live if address.get("AllocationId") in allocations(each)), {})


def public_subnet(declared: PrivateNetwork, found: Found, zone: str, gateway: Mapping[str, Any]) -> str:
    """The id of the declared public subnet for a NAT gateway; empty where none fits."""
    ids = [identifier for identifier in (public_id(found, given) for given in declared.public_subnets) if identifier]
    if declared.nat == PER_ZONE:
        ids = [each for each in ids if found.subnet(each).get("AvailabilityZone") == zone]
    if gateway.get("SubnetId") in ids:
        return str(gateway["SubnetId"])
    return ids[0] if ids else ""


def public_id(found: Found, given: str) -> str:
    """The id of a public subnet that is given by its id or its Name tag; empty where there is none."""
    matching = [
        subnet["SubnetId"] for subnet in found.subnets if given in (subnet["SubnetId"], tags_of(subnet).get("Name"))
    ]
    return matching[0] if len(matching) == 1 else ""


def _rules(ingress: Sequence[Ingress], blocks: Sequence[str]) -> list[Rule]:
    rules = [
        Rule(each.security_group, each.protocol, port, source)
        for each in ingress
        for port in each.ports
        for source in ([each.source] if each.source else blocks)
    ]
    return list(dict.fromkeys(rules))


def _endpoint(declared: PrivateNetwork, found: Found, service: str, region: str) -> EndpointPlace:
    interface = service in declared.interface_endpoints
    place = EndpointPlace(service, f"com.amazonaws.{region}.{service}", interface)
    there = [each for each in found.endpoints if each["ServiceName"] == place.service_name and not going(each)]
    ours = owned(there, declared.name)
    if ours:
        place.endpoint = ours[0]
    elif interface:
        # A second one with private DNS names would be refused.
        others = [each for each in there if each.get("PrivateDnsEnabled")]
        if others:
            place.endpoint, place.ours = others[0], False
    return place


def route_words(place: ZonePlace, gateways: Sequence[NatPlace]) -> str:
    """Where the default route of the zone leads to now."""
    target = target_of(default_route(place.table))
    return next((nat.words for nat in gateways if nat.gateway_id == target and target), target or "none")
