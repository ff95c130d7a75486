# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: ecs_expanded
short_description: Services on Amazon ECS that are declared in short, in AWS's own names
version_added: 0.3.0
author: Contributors to evenkeel.fleet (@evenkeel)
description:
  - Takes the variable C(ecs_services) of the role C(ecs), and returns it with C(task), C(service), C(roles), C(logs)
    and C(tags) of the services that are declared by their image. A service with a port gets its target group of the
    internal load balancer, and one with upstreams the variables that have their URLs.
  - An entry that is declared with AWS's own names alone stays as it is.
options:
  _input:
    description: The services, as the role declares them.
    type: list
    elements: dict
    required: true
  prefix:
    description: What the names of all services begin with.
    type: str
    default: ""
  region:
    description: The region.
    type: str
    default: ""
  account:
    description: The account.
    type: str
    default: ""
  network:
    description: The C(subnets) and C(security_groups) of the tasks.
    type: dict
    default: {}
  tags:
    description: Tags of all services.
    type: dict
    default: {}
  balanced:
    description: Whether services with a port stand behind the internal load balancer.
    type: bool
    default: false
  found:
    description: What M(evenkeel.fleet.ecs_internal_info) returned.
    type: dict
    default: {}
  urls:
    description: By service, the values of variables with URLs, instead of those that it runs with.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Show a service in AWS's own names
  ansible.builtin.debug:
    msg: >-
      {{ [{'name': 'users', 'image': 'registry.example.com/users:1.0', 'port': 3002}]
         | evenkeel.fleet.ecs_expanded(region='eu-central-1', network={'subnets': ['subnet-1']}) }}
"""

RETURN = r"""
_value:
  description: The services.
  type: list
  elements: dict
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any


def ecs_expanded(
    services: Sequence[Any],
    *,
    prefix: str = "",
    region: str = "",
    account: str = "",
    network: Mapping[str, Any] | None = None,
    tags: Mapping[str, Any] | None = None,
    balanced: bool = False,
    found: Mapping[str, Any] | None = None,
    urls: Mapping[str, Mapping[str, str]] | None = None,
) -> list[Any]:
    from ansible_collections.evenkeel.fleet.plugins.module_utils._aws.pairs import texts
    from ansible_collections.evenkeel.fleet.plugins.module_utils._aws.partitions import partition_of
    from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.shorthand import Surroundings, expanded

    network, found = network or {}, found or {}
    running: Mapping[str, Mapping[str, str]] = found.get("environment") or {}
    given = urls or {}
    around = Surroundings(
        prefix=prefix,
        partition=partition_of(region),
        region=region,
        account=str(account),
        subnets=_listed(network.get("subnets")),
        security_groups=_listed(network.get("security_groups")),
        tags=texts(tags or {}),
        balanced=balanced,
        dns_name=found.get("dns_name") or "",
        groups={name: group["arn"] for name, group in (found.get("groups") or {}).items()},
        urls={name: {**running.get(name, {}), **given.get(name, {})} for name in {*running, *given}},
    )
    return expanded(services, around)


def _listed(value: Any) -> list[str]:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else list(value or [])


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"ecs_expanded": ecs_expanded}
