# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The declared target group: health checks, attributes and tags, but never its targets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .._common.progress import OperationError
from .api import Api, RefusedError
from .pairs import as_dict, as_pairs, declared
from .tags import change_tags, ours_of, recorded
from .target_group_rules import problems

# What AWS does not change in a group that exists.
FIXED = {"protocol": "Protocol", "port": "Port", "vpc_id": "VpcId", "target_type": "TargetType"}
HEALTH = {
    "protocol": "HealthCheckProtocol",
    "port": "HealthCheckPort",
    "path": "HealthCheckPath",
    "interval": "HealthCheckIntervalSeconds",
    "timeout": "HealthCheckTimeoutSeconds",
    "healthy_threshold": "HealthyThresholdCount",
    "unhealthy_threshold": "UnhealthyThresholdCount",
}


@dataclass(frozen=True)
class Wanted:
    """health has keys of HEALTH and matcher; attributes have AWS's own names and texts for values."""

    name: str
    protocol: str
    port: int
    vpc_id: str
    target_type: str
    health: Mapping[str, Any]
    attributes: Mapping[str, str]
    tags: Mapping[str, str] | None


@dataclass
class Outcome:
    """arn is empty if there is no group; before and after are its declared settings."""

    arn: str = ""
    changed: bool = False
    before: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)


def ensure(elb: Api, wanted: Wanted, check_mode: bool) -> Outcome:
    """Create the group or change what differs. The next call completes an interrupted one."""
    about = f"the target group {wanted.name}"
    group = find(elb, wanted.name)
    outcome = Outcome(arn=group.get("TargetGroupArn", ""), after=_declared(wanted))
    if group:
        outcome.before = _look(elb, wanted, group, about)
        _refuse_what_is_fixed(outcome, wanted.name)
    outcome.changed = outcome.before != outcome.after
    _refuse_what_aws_refuses(wanted, group)
    if check_mode or not outcome.changed:
        return outcome
    if not group:
        made = elb.call("CreateTargetGroup", about, **creation(wanted))
        outcome.arn = made["TargetGroups"][0]["TargetGroupArn"]
    elif outcome.before["health_check"] != outcome.after["health_check"]:
        elb.call("ModifyTargetGroup", about, TargetGroupArn=outcome.arn, **_health_arguments(wanted.health))
    was = outcome.before
    if wanted.attributes and was.get("attributes") != outcome.after["attributes"]:
        pairs = as_pairs(wanted.attributes)
        elb.call("ModifyTargetGroupAttributes", about, TargetGroupArn=outcome.arn, Attributes=pairs)
    if wanted.tags is not None:
        change_tags(elb, outcome.arn, was.get("tags", {}), wanted.tags, about)
    return outcome


def creation(wanted: Wanted) -> dict[str, Any]:
    """The arguments of CreateTargetGroup, which takes no attributes."""
    fixed = {api: getattr(wanted, name) for name, api in FIXED.items()}
    return {"Name": wanted.name, **fixed, **_health_arguments(wanted.health)}


def remove(elb: Api, scaling: Api, name: str, deleted_load_balancer: str | None, check_mode: bool) -> Outcome:
    """Delete the group; refused while targets are registered, which would leave without a drain, or others use it.

    A load balancer that is deleted before it does not count.
    """
    about = f"the target group {name}"
    group = find(elb, name)
    if not group:
        return Outcome()
    arn = group["TargetGroupArn"]
    listed = elb.call("DescribeTargetHealth", about, TargetGroupArn=arn)["TargetHealthDescriptions"]
    if listed:
        targets = ", ".join(sorted(item["Target"]["Id"] for item in listed))
        raise OperationError(
            f"The target group {name} was not deleted: {targets} are registered there. Drain them, or detach the group "
            "from its Auto Scaling group, and then delete it."
        )
    users = _users(scaling, group, deleted_load_balancer, about)
    if users:
        raise OperationError(
            f"The target group {name} was not deleted: it is used by {', '.join(users)}. Remove it from their "
            "listeners and rules, or detach it, and then delete it."
        )
    if not check_mode:
        elb.call("DeleteTargetGroup", about, TargetGroupArn=arn)
    return Outcome(arn=arn, changed=True, before={"name": name})


def _users(scaling: Api, group: Mapping[str, Any], deleted_load_balancer: str | None, about: str) -> list[str]:
    """Load balancers and Auto Scaling groups that the group belongs to."""
    arn = group["TargetGroupArn"]
    balancers = {str(user).split("/")[-2] for user in group.get("LoadBalancerArns", [])} - {deleted_load_balancer}
    groups = [
        found["AutoScalingGroupName"]
        for found in scaling.pages("DescribeAutoScalingGroups", about, "AutoScalingGroups")
        if arn in found.get("TargetGroupARNs", [])
    ]
    return [f"the load balancer {user}" for user in sorted(balancers)] + [
        f"the Auto Scaling group {user}" for user in sorted(groups)
    ]


def find(elb: Api, name: str) -> dict[str, Any]:
    """The target group of this name, as the API describes it; empty where there is none."""
    try:
        found = elb.call("DescribeTargetGroups", f"the target group {name}", Names=[name])["TargetGroups"]
    except RefusedError as error:
        if error.code.startswith("TargetGroupNotFound"):
            return {}
        raise
    return dict(found[0])


def _declared(wanted: Wanted) -> dict[str, Any]:
    return {
        **{name: getattr(wanted, name) for name in FIXED},
        "health_check": dict(wanted.health),
        "attributes": dict(wanted.attributes),
        **({} if wanted.tags is None else {"tags": recorded(wanted.tags)}),
    }


def _look(elb: Api, wanted: Wanted, group: Mapping[str, Any], about: str) -> dict[str, Any]:
    """The group in the shape of its declaration, without what is not declared."""
    arn = group["TargetGroupArn"]
    attributes = elb.call("DescribeTargetGroupAttributes", about, TargetGroupArn=arn)["Attributes"]
    tags = elb.call("DescribeTags", about, ResourceArns=[arn])["TagDescriptions"][0]["Tags"]
    health = {name: group.get(api) for name, api in HEALTH.items() if name in wanted.health}
    if "matcher" in wanted.health:
        health["matcher"] = group.get("Matcher", {}).get("HttpCode")
    return {
        **{name: group.get(api) for name, api in FIXED.items()},
        "health_check": health,
        "attributes": declared(as_dict(attributes), wanted.attributes),
        **({} if wanted.tags is None else {"tags": ours_of(as_dict(tags), wanted.tags)}),
    }


def _refuse_what_is_fixed(outcome: Outcome, name: str) -> None:
    moved = [key for key in FIXED if outcome.before[key] != outcome.after[key]]
    if moved:
        what = ", ".join(f"{key} (is {outcome.before[key]}, wanted {outcome.after[key]})" for key in moved)
        raise OperationError(f"AWS can't change {what} of the target group {name}. Create one with another name.")


def _refuse_what_aws_refuses(wanted: Wanted, group: Mapping[str, Any]) -> None:
    found = {name: group[api] for name, api in HEALTH.items() if group.get(api) is not None}
    refused = list(problems(wanted.protocol, wanted.health, found, wanted.attributes))
    if refused:
        raise OperationError(f"Nothing was changed: AWS refuses the target group {wanted.name}: {'; '.join(refused)}.")


def _health_arguments(health: Mapping[str, Any]) -> dict[str, Any]:
    arguments = {HEALTH[name]: value for name, value in health.items() if name in HEALTH}
    return {**arguments, **({"Matcher": {"HttpCode": health["matcher"]}} if "matcher" in health else {})}
