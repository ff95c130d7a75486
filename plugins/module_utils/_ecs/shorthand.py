# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Services that are declared in short, in AWS's own names. Imports without Ansible."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .declarations import main_container

Service = Mapping[str, Any]
CPU, MEMORY = "256", "512"
HEALTH = {"protocol": "TCP", "interval": 10, "timeout": 5, "healthy_threshold": 2, "unhealthy_threshold": 2}
# Seconds for a container's start beside those until its target can be healthy.
GRACE = 60
RETENTION = "30"
# Until then, verification says that the group does not exist.
UNKNOWN_GROUP = "arn:{partition}:elasticloadbalancing:{region}:{account}:targetgroup/{name}/0000000000000000"
GROUP_NAME = re.compile(r"(?!internal-)[A-Za-z0-9](?:[A-Za-z0-9-]{0,30}[A-Za-z0-9])?")
LEGACY, LONGEST_NAME, DIGITS = "-legacy", 32, 6
VARIABLE = "{}_SERVICE_URL"
SUFFIX = re.compile(r"(?:-service)?(?:-(?:nlb|internal))?$")


@dataclass(frozen=True)
class Surroundings:
    """What the services of one cluster share.

    subnets, security_groups: of the tasks. balanced: whether services with a port get a target group of the internal
    load balancer, whose name for clients is dns_name. groups: ARNs of the target groups that exist, by name. urls: the
    values of variables of services with `upstreams`, by service and variable; they win over what is declared.
    """

    prefix: str = ""
    partition: str = "aws"
    region: str = ""
    account: str = ""
    subnets: Sequence[str] = ()
    security_groups: Sequence[str] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    balanced: bool = False
    dns_name: str = ""
    groups: Mapping[str, str] = field(default_factory=dict)
    urls: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def expanded(services: Sequence[Any], around: Surroundings) -> list[Any]:
    """The declared services with `task` and `service` in AWS's names. What is no mapping stays as it is."""
    known = {str(one.get("name")): one for one in services if isinstance(one, Mapping)}
    return [_expanded(one, known, around) if isinstance(one, Mapping) else one for one in services]


def balanced_services(services: Sequence[Any], prefix: str = "") -> list[dict[str, Any]]:
    """Those with a port: `name`, the `group`'s name, the `port` of the containers, of the `listener`, and `health`."""
    found = []
    for one in services:
        if isinstance(one, Mapping) and one.get("port"):
            found.append(
                {
                    "name": prefix + str(one.get("name")),
                    "group": group_name(one, prefix),
                    "port": _number(one["port"]),
                    "listener": _number(listener_port(one)),
                    "health": health_check(one),
                }
            )
    return found


def clients(services: Sequence[Any], prefix: str = "") -> list[dict[str, Any]]:
    """Those with upstreams: `service`, its `container`, and the `variables` that have the URLs."""
    known = {str(one.get("name")): one for one in services if isinstance(one, Mapping)}
    return [
        {
            "service": prefix + name,
            "container": str(one.get("container") or main_container(one.get("task") or {})),
            "variables": [url_variable(known[upstream]) for upstream in one["upstreams"] if upstream in known],
        }
        for name, one in known.items()
        if one.get("upstreams")
    ]


def group_name(service: Service, prefix: str) -> str:
    return str(service.get("target_group") or prefix + str(service.get("name")))


def legacy_group(group: str) -> str:
    """The name of the target group for the legacy service, beside that of the new one."""
    if len(group) + len(LEGACY) <= LONGEST_NAME:
        return group + LEGACY
    told = hashlib.sha256(group.encode()).hexdigest()[:DIGITS]
    return f"{group[: LONGEST_NAME - len(LEGACY) - DIGITS - 1].rstrip('-')}-{told}{LEGACY}"


def listener_port(service: Service) -> Any:
    """Its port at the load balancer, as it is declared."""
    return service.get("listener_port") or service.get("port")


def health_check(service: Service) -> dict[str, Any]:
    return {**HEALTH, **{key: value for key, value in (service.get("health_check") or {}).items() if value is not None}}


def url_variable(service: Service) -> str:
    """The variable of its clients that has its URL: USERS_SERVICE_URL for users-nlb."""
    words = re.sub(r"[^A-Za-z0-9]+", "_", SUFFIX.sub("", str(service["name"]))).upper()
    return str(service.get("url_variable") or VARIABLE.format(words))


def legacy_url(service: Service) -> str:
    return str((service.get("legacy") or {}).get("url") or "")


def internal_url(service: Service, dns_name: str) -> str:
    """Through the internal load balancer; "" while that has no name yet."""
    return f"http://{dns_name}:{listener_port(service)}" if dns_name else ""


def problems_in_short(services: Sequence[Any], prefix: str, internal: Mapping[str, Any]) -> list[str]:
    """What is wrong, in sentences. `internal` is the declared load balancer, or empty."""
    found = [
        f"ecs_internal has no {key}: declare it"
        for key in ("name", "vpc_id", "subnets")
        if internal and not internal.get(key)
    ]
    names = [str(one.get("name")) for one in services if isinstance(one, Mapping)]
    listeners: dict[int, str] = {}
    for one in services:
        if not isinstance(one, Mapping):
            continue
        name = str(one.get("name") or "")
        found += [f"service {name}: {words}" for words in _problems_of(one, names)]
        if internal and one.get("port") and _is_port(one):
            group, port = group_name(one, prefix), int(listener_port(one))
            if not GROUP_NAME.fullmatch(group):
                found.append(
                    f"service {name}: its target group would be called {group}, and AWS takes 1 to 32 letters, digits "
                    "and hyphens: set target_group"
                )
            if listeners.setdefault(port, name) != name:
                found.append(
                    f"service {name}: it has the listener port {port} of {listeners[port]}: set another listener_port"
                )
    return found


def _problems_of(one: Service, names: Sequence[str]) -> Iterator[str]:
    if not one.get("task") and not one.get("image"):
        yield "it has neither image nor task: declare one of them"
    for upstream in one.get("upstreams") or []:
        if upstream not in names:
            yield f"upstreams has {upstream}, and ecs_services has {', '.join(names)}: correct the name"
    if not _is_port(one):
        yield f"port and listener_port are {one.get('port')} and {one.get('listener_port')}: set ports from 1 to 65535"


def _number(port: Any) -> int:
    """0 for what is none, which is refused by its name elsewhere."""
    return int(port) if str(port).isdigit() else 0


def _is_port(one: Service) -> bool:
    given = [str(one[key]) for key in ("port", "listener_port") if one.get(key)]
    return all(port.isdigit() and 0 < int(port) < 65536 for port in given)


def _expanded(one: Service, known: Mapping[str, Service], around: Surroundings) -> dict[str, Any]:
    name = around.prefix + str(one.get("name") or "")
    found = {**one, "name": name}
    if one.get("image"):
        found |= _of_an_image(one, name, around)
    if one.get("port") and around.balanced:
        found["service"] = _behind_the_load_balancer(one, found, around)
    if one.get("upstreams"):
        found["task"] = _with_urls(one, found, known, around)
    return found


def _of_an_image(one: Service, name: str, around: Surroundings) -> dict[str, Any]:
    execution, task_role = str(one.get("execution_role") or ""), str(one.get("task_role") or "")
    roles = one.get("roles")
    if not execution:
        execution = f"arn:{around.partition}:iam::{around.account}:role/{name}-execution"
        roles = roles or ["execution"]
    container = {
        "name": str(one.get("container") or one["name"]),
        "image": str(one["image"]),
        "essential": True,
        **({"command": list(one["command"])} if one.get("command") else {}),
        **({"portMappings": [{"containerPort": _number(one["port"])}]} if one.get("port") else {}),
        **_pairs("environment", one.get("environment"), "value"),
        **_pairs("secrets", one.get("secrets"), "valueFrom"),
        "logConfiguration": {
            "logDriver": "awslogs",
            "options": {
                "awslogs-group": f"/ecs/{name}",
                "awslogs-region": around.region,
                "awslogs-stream-prefix": "ecs",
            },
        },
    }
    network = {
        "subnets": list(around.subnets),
        "securityGroups": list(around.security_groups),
        "assignPublicIp": "DISABLED",
    }
    return {
        "task": {
            "family": name,
            "networkMode": "awsvpc",
            "requiresCompatibilities": ["FARGATE"],
            "cpu": str(one.get("cpu") or CPU),
            "memory": str(one.get("memory") or MEMORY),
            "executionRoleArn": execution,
            **({"taskRoleArn": task_role} if task_role else {}),
            "containerDefinitions": [container],
            **(one.get("task") or {}),
        },
        "service": {
            "launchType": "FARGATE",
            "networkConfiguration": {"awsvpcConfiguration": network},
            "deploymentConfiguration": {
                "minimumHealthyPercent": 100,
                "maximumPercent": 200,
                "deploymentCircuitBreaker": {"enable": True, "rollback": True},
            },
            **(one.get("service") or {}),
        },
        "roles": roles or [],
        "logs": one.get("logs") or {"retention": RETENTION},
        "tags": {**around.tags, **one["tags"]} if one.get("tags") else dict(around.tags) or None,
    }


def _pairs(key: str, given: Mapping[str, Any] | None, value: str) -> dict[str, Any]:
    """As containers have them."""
    if not given:
        return {}
    return {key: [{"name": str(name), value: _text(given[name])} for name in given]}


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _behind_the_load_balancer(one: Service, found: Mapping[str, Any], around: Surroundings) -> dict[str, Any]:
    group = group_name(one, around.prefix)
    place = {"partition": around.partition, "region": around.region, "account": around.account}
    service = dict(found.get("service") or {})
    balancer = {
        "targetGroupArn": around.groups.get(group) or UNKNOWN_GROUP.format(name=group, **place),
        "containerName": str(one.get("container") or main_container(found.get("task") or {}) or one["name"]),
        "containerPort": _number(one["port"]),
    }
    others = service.get("loadBalancers") or []
    checks = health_check(one)
    grace = GRACE + int(checks["interval"]) * int(checks["healthy_threshold"])
    return {"healthCheckGracePeriodSeconds": grace, **service, "loadBalancers": [balancer, *others]}


def _with_urls(
    one: Service, found: Mapping[str, Any], known: Mapping[str, Service], around: Surroundings
) -> dict[str, Any]:
    """Its main container gets the URL of each upstream: what is decided, else what is older, else the internal one."""
    task = dict(found.get("task") or {})
    name = str(one.get("container") or main_container(task))
    decided = around.urls.get(str(found["name"]), {})
    urls = {}
    for upstream in (known[name] for name in one["upstreams"] if name in known):
        variable = url_variable(upstream)
        urls[variable] = (
            decided.get(variable) or legacy_url(upstream) or internal_url(upstream, around.dns_name) or "http://unknown"
        )
    task["containerDefinitions"] = [
        _with_variables(container, urls) if str(container.get("name")) == name else container
        for container in task.get("containerDefinitions") or []
    ]
    return task


def _with_variables(container: Mapping[str, Any], values: Mapping[str, str]) -> dict[str, Any]:
    others = [pair for pair in container.get("environment") or [] if pair.get("name") not in values]
    ours = [{"name": name, "value": value} for name, value in values.items()]
    return {**container, "environment": [*others, *ours]}
