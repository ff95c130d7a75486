# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The internal load balancer of services, and how far they have moved behind it. Nothing here changes anything."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .._aws import listeners, load_balancer
from .._aws.api import Api, RefusedError
from .definition_lookup import described_definition
from .retirement import remembered
from .usage import SERVICES_AT_ONCE, portions, refuse_failures

GROUPS_AT_ONCE = 20
DRAINING = "draining"


def target_groups(elb: Api, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Those that exist, by name, as DescribeTargetGroups has them."""
    wanted = list(dict.fromkeys(names))
    found: dict[str, dict[str, Any]] = {}
    for some in portions(wanted, GROUPS_AT_ONCE):
        found |= {group["TargetGroupName"]: group for group in _named(elb, some)}
    return found


def _named(elb: Api, names: Sequence[str]) -> list[dict[str, Any]]:
    about = f"the target groups {', '.join(names)}"
    try:
        return list(elb.pages("DescribeTargetGroups", about, "TargetGroups", Names=list(names)))
    except RefusedError as error:
        if error.code != "TargetGroupNotFound":
            raise
    # AWS does not say which of them is missing.
    return [group for name in names for group in _named(elb, [name])] if len(names) > 1 else []


def network(elb: Api, name: str) -> dict[str, Any]:
    """`load_balancer_arn`, `dns_name` and, by port, the ARNs of `listeners` and what each `forwards` to.

    Empty where there is no such load balancer.
    """
    found = load_balancer.find(elb, name, "network") if name else {}
    if not found:
        return {"load_balancer_arn": "", "dns_name": "", "listeners": {}, "forwards": {}}
    arn = found["LoadBalancerArn"]
    listed = list(elb.pages("DescribeListeners", f"the load balancer {name}", "Listeners", LoadBalancerArn=arn))
    return {
        "load_balancer_arn": arn,
        "dns_name": found["DNSName"],
        "listeners": {str(one["Port"]): one["ListenerArn"] for one in listed},
        "forwards": {str(one["Port"]): weights(one) for one in listed},
    }


def weights(listener: Mapping[str, Any]) -> dict[str, int]:
    """By the ARN of each target group that the default actions forward to."""
    return {
        str(group["TargetGroupArn"]): int(group["Weight"])
        for action in listener["DefaultActions"]
        for group in listeners.groups(action)
    }


def targets(elb: Api, group: Mapping[str, Any]) -> list[dict[str, str]]:
    """The targets of a group that are not draining, with `state` and `reason`."""
    about = f"the target group {group['TargetGroupName']}"
    said = elb.call("DescribeTargetHealth", about, TargetGroupArn=group["TargetGroupArn"])
    found = [
        {
            "id": f"{one['Target']['Id']}:{one['Target']['Port']}",
            "state": one["TargetHealth"]["State"],
            "reason": one["TargetHealth"].get("Description", ""),
        }
        for one in said["TargetHealthDescriptions"]
    ]
    return [one for one in found if one["state"] != DRAINING]


def services(ecs: Api, cluster: str, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Those that exist, by name, as DescribeServices has them, with their tags."""
    about = f"the services of the cluster {cluster}"
    found: dict[str, dict[str, Any]] = {}
    for some in portions(list(dict.fromkeys(names)), SERVICES_AT_ONCE):
        try:
            said = ecs.call("DescribeServices", about, cluster=cluster, services=some, include=["TAGS"])
        except RefusedError as error:
            if error.code == "ClusterNotFoundException":
                return {}
            raise
        refuse_failures(said, about)
        found |= {one["serviceName"]: one for one in said["services"] if one["status"] == "ACTIVE"}
    return found


def standing(service: Mapping[str, Any] | None) -> dict[str, Any]:
    """Of a described service. `remembered` is the number of tasks that it had before its retirement, or null."""
    if service is None:
        return {"exists": False, "desired": 0, "running": 0, "remembered": None, "task_definition": ""}
    return {
        "exists": True,
        "desired": service["desiredCount"],
        "running": service["runningCount"],
        "remembered": remembered(service),
        "task_definition": service.get("taskDefinition", ""),
    }


def environment(ecs: Api, definition: str, container: str, names: Sequence[str]) -> dict[str, str]:
    """Of a container of a task definition, these variables as they are; what it does not have is left out."""
    said = described_definition(ecs, definition)
    for one in said["containerDefinitions"]:
        if one["name"] == container or not container:
            pairs = {pair["name"]: str(pair.get("value", "")) for pair in one.get("environment", [])}
            return {name: pairs[name] for name in names if name in pairs}
    return {}
