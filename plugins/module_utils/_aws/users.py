# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who else uses what is to be deleted: a role with its instance profile, a topic, alarms. Each as words."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from .api import Api, RefusedError

ACTIONS = ("AlarmActions", "OKActions", "InsufficientDataActions")
RUNNING = ["pending", "running", "stopping", "stopped"]


def of_role(iam: Api, ec2: Api, name: str, policies: Collection[str]) -> list[str]:
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
    return found + _of_profile(iam, ec2, name)


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


def _of_profile(iam: Api, ec2: Api, name: str) -> list[str]:
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
    return [f"the instance {instance} has the instance profile {name}" for instance in sorted(instances)]


def _all_alarms(watch: Api) -> list[Mapping[str, Any]]:
    kinds = {"AlarmTypes": ["MetricAlarm", "CompositeAlarm"]}
    found: list[Mapping[str, Any]] = []
    for key in ("MetricAlarms", "CompositeAlarms"):
        found += watch.pages("DescribeAlarms", "the alarms", key, **kinds)
    return found


def _marked(iam: Api, operation: str, about: str, key: str, **arguments: Any) -> list[Any]:
    """What is below the key, over all pages; IAM has its own way to turn them."""
    found: list[Any] = []
    marker: dict[str, str] = {}
    while True:
        answer = iam.call(operation, about, **arguments, **marker)
        found += answer[key]
        if not answer.get("IsTruncated"):
            return found
        marker = {"Marker": answer["Marker"]}
