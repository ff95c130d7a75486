# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A private network before and after, in the shape of its declaration."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..tags import ours_of, recorded
from .declaration import NONE, PrivateNetwork
from .found import Found, Raw, owned, tags_of
from .layout import EndpointPlace, Layout, Rule, ZonePlace, is_single_port, route_words, rule_of

View = dict[str, Any]


def before(declared: PrivateNetwork, found: Found, layout: Layout) -> View:
    view: View = {
        "subnets": {
            place.zone: {"cidr": place.cidr, "public_addresses": bool(place.subnet.get("MapPublicIpOnLaunch"))}
            for place in layout.zones
            if place.subnet
        },
        "addresses": sorted(place.address_name for place in layout.gateways if place.address),
        "nat_gateways": {
            **{place.address_name: place.public_subnet for place in layout.gateways if place.gateway},
            **{gateway["NatGatewayId"]: gateway["SubnetId"] for gateway in layout.old_gateways},
        },
        "route_tables": {
            place.zone: {"default_route": route_words(place, layout.gateways), "associated": _associated(found, place)}
            for place in layout.zones
            if place.table
        },
        "ingress": sorted(rule.words for rule in {*_existing(found, layout), *map(rule_of, layout.old_rules)}),
        "endpoints": {
            **{place.service: endpoint_view(place) for place in layout.endpoints if place.endpoint},
            **{each["ServiceName"]: each["VpcEndpointId"] for each in layout.old_endpoints},
        },
    }
    if declared.tags is not None:
        view["tags"] = {
            label: ours_of(tags_of(raw), declared.tags) for label, raw in own_resources(declared, layout) if raw
        }
    if declared.release_address:
        view["addresses"] += sorted(tags_of(each)["Name"] for each in layout.old_addresses)
    return view


def after(declared: PrivateNetwork, layout: Layout) -> View:
    view: View = {
        "subnets": {place.zone: {"cidr": place.cidr, "public_addresses": False} for place in layout.zones},
        "addresses": sorted(place.address_name for place in layout.gateways),
        "nat_gateways": {place.address_name: place.public_subnet for place in layout.gateways},
        "route_tables": {
            place.zone: {"default_route": _wanted_route(declared, layout, place), "associated": True}
            for place in layout.zones
        },
        "ingress": sorted(rule.words for rule in layout.rules),
        "endpoints": {place.service: wanted_endpoint(declared, layout, place) for place in layout.endpoints},
    }
    if declared.tags is not None:
        view["tags"] = {label: recorded(declared.tags) for label, _raw in own_resources(declared, layout)}
    return view


def own_resources(declared: PrivateNetwork, layout: Layout) -> Iterator[tuple[str, Raw]]:
    """What is or will be created for this network, each with a label; an adopted resource is not among them."""
    for place in layout.zones:
        yield f"subnet {place.zone}", place.subnet
        yield f"route table {place.zone}", place.table
    for nat in layout.gateways:
        for label, raw in (
            (f"address {nat.address_name}", nat.address),
            (f"NAT gateway {nat.address_name}", nat.gateway),
        ):
            if not raw or owned([raw], declared.name):
                yield label, raw
    for endpoint in layout.endpoints:
        if endpoint.ours:
            yield f"endpoint {endpoint.service}", endpoint.endpoint


def missing_rules(found: Found, layout: Layout) -> list[Rule]:
    existing = _existing(found, layout)
    return [rule for rule in layout.rules if rule not in existing]


def endpoint_view(place: EndpointPlace) -> View:
    endpoint = place.endpoint
    if not place.ours:
        return {"of_others": endpoint["VpcEndpointId"]}
    if not place.interface:
        return {"route_tables": sorted(endpoint.get("RouteTableIds", []))}
    return {
        "subnets": sorted(endpoint.get("SubnetIds", [])),
        "security_groups": sorted(group["GroupId"] for group in endpoint.get("Groups", [])),
    }


def wanted_endpoint(declared: PrivateNetwork, layout: Layout, place: EndpointPlace) -> View:
    """Ids that are not known yet are the zones."""
    if not place.ours:
        return {"of_others": place.endpoint["VpcEndpointId"]}
    if not place.interface:
        return {"route_tables": sorted(each.table_id or f"of {each.zone}" for each in layout.zones)}
    return {
        "subnets": sorted(each.subnet_id or f"of {each.zone}" for each in layout.zones),
        "security_groups": sorted(declared.endpoint_security_groups),
    }


def is_associated(found: Found, place: ZonePlace) -> bool:
    return _associated(found, place)


def leads_to_old_gateway(layout: Layout, target: str) -> bool:
    return target in [gateway["NatGatewayId"] for gateway in layout.old_gateways]


def _existing(found: Found, layout: Layout) -> set[Rule]:
    wanted = set(layout.rules)
    return {rule_of(raw) for raw in found.rules if is_single_port(raw) and rule_of(raw) in wanted}


def _associated(found: Found, place: ZonePlace) -> bool:
    association = found.association(place.subnet_id)
    return bool(place.subnet_id) and association.get("RouteTableId") == place.table_id


def _wanted_route(declared: PrivateNetwork, layout: Layout, place: ZonePlace) -> str:
    if declared.nat != NONE:
        return place.nat.words if place.nat else ""
    words = route_words(place, layout.gateways)
    return "none" if leads_to_old_gateway(layout, words) else words
