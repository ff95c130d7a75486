# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Other users of a resource that is to be deleted: a role, a policy, a launch template, a topic, alarms, queues."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from .api import Api, RefusedError
from .purge import queue_url

MESSAGES = (
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
)
ACTIONS = ("AlarmActions", "OKActions", "InsufficientDataActions")
RUNNING = ["pending", "running", "stopping", "stopped"]
MANY = {"MaxResults": 200}


def of_role(iam: Api, ec2: Api, scaling: Api, name: str, policies: Collection[str]) -> list[str]:
    """Of the role of that name and its instance profile; `policies` are its own inline policies."""
    about = f"the role {name}"
    found = []
    try:
        profiles = list(_marked(iam, "ListInstanceProfilesForRole", about, "InstanceProfiles", RoleName=name))
        found += [
            f"the instance profile {profile['InstanceProfileName']} contains the role {name}"
            for profile in profiles
            if profile["InstanceProfileName"] != name
        ]
        attached = _marked(iam, "ListAttachedRolePolicies", about, "AttachedPolicies", RoleName=name)
        found += [f"the policy {policy['PolicyArn']} is attached to the role {name}" for policy in attached]
        inline = _marked(iam, "ListRolePolicies", about, "PolicyNames", RoleName=name)
        found += [f"the role {name} has the policy {policy}" for policy in inline if policy not in policies]
    except RefusedError as error:
        if error.code != "NoSuchEntity":
            raise
    return found + _of_profile(iam, ec2, scaling, name)


def of_policy(iam: Api, name: str, users: Collection[str]) -> list[str]:
    """Of the managed policy of that name; `users` are the IAM users that it is for."""
    about = f"the policy {name}"
    local = _marked(iam, "ListPolicies", "the policies", "Policies", Scope="Local")
    arn = next((policy["Arn"] for policy in local if policy["PolicyName"] == name), "")
    if not arn:
        return []
    found = []
    for kind in ("User", "Group", "Role"):
        key = f"Policy{kind}s"
        attached = _marked(iam, "ListEntitiesForPolicy", about, key, PolicyArn=arn, EntityFilter=kind)
        found += [
            f"the policy {name} is attached to the {kind.lower()} {each[f'{kind}Name']}"
            for each in attached
            if kind != "User" or each["UserName"] not in users
        ]
    return found


def of_launch_template(ec2: Api, scaling: Api, name: str) -> list[str]:
    """Of the launch template of that name: Auto Scaling groups other than the one that has its name."""
    try:
        said = ec2.call("DescribeLaunchTemplates", f"the launch template {name}", LaunchTemplateNames=[name])
    except RefusedError as error:
        if "NotFound" not in error.code:
            raise
        return []
    identifiers = {name, *(template["LaunchTemplateId"] for template in said["LaunchTemplates"])}
    return [
        f"the Auto Scaling group {group['AutoScalingGroupName']} launches from the launch template {name}"
        for group in _groups(scaling)
        if group["AutoScalingGroupName"] != name and any(identifiers & {*_names(each)} for each in _templates(group))
    ]


def of_alarms(watch: Api, sns: Api, topic: str, names: Collection[str], subscriptions: Collection[str]) -> list[str]:
    """Of the topic of that name and the alarms; `subscriptions` are the declared endpoints."""
    arns = [found["TopicArn"] for found in sns.pages("ListTopics", "the topics", "Topics")]
    arn = next((found for found in arns if found.endswith(f":{topic}")), "")
    found = []
    if arn:
        listed = sns.pages("ListSubscriptionsByTopic", f"the topic {topic}", "Subscriptions", TopicArn=arn)
        found += [
            f"{each['Protocol']}:{each['Endpoint']} is subscribed to the topic {topic}"
            for each in listed
            if each["Endpoint"] not in subscriptions
        ]
    for alarm in _all_alarms(watch):
        name = alarm["AlarmName"]
        actions = [action for key in ACTIONS for action in alarm.get(key, [])]
        if name in names:
            continue
        if arn in actions:
            found.append(f"the alarm {name} is sent to the topic {topic}")
        # A rule names alarms in quotes, as in ALARM("gateways-cpu").
        watched = [own for own in sorted(names) if f'"{own}"' in alarm.get("AlarmRule", "")]
        if watched:
            found.append(f"the composite alarm {name} is made of {', '.join(watched)}")
    return found


def of_queues(sqs: Api, sns: Api, names: Collection[str]) -> list[str]:
    """Of the queues of those names: their messages, and the topics that deliver to them."""
    arns: dict[str, str] = {}
    found = []
    for name in names:
        about, url = f"the queue {name}", queue_url(sqs, name)
        if not url:
            continue
        said = sqs.call("GetQueueAttributes", about, QueueUrl=url, AttributeNames=["QueueArn", *MESSAGES])["Attributes"]
        arns[said["QueueArn"]] = name
        count = sum(int(said.get(key, 0)) for key in MESSAGES)
        if count:
            found.append(f"the queue {name} has {count} messages")
    if arns:
        for each in sns.pages("ListSubscriptions", "the subscriptions", "Subscriptions"):
            if each["Endpoint"] in arns:
                found.append(
                    f"the subscription {each['SubscriptionArn']} delivers to the queue {arns[each['Endpoint']]}"
                )
    return found


def _of_profile(iam: Api, ec2: Api, scaling: Api, name: str) -> list[str]:
    about = f"the instance profile {name}"
    try:
        profile = iam.call("GetInstanceProfile", about, InstanceProfileName=name)["InstanceProfile"]
    except RefusedError as error:
        if error.code != "NoSuchEntity":
            raise
        return []
    running = [{"Name": "instance-state-name", "Values": RUNNING}]
    reservations = ec2.pages("DescribeInstances", about, "Reservations", Filters=running)
    instances = [
        instance["InstanceId"]
        for each in reservations
        for instance in each["Instances"]
        if instance.get("IamInstanceProfile", {}).get("Arn") == profile["Arn"]
    ]
    return [f"the instance {instance} has the instance profile {name}" for instance in sorted(instances)] + [
        f"the launch template {template} names the instance profile {name}"
        for template in _templates_with(ec2, scaling, profile)
    ]


def _templates_with(ec2: Api, scaling: Api, profile: Mapping[str, Any]) -> list[str]:
    """The launch templates with the instance profile in their latest or default version, or in one that a group has."""
    about, key = "the launch templates", "LaunchTemplateVersions"
    versions = list(ec2.pages("DescribeLaunchTemplateVersions", about, key, Versions=["$Latest", "$Default"], **MANY))
    used: dict[str, set[str]] = {}
    for group in _groups(scaling):
        for template in _templates(group):
            if template.get("Version", "").isdecimal():
                used.setdefault(template["LaunchTemplateId"], set()).add(template["Version"])
    for identifier, numbers in used.items():
        one = {"LaunchTemplateId": identifier, "Versions": sorted(numbers)}
        try:
            versions += ec2.pages("DescribeLaunchTemplateVersions", about, key, **one)
        except RefusedError as error:
            if "NotFound" not in error.code:
                raise
    named = {"Arn": profile["Arn"], "Name": profile["InstanceProfileName"]}
    found = set()
    for version in versions:
        own = version["LaunchTemplateData"].get("IamInstanceProfile", {})
        if any(own.get(by) == value for by, value in named.items()):
            found.add((version["LaunchTemplateName"], int(version["VersionNumber"])))
    return [f"{name} (version {number})" for name, number in sorted(found)]


def _groups(scaling: Api) -> Iterator[dict[str, Any]]:
    return scaling.pages("DescribeAutoScalingGroups", "the Auto Scaling groups", "AutoScalingGroups")


def _templates(group: Mapping[str, Any]) -> list[Mapping[str, str]]:
    """The launch templates of an Auto Scaling group, with those of its mixed instances policy."""
    mixed = group.get("MixedInstancesPolicy", {}).get("LaunchTemplate", {})
    found = [group.get("LaunchTemplate"), mixed.get("LaunchTemplateSpecification")]
    found += [override.get("LaunchTemplateSpecification") for override in mixed.get("Overrides", [])]
    return [each for each in found if each]


def _names(template: Mapping[str, str]) -> list[str]:
    return [template[key] for key in ("LaunchTemplateId", "LaunchTemplateName") if key in template]


def _all_alarms(watch: Api) -> list[Mapping[str, Any]]:
    kinds = {"AlarmTypes": ["MetricAlarm", "CompositeAlarm"]}
    found: list[Mapping[str, Any]] = []
    for key in ("MetricAlarms", "CompositeAlarms"):
        found += watch.pages("DescribeAlarms", "the alarms", key, **kinds)
    return found


def _marked(iam: Api, operation: str, about: str, key: str, **arguments: Any) -> list[Any]:
    """The items below the key, over all pages; IAM paginates in its own way."""
    found: list[Any] = []
    marker: dict[str, str] = {}
    while True:
        answer = iam.call(operation, about, **arguments, **marker)
        found += answer[key]
        if not answer.get("IsTruncated"):
            return found
        marker = {"Marker": answer["Marker"]}
