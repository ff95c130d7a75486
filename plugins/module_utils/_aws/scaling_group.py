# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The declared Auto Scaling group with its lifecycle hooks. Its instances are not changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from .._common.progress import OperationError
from .api import Api, RefusedError
from .groups import NoTemplateError, Template, resolved
from .pairs import as_dict
from .tags import RECORD, obsolete, ours_of, recorded

KEPT = "kept"

TRANSITIONS = {"launching": "autoscaling:EC2_INSTANCE_LAUNCHING", "terminating": "autoscaling:EC2_INSTANCE_TERMINATING"}
SETTINGS = {
    "min_size": "MinSize",
    "max_size": "MaxSize",
    "desired_capacity": "DesiredCapacity",
    "health_check_type": "HealthCheckType",
    "health_check_grace_period": "HealthCheckGracePeriod",
    "default_instance_warmup": "DefaultInstanceWarmup",
    "capacity_rebalance": "CapacityRebalance",
}
# What names a tag of a group, beside its value.
OF_TAG = ("ResourceId", "ResourceType", "Key")


@dataclass(frozen=True)
class Hook:
    """A lifecycle hook; heartbeat_timeout in seconds."""

    transition: str
    heartbeat_timeout: int
    default_result: str

    def arguments(self, name: str) -> dict[str, Any]:
        return {
            "LifecycleHookName": name,
            "LifecycleTransition": TRANSITIONS[self.transition],
            "HeartbeatTimeout": self.heartbeat_timeout,
            "DefaultResult": self.default_result,
        }


@dataclass(frozen=True)
class Wanted:
    """settings has keys of SETTINGS; a missing one, or None, stays unchanged.

    version is what the API takes, or KEPT: the number that the group has, else that of the newest.
    """

    name: str
    launch_template: str | None
    version: str
    subnets: Sequence[str] | None
    settings: Mapping[str, Any]
    target_group_arns: Sequence[str]
    hooks: Mapping[str, Hook]
    tags: Mapping[str, str] | None


@dataclass
class Outcome:
    """before and after are its declared settings."""

    changed: bool = False
    before: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)


def ensure(scaling: Api, ec2: Callable[[], Api], wanted: Wanted, check_mode: bool) -> Outcome:
    """Create the group or change what differs. The next call completes an interrupted one."""
    about = f"the Auto Scaling group {wanted.name}"
    group = _find(scaling, wanted.name, about)
    if not group:
        _refuse_half_of_one(wanted)
    else:
        _refuse_a_dying_one(group, wanted.name)
    _refuse_one_without_traffic(wanted, group)
    wanted = _with_a_number(wanted, group, ec2, check_mode)
    outcome = Outcome(after=_declared(wanted))
    if group:
        outcome.before = _look(scaling, wanted, group, about)
    outcome.changed = outcome.before != outcome.after
    if check_mode or not outcome.changed:
        return outcome
    if group:
        _change(scaling, wanted, outcome, about)
    else:
        _create(scaling, wanted, about)
    return outcome


def remove(scaling: Api, name: str, force: bool, check_mode: bool) -> Outcome:
    """Delete the group; one with instances, which would be terminated, only with force."""
    about = f"the Auto Scaling group {name}"
    group = _find(scaling, name, about)
    if not group or _dying(group):
        return Outcome()
    instances = sorted(instance["InstanceId"] for instance in group["Instances"])
    if instances and not force:
        raise OperationError(
            f"The Auto Scaling group {name} was not deleted: {', '.join(instances)} would be terminated with it. Scale "
            "it in to 0 first, or set force."
        )
    if not check_mode:
        scaling.call("DeleteAutoScalingGroup", about, AutoScalingGroupName=name, ForceDelete=force)
    return Outcome(changed=True, before={"name": name, "instances": instances})


def _find(scaling: Api, name: str, about: str) -> dict[str, Any]:
    found = scaling.call("DescribeAutoScalingGroups", about, AutoScalingGroupNames=[name])["AutoScalingGroups"]
    return dict(found[0]) if found else {}


def _dying(group: Mapping[str, Any]) -> bool:
    return str(group.get("Status", "")).lower().startswith("delete")


def _refuse_a_dying_one(group: Mapping[str, Any], name: str) -> None:
    if _dying(group):
        raise OperationError(f"An Auto Scaling group {name} is being deleted. Run this again after that.")


def _refuse_half_of_one(wanted: Wanted) -> None:
    given = {"launch_template": wanted.launch_template, "subnets": wanted.subnets, **wanted.settings}
    missing = [name for name in ("launch_template", "subnets", "min_size", "max_size") if given.get(name) is None]
    if missing:
        raise OperationError(
            f"There is no Auto Scaling group {wanted.name}. To create it, set {', '.join(missing)}, too."
        )


def target_groups(elb: Api, names: Sequence[str]) -> list[str]:
    """The ARNs of the target groups of these names, in their order."""
    what = f"the target groups {', '.join(names)}"
    try:
        said = elb.call("DescribeTargetGroups", what, Names=list(names))["TargetGroups"]
    except RefusedError as error:
        if not error.code.startswith("TargetGroupNotFound"):
            raise
        said = []
    arns = {group["TargetGroupName"]: group["TargetGroupArn"] for group in said}
    missing = [name for name in names if name not in arns]
    if missing:
        raise OperationError(
            f"Nothing was changed: there is no target group {', '.join(missing)} in {elb.region}. Create it first, for "
            "instance with playbooks/aws.yml, or check the name, the region and the account."
        )
    return [arns[name] for name in names]


def _refuse_one_without_traffic(wanted: Wanted, group: Mapping[str, Any]) -> None:
    by_balancer = wanted.settings.get("health_check_type") == "ELB"
    if by_balancer and not wanted.target_group_arns and not group.get("TargetGroupARNs"):
        raise OperationError(
            f"Nothing was changed: the Auto Scaling group {wanted.name} has the health check type ELB and no target "
            "group, so that its instances get no traffic and nothing checks them. Set target_groups or "
            "target_group_arns, or health_check_type=EC2 for a fleet without a load balancer."
        )


def _with_a_number(wanted: Wanted, group: Mapping[str, Any], ec2: Callable[[], Api], check_mode: bool) -> Wanted:
    """With the number that KEPT means for this group, because AWS rolls an instance refresh back only to a number."""
    if wanted.launch_template is None or wanted.version != KEPT:
        return wanted
    own = Template.of(group.get("LaunchTemplate"))
    same = own is not None and own.name == wanted.launch_template
    if own and same and own.fixed:
        return replace(wanted, version=own.version)
    followed = own.version if own and same else "$Latest"
    try:
        return replace(wanted, version=resolved(ec2(), Template("", wanted.launch_template, followed)).version)
    except NoTemplateError:
        if not check_mode:
            raise
        # A run without check mode creates the launch template before the group.
        return replace(wanted, version="1")


def _create(scaling: Api, wanted: Wanted, about: str) -> None:
    scaling.call(
        "CreateAutoScalingGroup",
        about,
        AutoScalingGroupName=wanted.name,
        # Hooks that are added later would miss the first instances.
        LifecycleHookSpecificationList=[hook.arguments(name) for name, hook in wanted.hooks.items()],
        TargetGroupARNs=list(wanted.target_group_arns),
        Tags=_tags(wanted.name, recorded(wanted.tags or {})),
        **_arguments(wanted),
    )


def _change(scaling: Api, wanted: Wanted, outcome: Outcome, about: str) -> None:
    before, after = outcome.before, outcome.after
    # What may start instances comes last.
    for name, hook in wanted.hooks.items():
        if before["hooks"].get(name) != after["hooks"][name]:
            scaling.call("PutLifecycleHook", about, AutoScalingGroupName=wanted.name, **hook.arguments(name))
    if wanted.tags is not None and before["tags"] != after["tags"]:
        _change_tags(scaling, wanted.name, before["tags"], wanted.tags, about)
    missing = [arn for arn in wanted.target_group_arns if arn not in before["target_group_arns"]]
    if missing:
        given = {"AutoScalingGroupName": wanted.name, "TargetGroupARNs": missing}
        scaling.call("AttachLoadBalancerTargetGroups", about, **given)
    others = ("hooks", "tags", "target_group_arns")
    if any(before[key] != after[key] for key in after if key not in others):
        scaling.call("UpdateAutoScalingGroup", about, AutoScalingGroupName=wanted.name, **_arguments(wanted))


def _arguments(wanted: Wanted) -> dict[str, Any]:
    arguments: dict[str, Any] = {SETTINGS[key]: value for key, value in wanted.settings.items()}
    if wanted.launch_template is not None:
        arguments["LaunchTemplate"] = {"LaunchTemplateName": wanted.launch_template, "Version": wanted.version}
    if wanted.subnets is not None:
        arguments["VPCZoneIdentifier"] = ",".join(wanted.subnets)
    return arguments


def _change_tags(scaling: Api, name: str, found: Mapping[str, str], wanted: Mapping[str, str], about: str) -> None:
    # Before the new record, which no longer has them.
    gone = [{key: tag[key] for key in OF_TAG} for tag in _tags(name, dict.fromkeys(obsolete(found, wanted), ""))]
    if gone:
        scaling.call("DeleteTags", about, Tags=gone)
    if wanted:
        scaling.call("CreateOrUpdateTags", about, Tags=_tags(name, recorded(wanted)))


def _tags(group: str, tags: Mapping[str, str]) -> list[dict[str, Any]]:
    of = {"ResourceId": group, "ResourceType": "auto-scaling-group"}
    return [{**of, "Key": key, "Value": value, "PropagateAtLaunch": key != RECORD} for key, value in tags.items()]


def _declared(wanted: Wanted) -> dict[str, Any]:
    template = {"name": wanted.launch_template, "version": wanted.version}
    return {
        **wanted.settings,
        **({} if wanted.launch_template is None else {"launch_template": template}),
        **({} if wanted.subnets is None else {"subnets": sorted(wanted.subnets)}),
        "target_group_arns": sorted(wanted.target_group_arns),
        "hooks": {name: vars(hook) for name, hook in wanted.hooks.items()},
        **({} if wanted.tags is None else {"tags": recorded(wanted.tags)}),
    }


def _look(scaling: Api, wanted: Wanted, group: Mapping[str, Any], about: str) -> dict[str, Any]:
    """The group in the shape of its declaration, without what is not declared."""
    template = group.get("LaunchTemplate", {})
    found = {
        **{key: group.get(SETTINGS[key]) for key in wanted.settings},
        "launch_template": {"name": template.get("LaunchTemplateName"), "version": template.get("Version")},
        "subnets": sorted(filter(None, group.get("VPCZoneIdentifier", "").split(","))),
        "target_group_arns": sorted(set(group.get("TargetGroupARNs", [])) & set(wanted.target_group_arns)),
        "hooks": _hooks(scaling, wanted, about) if wanted.hooks else {},
        "tags": ours_of(as_dict(group.get("Tags", [])), wanted.tags or {}),
    }
    return {key: found[key] for key in _declared(wanted)}


def _hooks(scaling: Api, wanted: Wanted, about: str) -> dict[str, dict[str, Any]]:
    listed = scaling.call("DescribeLifecycleHooks", about, AutoScalingGroupName=wanted.name)["LifecycleHooks"]
    names = {value: key for key, value in TRANSITIONS.items()}
    return {
        hook["LifecycleHookName"]: {
            "transition": names.get(hook.get("LifecycleTransition")),
            "heartbeat_timeout": hook.get("HeartbeatTimeout"),
            "default_result": hook.get("DefaultResult"),
        }
        for hook in listed
        if hook["LifecycleHookName"] in wanted.hooks
    }
