# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: ecs_cutover
short_description: What a cutover of services on Amazon ECS to their internal load balancer has to do
version_added: 0.3.0
author: Contributors to evenkeel.fleet (@evenkeel)
description:
  - Takes the variable C(ecs_services) of the role C(ecs).
options:
  _input:
    description: The services, as the role declares them.
    type: list
    elements: dict
    required: true
  gateway:
    description: The service that calls the others; empty for a fleet on EC2.
    type: str
    required: true
  fleet:
    description:
      - The gateways on EC2 that call the others, with C(upstreams), the names of services, C(parameter), the name of
        the one with the URLs, C(hosts) and C(limit). Without C(upstreams) there are none.
    type: dict
    default: {}
  internal:
    description: The name of the internal load balancer; empty where it is not declared.
    type: str
    default: ""
  chosen:
    description: The services to move; empty for all upstreams of the gateway.
    type: list
    elements: str
    default: []
  prefix:
    description: What the names of all services begin with.
    type: str
    default: ""
  back:
    description: Whether the services go back to the legacy ones.
    type: bool
    default: false
  weights:
    description: Percentages of new connections that the new services get one after the other; empty for all at once.
    type: list
    elements: int
    default: []
  batch:
    description: How many services get their shares together; 0 for all.
    type: int
    default: 1
  found:
    description: What M(evenkeel.fleet.ecs_internal_info) returned.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Show what is wrong with the declaration
  ansible.builtin.debug:
    msg: "{{ (ecs_services | evenkeel.fleet.ecs_cutover(gateway='gateway', internal='inside')).declaration_problems }}"
"""

RETURN = r"""
_value:
  description:
    - C(declaration_problems), C(state_problems) and C(health_problems) are sentences.
    - C(services) are the names of the new services, C(legacy) those of the legacy ones, C(groups) those of the target
      groups.
    - C(urls) are the wanted URLs by variable, C(before) the legacy ones. C(moved) are the services whose clients use
      the internal URL now, C(complete) those whose legacy service is retired, too, C(unfinished) the others.
    - C(legacy_groups) are the names of target groups for legacy services.
    - C(canary) has C(problems), sentences. C(services) are those whose connections are split in this run, C(new) those
      of them whose clients do not use the listener yet, C(unused) those whose listener has no clients and forwards to
      a legacy service, and C(there) all whose legacy target group may exist. Each has C(targets), which
      M(evenkeel.fleet.ecs_legacy_targets) takes, C(name), C(share), C(moved), C(forwarded) and C(prepared).
    - C(steps) of C(canary) have C(weight), C(services) and C(watched).
    - C(probed) are the URLs to ask, as the option C(targets) of P(evenkeel.fleet.ecs_probe#filter). C(asked) are all
      URLs in them, in the order of the probe, C(requests) is the number of requests to each.
    - C(fleet) says whether gateways on EC2 are the clients, and C(first_urls) are their URLs before any cutover.
  type: dict
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any


def ecs_cutover(
    services: Sequence[Mapping[str, Any]],
    *,
    gateway: str,
    internal: str = "",
    chosen: Sequence[str] = (),
    prefix: str = "",
    back: bool = False,
    weights: Sequence[Any] = (),
    batch: Any = 1,
    found: Mapping[str, Any] | None = None,
    fleet: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs import canary, cutover, probe
    from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.shorthand import group_name, legacy_group

    hosts = cutover.FleetOfGateways(**fleet) if fleet and fleet.get("upstreams") else None
    told = found or {}
    dns_name = told.get("dns_name") or ""
    of_fleet = {
        "fleet": hosts is not None,
        "first_urls": cutover.first_urls(services, hosts.upstreams, dns_name) if hosts else {},
    }
    problems = cutover.declaration_problems(services, gateway, chosen, internal, hosts)
    problems += canary.weight_problems(weights, batch, fleet=hosts is not None)
    if problems:
        return {"declaration_problems": problems, **of_fleet}
    ours = cutover.chosen(services, gateway, chosen, prefix, hosts)
    seen = cutover.CutoverState(
        dns_name,
        listeners=told.get("listeners") or {},
        groups=told.get("groups") or {},
        services=told.get("services") or {},
        environment=told.get("environment") or {},
        forwards=told.get("forwards") or {},
        gateway_urls=(told.get("gateway_urls") or {}).get("urls") or {},
    )
    running = cutover.running_urls(seen, prefix + gateway, hosts)
    targets = cutover.probe_targets(ours, seen.dns_name, prefix, back=back)
    moved = cutover.moved(ours, running, seen.dns_name)
    complete = cutover.complete(ours, running, seen)
    unfinished = [one for one in ours if one["name"] not in complete]
    return {
        "declaration_problems": [],
        "state_problems": cutover.state_problems(ours, seen, prefix, back=back),
        "health_problems": cutover.health_problems(ours, seen, prefix),
        "services": [prefix + str(one["name"]) for one in ours],
        "legacy": [str(one["legacy"]["service"]) for one in ours],
        "groups": [group_name(one, prefix) for one in ours],
        "urls": cutover.urls(ours, seen.dns_name, back=back),
        "before": cutover.urls(unfinished, seen.dns_name, back=True),
        "moved": [prefix + name for name in moved],
        "complete": [prefix + name for name in complete],
        "unfinished": [prefix + str(one["name"]) for one in unfinished],
        "unfinished_legacy": [str(one["legacy"]["service"]) for one in unfinished],
        "legacy_groups": [legacy_group(group_name(one, prefix)) for one in ours],
        "canary": canary.plan(
            ours, unfinished, seen, running, prefix, [int(one) for one in weights], int(batch), fleet=hosts is not None
        ),
        "probed": [asdict(target) for target in targets],
        "asked": probe.urls_of(targets),
        "requests": probe.REQUESTS,
        **of_fleet,
    }


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"ecs_cutover": ecs_cutover}
