# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""IAM policies checked by parliament, and by what policy_sentry knows of the resources of an action."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import parliament
from policy_sentry.querying.actions import get_action_data

# Actions that are newer than the data of parliament or policy_sentry.
NEWER_THAN_THE_DATA = {"ecs:StopServiceDeployment": "since 2024; in botocore's model"}
# Actions on "*" although the data have a resource, and why.
ON_EVERYTHING = {
    "cloudwatch:DescribeAlarms": "with a narrower resource, AWS hides composite alarms",
    "ecs:ListTasks": "the resource is an instance of a cluster, which a task on Fargate does not have",
    "ecs:RegisterTaskDefinition": "the resource is optional to AWS; iam:PassRole limits what can be registered",
}
# Actions on one of several kinds of resources, of which parliament expects all.
ALTERNATIVES = {"elasticloadbalancing:ModifyListener": "a listener of an ALB or of an NLB"}


def findings(document: Mapping[str, Any]) -> list[str]:
    """Everything that parliament finds in a policy, and wildcards where AWS knows a narrower resource."""
    found = [
        f"{finding.issue}: {finding.detail}"
        for finding in parliament.analyze_policy_string(json.dumps(document)).findings
        if not _explained(finding)
    ]
    for statement in document["Statement"]:
        if "*" in _list(statement["Resource"]):
            found += _too_wide(_list(statement["Action"]))
    return found


def _explained(finding: Any) -> bool:
    if finding.issue == "UNKNOWN_ACTION":
        return any(action in str(finding.detail) for action in NEWER_THAN_THE_DATA)
    if finding.issue == "RESOURCE_MISMATCH":
        return {each["action"] for each in finding.detail} <= set(ALTERNATIVES)
    # The data of policy_sentry decide.
    return bool(finding.issue == "RESOURCE_STAR" and set(finding.detail) <= set(ON_EVERYTHING))


def _too_wide(actions: list[str]) -> Iterator[str]:
    for action in actions:
        service, _, name = action.partition(":")
        known = get_action_data(service, name)
        if not known:
            yield f"{action} is unknown"
        elif action not in ON_EVERYTHING and {row["resource_arn_format"] for row in known[service]} != {"*"}:
            yield f"{action} on *, and AWS knows a narrower resource"


def _list(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)
