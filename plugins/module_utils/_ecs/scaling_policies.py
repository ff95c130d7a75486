# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Target-tracking policies of a service's scalable target, in words of the options and of the API."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from .._common.progress import OperationError

ALB_REQUESTS = "ALBRequestCountPerTarget"
TARGET_TRACKING = "TargetTrackingScaling"
# Seconds; AWS's default for services of ECS.
COOLDOWN = 300
# The names of the policies that were set, as digests: a tag's value has 256 characters.
RECORD = "evenkeel:policies"
DIGEST = 5
MOST = 50

Policy = Mapping[str, Any]


def problems(policies: Iterable[Policy]) -> list[str]:
    """Sentences about declared policies that AWS would refuse."""
    found = []
    names = [str(policy["name"]) for policy in policies]
    for name in sorted({name for name in names if names.count(name) > 1}):
        found.append(f"two policies are called {name}: give each its own name.")
    if len(names) > MOST:
        found.append(f"{len(names)} policies are declared, and AWS takes {MOST}: declare fewer.")
    for policy in policies:
        label = [option for option in ("load_balancer_arn", "target_group_arn") if policy.get(option)]
        if policy["metric"] == ALB_REQUESTS and len(label) < 2:
            found.append(
                f"the policy {policy['name']} counts requests and needs load_balancer_arn and target_group_arn: set "
                "both."
            )
        elif policy["metric"] != ALB_REQUESTS and label:
            found.append(f"the policy {policy['name']} has {label[0]}, which only {ALB_REQUESTS} takes: remove it.")
    return found


def configuration(policy: Policy) -> dict[str, Any]:
    """The TargetTrackingScalingPolicyConfiguration of a declared policy."""
    metric = {"PredefinedMetricType": policy["metric"]}
    if policy["metric"] == ALB_REQUESTS:
        metric["ResourceLabel"] = resource_label(policy["load_balancer_arn"], policy["target_group_arn"])
    return {
        "TargetValue": float(policy["target_value"]),
        "PredefinedMetricSpecification": metric,
        "ScaleOutCooldown": _cooldown(policy.get("scale_out_cooldown")),
        "ScaleInCooldown": _cooldown(policy.get("scale_in_cooldown")),
        "DisableScaleIn": bool(policy.get("disable_scale_in")),
    }


def described(policy: Policy) -> dict[str, Any]:
    """The same of a policy as DescribeScalingPolicies returns it, with AWS's defaults; other types by their name."""
    kind = policy.get("PolicyType", "")
    if kind != TARGET_TRACKING:
        return {"PolicyType": kind}
    said = dict(policy.get("TargetTrackingScalingPolicyConfiguration") or {})
    defaults = {"ScaleOutCooldown": COOLDOWN, "ScaleInCooldown": COOLDOWN, "DisableScaleIn": False}
    return {**defaults, **said, "TargetValue": float(said.get("TargetValue", 0))}


def resource_label(load_balancer_arn: str, target_group_arn: str) -> str:
    """The metric's label of a target group behind an Application Load Balancer."""
    balancer = load_balancer_arn.partition(":loadbalancer/")[2]
    group = target_group_arn.rpartition(":")[2]
    if not balancer.startswith("app/") or not group.startswith("targetgroup/"):
        raise OperationError(
            f"Nothing was changed: {ALB_REQUESTS} needs the ARNs of an Application Load Balancer and of its target "
            f"group, and got {load_balancer_arn} and {target_group_arn}."
        )
    return f"{balancer}/{group}"


def record(names: Iterable[str]) -> str:
    """The value of the tag RECORD for these policies."""
    return "".join(sorted(map(_digest, names)))


def obsolete(found: Iterable[str], recorded: str, wanted: Iterable[str]) -> list[str]:
    """Of the existing policies, those that the record has and that are no longer wanted."""
    ours = {recorded[start : start + DIGEST] for start in range(0, len(recorded), DIGEST)}
    return sorted(name for name in set(found) - set(wanted) if _digest(name) in ours)


def _digest(name: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(name.encode()).digest()).decode()[:DIGEST]


def _cooldown(seconds: int | None) -> int:
    return COOLDOWN if seconds is None else seconds
