# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A declared private network, and what is wrong with a declaration whatever AWS has."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..._common.progress import OperationError
from ..pairs import as_pairs
from ..tags import recorded

OWNER = "evenkeel:network"
ZONE = "evenkeel:zone"
ONE, PER_ZONE, NONE = "one", "per_zone", "none"
GATEWAY_ENDPOINTS = ("s3",)
INTERFACE_ENDPOINTS = ("ecr.api", "ecr.dkr", "logs", "secretsmanager", "ssm")
# The sizes that AWS takes for a subnet.
LARGEST, SMALLEST = 16, 28
DEFAULT_ZONES = 3


@dataclass(frozen=True)
class PrivateSubnet:
    zone: str
    cidr: str


@dataclass(frozen=True)
class Ingress:
    """Ports of a security group that a source may reach: a CIDR block, a security group, or "" for the VPC's blocks."""

    security_group: str
    protocol: str
    ports: Sequence[int]
    source: str


@dataclass(frozen=True)
class PrivateNetwork:
    """subnets are empty where their CIDR blocks are to be derived; timeout in seconds."""

    name: str
    vpc_id: str
    zones: Sequence[str]
    subnets: Sequence[PrivateSubnet]
    prefix_length: int
    nat: str
    public_subnets: Sequence[str]
    addresses: Sequence[str]
    ingress: Sequence[Ingress]
    endpoints: Sequence[str]
    endpoint_security_groups: Sequence[str]
    tags: Mapping[str, str] | None
    release_address: bool
    timeout: float

    @property
    def interface_endpoints(self) -> list[str]:
        return [service for service in self.endpoints if service in INTERFACE_ENDPOINTS]

    def address_names(self, zones: Sequence[str]) -> list[str]:
        """Of the NAT gateways: one, or one for each zone."""
        if self.nat == NONE:
            return []
        if self.addresses:
            return list(self.addresses)
        return [f"{self.name}-nat"] if self.nat == ONE else [f"{self.name}-nat-{zone}" for zone in zones]

    def tag_specification(self, kind: str, name: str, zone: str = "", **more: str) -> list[dict[str, object]]:
        """For the call that creates a resource of that kind."""
        own = {"Name": name, OWNER: self.name, **({ZONE: zone} if zone else {}), **more}
        return [{"ResourceType": kind, "Tags": as_pairs({**own, **recorded(self.tags or {})})}]


def refuse(declared: PrivateNetwork) -> None:
    found = list(problems(declared))
    if found:
        raise OperationError(f"Nothing was changed: {' '.join(found)}")


def problems(declared: PrivateNetwork) -> Iterator[str]:
    yield from _of_subnets(declared)
    yield from _of_nat(declared)
    if declared.interface_endpoints and not declared.endpoint_security_groups:
        yield (
            f"The endpoints {', '.join(declared.interface_endpoints)} need endpoint_security_groups, which let the "
            "tasks reach port 443."
        )
    taken = sorted(key for key in declared.tags or {} if key == "Name" or key.startswith("evenkeel:"))
    if taken:
        yield f"The tag {taken[0]} is set by the module itself; remove it from tags."
    for rule in declared.ingress:
        wrong = [port for port in rule.ports if not 1 <= port <= 65535]
        if wrong or not rule.ports:
            yield f"ingress for {rule.security_group} needs ports between 1 and 65535, and has {list(rule.ports)}."


def _of_subnets(declared: PrivateNetwork) -> Iterator[str]:
    if declared.subnets and declared.zones:
        yield "subnets has a zone for each, so zones is not used; remove one of them."
    zones = [subnet.zone for subnet in declared.subnets] or list(declared.zones)
    twice = sorted({zone for zone in zones if zones.count(zone) > 1})
    if twice:
        yield f"The zone {twice[0]} is declared twice; a private network has one subnet in each zone."
    if not LARGEST <= declared.prefix_length <= SMALLEST:
        yield f"prefix_length {declared.prefix_length} is not between {LARGEST} and {SMALLEST}, as AWS has it."
    known: list[ipaddress.IPv4Network] = []
    for subnet in declared.subnets:
        try:
            block = ipaddress.IPv4Network(subnet.cidr)
        except ValueError as error:
            yield f"{subnet.cidr} is no CIDR block of IPv4: {error}."
            continue
        if not LARGEST <= block.prefixlen <= SMALLEST:
            yield f"The subnet {subnet.cidr} must have a prefix between /{LARGEST} and /{SMALLEST}, as AWS has it."
        yield from (f"The subnets {other} and {block} overlap." for other in known if other.overlaps(block))
        known.append(block)


def _of_nat(declared: PrivateNetwork) -> Iterator[str]:
    if declared.nat == NONE:
        if declared.addresses:
            yield "addresses are those of NAT gateways, and nat is none; remove one of them."
        return
    if not declared.public_subnets:
        yield f"nat is {declared.nat}, so public_subnets must name the public subnets of the NAT gateways."
    names = list(declared.addresses)
    if len(set(names)) < len(names):
        yield "addresses has a name twice; each NAT gateway has an address of its own."
    wanted = 1 if declared.nat == ONE else len(declared.subnets or declared.zones)
    if names and wanted and len(names) != wanted:
        yield f"nat is {declared.nat}, which takes {wanted} addresses, and addresses has {len(names)} names."
