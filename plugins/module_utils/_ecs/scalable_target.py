# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The scalable target of an ECS service in Application Auto Scaling, with its target-tracking policies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .._aws.api import Api
from .._common.progress import OperationError
from .scaling_policies import (
    RECORD,
    TARGET_TRACKING,
    Policy,
    configuration,
    described,
    obsolete,
    problems,
    record,
)

NAMESPACE = "ecs"
DIMENSION = "ecs:service:DesiredCount"
CAPACITIES = {"min_capacity": "MinCapacity", "max_capacity": "MaxCapacity"}
SUSPENSIONS = {
    "dynamic_scaling_in": "DynamicScalingInSuspended",
    "dynamic_scaling_out": "DynamicScalingOutSuspended",
    "scheduled": "ScheduledScalingSuspended",
}


@dataclass(frozen=True)
class Wanted:
    """None leaves a setting as it is; suspended has keys of SUSPENSIONS; policies are as the module's options."""

    cluster: str
    service: str
    min_capacity: int | None = None
    max_capacity: int | None = None
    suspended: Mapping[str, bool] = field(default_factory=dict)
    policies: Sequence[Policy] | None = None

    @property
    def capacities(self) -> dict[str, int]:
        given = {"min_capacity": self.min_capacity, "max_capacity": self.max_capacity}
        return {key: value for key, value in given.items() if value is not None}

    @property
    def resource(self) -> str:
        """Also of a cluster and a service that are given as ARNs."""
        return f"service/{self.cluster.rpartition('/')[2]}/{self.service.rpartition('/')[2]}"


@dataclass
class Outcome:
    """arn is "" where there is no target; before and after are the declared settings."""

    arn: str = ""
    changed: bool = False
    before: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)


class ScalableTarget:
    """The API's calls about one service's target."""

    def __init__(self, api: Api, resource: str) -> None:
        self._api = api
        self._about = f"the scalable target {resource}"
        self._named = {"ServiceNamespace": NAMESPACE, "ResourceId": resource, "ScalableDimension": DIMENSION}

    def find(self) -> dict[str, Any]:
        """Empty where there is none."""
        named = {"ServiceNamespace": NAMESPACE, "ScalableDimension": DIMENSION}
        resources = [self._named["ResourceId"]]
        said = self._api.call("DescribeScalableTargets", self._about, **named, ResourceIds=resources)
        return dict(said["ScalableTargets"][0]) if said["ScalableTargets"] else {}

    def policies(self) -> dict[str, Policy]:
        """All policies of the target, by name."""
        found = self._api.pages("DescribeScalingPolicies", self._about, "ScalingPolicies", **self._named)
        return {policy["PolicyName"]: policy for policy in found}

    def recorded(self, arn: str) -> str:
        said = self._api.call("ListTagsForResource", self._about, ResourceARN=arn)
        return str(said.get("Tags", {}).get(RECORD, ""))

    def register(self, **settings: Any) -> str:
        return str(
            self._api.call("RegisterScalableTarget", self._about, **self._named, **settings)["ScalableTargetARN"]
        )

    def tag(self, arn: str, value: str) -> None:
        if value:
            self._api.call("TagResource", self._about, ResourceARN=arn, Tags={RECORD: value})
        else:
            self._api.call("UntagResource", self._about, ResourceARN=arn, TagKeys=[RECORD])

    def put(self, name: str, tracking: Mapping[str, Any]) -> None:
        self._api.call(
            "PutScalingPolicy",
            f"the policy {name} of {self._about}",
            **self._named,
            PolicyName=name,
            PolicyType=TARGET_TRACKING,
            TargetTrackingScalingPolicyConfiguration=tracking,
        )

    def delete(self, name: str) -> None:
        about = f"the policy {name} of {self._about}"
        self._api.call("DeleteScalingPolicy", about, **self._named, PolicyName=name)

    def deregister(self) -> None:
        self._api.call("DeregisterScalableTarget", self._about, **self._named)


def ensure(api: Api, wanted: Wanted, check_mode: bool) -> Outcome:
    """Register the target or change what differs, with its policies. The next call completes an interrupted one."""
    target = ScalableTarget(api, wanted.resource)
    found = target.find()
    _refuse(wanted, found)
    arn = str(found.get("ScalableTargetARN", ""))
    outcome = Outcome(arn)
    suspended = _suspended(found)
    if found:
        outcome.before = {key: found[CAPACITIES[key]] for key in wanted.capacities}
        outcome.before.update({f"suspended.{key}": suspended[key] for key in wanted.suspended})
    outcome.after = {**wanted.capacities, **{f"suspended.{key}": value for key, value in wanted.suspended.items()}}
    differs = outcome.before != outcome.after or not found

    before, after, recorded = _policies(target, wanted, arn)
    if wanted.policies is not None:
        outcome.after["policies"] = after
        if found:
            outcome.before["policies"] = before
    new_record = record(after)
    tagged = wanted.policies is not None and recorded != new_record
    outcome.changed = differs or tagged or before != after
    if check_mode or not outcome.changed:
        return outcome
    if differs:
        outcome.arn = arn = target.register(**_arguments(wanted, suspended)) or arn
    _change_policies(target, arn, before, after, recorded)
    return outcome


def remove(api: Api, wanted: Wanted, check_mode: bool) -> Outcome:
    """Delete all policies of the target, then the target. The service keeps its count of tasks."""
    target = ScalableTarget(api, wanted.resource)
    found = target.find()
    policies = target.policies()
    if not found and not policies:
        return Outcome()
    outcome = Outcome(str(found.get("ScalableTargetARN", "")), True)
    outcome.before = {
        **{key: found[name] for key, name in CAPACITIES.items() if name in found},
        "policies": {name: described(policy) for name, policy in policies.items()},
    }
    if not check_mode:
        for name in policies:
            target.delete(name)
        if found:
            target.deregister()
    return outcome


def _refuse(wanted: Wanted, found: Mapping[str, Any]) -> None:
    wrong = problems(wanted.policies or [])
    missing = [key for key in CAPACITIES if key not in wanted.capacities]
    if not found and missing:
        wrong.append(
            f"there is no scalable target {wanted.resource}: to register it, set {' and '.join(missing)}, too."
        )
    least = wanted.capacities.get("min_capacity", found.get("MinCapacity", 0))
    most = wanted.capacities.get("max_capacity", found.get("MaxCapacity", least))
    if least > most:
        wrong.append(f"min_capacity {least} is above max_capacity {most}: lower one or raise the other.")
    if wrong:
        raise OperationError(f"Nothing was changed: {'; '.join(words.rstrip('.') for words in wrong)}.")


def _suspended(found: Mapping[str, Any]) -> dict[str, bool]:
    state = found.get("SuspendedState") or {}
    return {key: bool(state.get(name, False)) for key, name in SUSPENSIONS.items()}


def _arguments(wanted: Wanted, suspended: Mapping[str, bool]) -> dict[str, Any]:
    arguments: dict[str, Any] = {CAPACITIES[key]: value for key, value in wanted.capacities.items()}
    if wanted.suspended:
        # All three, because AWS takes a missing one for false.
        states = {**suspended, **wanted.suspended}
        arguments["SuspendedState"] = {SUSPENSIONS[key]: value for key, value in states.items()}
    return arguments


def _policies(
    target: ScalableTarget, wanted: Wanted, arn: str
) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]], str]:
    """The existing policies that are declared or obsolete, the declared ones, and the target's record."""
    if wanted.policies is None:
        return {}, {}, ""
    after = {str(policy["name"]): configuration(policy) for policy in wanted.policies}
    if not arn:
        return {}, after, ""
    found = target.policies()
    recorded = target.recorded(arn)
    ours = [*(name for name in after if name in found), *obsolete(found, recorded, after)]
    before = {name: described(found[name]) for name in ours}
    for name in after:
        kind = before.get(name, {}).get("PolicyType")
        if kind:
            raise OperationError(
                f"Nothing was changed: the policy {name} of {wanted.resource} is of the type {kind}. Delete it, or "
                "declare another name."
            )
    return before, after, recorded


def _change_policies(
    target: ScalableTarget,
    arn: str,
    before: Mapping[str, Mapping[str, Any]],
    after: Mapping[str, Mapping[str, Any]],
    recorded: str,
) -> None:
    gone = [name for name in before if name not in after]
    # An interrupted run has every policy of ours in the record, before and after.
    if any(name not in before for name in after) or gone:
        both = record({*before, *after})
        if both != recorded:
            target.tag(arn, both)
            recorded = both
    for name, tracking in after.items():
        if before.get(name) != tracking:
            target.put(name, tracking)
    for name in gone:
        target.delete(name)
    if recorded != record(after):
        target.tag(arn, record(after))
