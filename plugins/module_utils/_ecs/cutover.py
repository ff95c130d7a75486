# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a cutover of services to their internal load balancer has to do. Imports without Ansible."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import probe
from .shorthand import group_name, internal_url, legacy_url, listener_port, url_variable

Service = Mapping[str, Any]


@dataclass(frozen=True)
class CutoverState:
    """What ecs_internal_info returned, with the health of the targets."""

    dns_name: str
    listeners: Mapping[str, str]
    groups: Mapping[str, Mapping[str, Any]]
    services: Mapping[str, Mapping[str, Any]]
    environment: Mapping[str, Mapping[str, str]]
    forwards: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    gateway_urls: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class FleetOfGateways:
    """Gateways on EC2 that call these upstreams.

    parameter: the name of the one with their URLs. hosts: of the inventory. limit: of the command line.
    """

    upstreams: Sequence[str]
    parameter: str = ""
    hosts: Sequence[str] = ()
    limit: str = ""


def upstreams_of(services: Sequence[Service], gateway: str, fleet: FleetOfGateways | None) -> list[str]:
    if fleet:
        return [str(one) for one in fleet.upstreams]
    caller = next((one for one in services if one["name"] == gateway), {})
    return [str(one) for one in caller.get("upstreams") or []]


def chosen(
    services: Sequence[Service],
    gateway: str,
    names: Sequence[str],
    prefix: str,
    fleet: FleetOfGateways | None = None,
) -> list[Service]:
    """The upstreams of the gateway that are named, or all."""
    upstreams = upstreams_of(services, gateway, fleet)
    return [
        one
        for one in services
        if one["name"] in upstreams and (not names or one["name"] in names or prefix + str(one["name"]) in names)
    ]


def declaration_problems(
    services: Sequence[Service],
    gateway: str,
    names: Sequence[str],
    internal: str,
    fleet: FleetOfGateways | None = None,
) -> list[str]:
    """What is missing in the declaration."""
    known = [str(one["name"]) for one in services]
    if not internal:
        return ["ecs_internal is not declared: it names the internal load balancer"]
    upstreams = upstreams_of(services, gateway, fleet)
    if fleet:
        problems = _of_a_fleet(fleet, gateway, known)
        if problems:
            return problems
    elif gateway not in known:
        return [
            f"ecs_cutover_gateway is {gateway or 'empty'}, and ecs_services has {', '.join(known) or 'nothing'}: set "
            "it to the service that calls the others"
        ]
    elif not upstreams:
        return [f"the service {gateway} has no upstreams: list the services whose URLs it has"]
    found = [
        f"ecs_service names {name}, and the upstreams of {'the fleet' if fleet else gateway} are "
        f"{', '.join(upstreams)}: correct the name"
        for name in names
        if name not in upstreams
    ]
    for one in services:
        if one["name"] in upstreams:
            found += [f"service {one['name']}: {words}" for words in _of_a_declaration(one)]
    variables: dict[str, str] = {}
    for one in services:
        if one["name"] in upstreams and variables.setdefault(url_variable(one), str(one["name"])) != one["name"]:
            found.append(
                f"service {one['name']}: {url_variable(one)} is the variable of {variables[url_variable(one)]}, too: "
                "set url_variable"
            )
    return found


def _of_a_fleet(fleet: FleetOfGateways, gateway: str, known: Sequence[str]) -> list[str]:
    found = [
        f"ecs_cutover_upstreams has {name}, and ecs_services has {', '.join(known) or 'nothing'}: correct the name"
        for name in fleet.upstreams
        if name not in known
    ]
    if gateway:
        found.append(
            f"ecs_cutover_gateway is {gateway}, and ecs_cutover_upstreams is set, too: keep the first for a gateway on "
            "Amazon ECS, the second for gateways on EC2"
        )
    if not fleet.parameter:
        found.append(
            "gateway_urls_parameter is not set: name the parameter that keeps the URLs of the gateways, for all hosts "
            "and localhost, such as in group_vars/all.yml"
        )
    if not fleet.hosts:
        found.append("no host is in the group gateways: name the inventory of the fleet with -i")
    if fleet.limit:
        found.append(
            f"--limit {fleet.limit} chooses hosts, and the legacy services can be retired only if no host uses them: "
            "run it without --limit, and choose services with -e ecs_service=NAME"
        )
    return found


def _of_a_declaration(one: Service) -> Iterator[str]:
    legacy = one.get("legacy") or {}
    if not one.get("port"):
        yield "it has no port, so it has no place at the load balancer: declare port"
    for key, what in (("service", "the service that it replaces"), ("url", "the URL of that service")):
        if not legacy.get(key):
            yield f"legacy.{key} is missing: declare {what}"
    if legacy.get("service") == one["name"]:
        yield "legacy.service is its own name: the new service needs another one"


def state_problems(services: Sequence[Service], found: CutoverState, prefix: str, *, back: bool) -> list[str]:
    """Why the cutover, or its way back, can't begin."""
    problems = []
    if not back and not found.dns_name:
        problems.append("the internal load balancer does not exist: run ecs.yml --tags load_balancer")
    for one in services:
        name = prefix + str(one["name"])
        listener = str(listener_port(one))
        if not back and found.dns_name and listener not in found.listeners:
            problems.append(f"{name}: the load balancer has no listener {listener}: run ecs.yml --tags load_balancer")
        legacy = str(one["legacy"]["service"])
        standing = found.services.get(legacy) or {}
        if not standing.get("exists"):
            problems.append(f"{name}: its legacy service {legacy} does not exist: correct legacy.service")
        elif back and not (standing["desired"] or standing["remembered"]):
            problems.append(
                f"{name}: the legacy service {legacy} has 0 tasks, and none are remembered: set its number with aws "
                "ecs update-service --desired-count, and then go back"
            )
    return problems


def health_problems(services: Sequence[Service], found: CutoverState, prefix: str) -> list[str]:
    """Which of the new services can't serve now. A group without targets is not healthy."""
    problems = []
    for one in services:
        name = prefix + str(one["name"])
        group = found.groups.get(group_name(one, prefix))
        if group is None:
            problems.append(f"{name}: its target group does not exist: run ecs.yml --tags load_balancer")
            continue
        targets: Sequence[Mapping[str, str]] = group.get("targets") or []
        sick = [target for target in targets if target["state"] != "healthy"]
        if not targets:
            problems.append(f"{name}: its target group has no targets (ecs_status.yml shows why)")
        problems += [
            f"{name}: the target {target['id']} is {': '.join(filter(None, (target['state'], target['reason'])))}"
            for target in sick
        ]
    return problems


def urls(services: Sequence[Service], dns_name: str, *, back: bool) -> dict[str, str]:
    """The URL of each service by its variable: the internal one, or that of the legacy service."""
    return {url_variable(one): legacy_url(one) if back else internal_url(one, dns_name) for one in services}


def running_urls(found: CutoverState, gateway: str, fleet: FleetOfGateways | None) -> Mapping[str, str]:
    """What the gateway runs with; for a fleet, what all hosts are to run with."""
    return found.gateway_urls if fleet else found.environment.get(gateway, {})


def first_urls(services: Sequence[Service], upstreams: Sequence[str], dns_name: str) -> dict[str, str]:
    """Before any cutover: the legacy URL of each upstream, or the internal one of one that replaces nothing."""
    return {
        url_variable(one): legacy_url(one) or internal_url(one, dns_name)
        for one in services
        if one["name"] in upstreams and (legacy_url(one) or dns_name)
    }


def moved(services: Sequence[Service], running: Mapping[str, str], dns_name: str) -> list[str]:
    """The names of those whose internal URL is the one that runs."""
    return [str(one["name"]) for one in services if running.get(url_variable(one)) == internal_url(one, dns_name)]


def complete(services: Sequence[Service], running: Mapping[str, str], found: CutoverState) -> list[str]:
    """The names of those that have moved, and whose legacy service is retired."""
    retired = [name for name, one in found.services.items() if one.get("exists") and not one.get("desired")]
    return [
        name
        for name, one in ((str(one["name"]), one) for one in services)
        if name in moved([one], running, found.dns_name) and one["legacy"]["service"] in retired
    ]


def probe_targets(services: Sequence[Service], dns_name: str, prefix: str, *, back: bool) -> list[probe.ProbeTarget]:
    """What is asked before the switch. The way back asks the legacy URLs, and compares nothing."""
    found = []
    for one in services:
        path = str(one.get("probe_path") or (one.get("health_check") or {}).get("path") or "/")
        inside = internal_url(one, dns_name).rstrip("/") + path
        outside = legacy_url(one).rstrip("/") + path
        name = prefix + str(one["name"])
        found.append(probe.ProbeTarget(name, outside) if back else probe.ProbeTarget(name, inside, outside))
    return found
