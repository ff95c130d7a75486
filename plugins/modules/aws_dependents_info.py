#!/usr/bin/python
# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: aws_dependents_info
short_description: Look up what else uses a role, a policy, a launch template, a topic, alarms or queues
version_added: 0.2.0
author: Contributors to evenkeel.fleet (@evenkeel)
description:
  - Returns what would break with the deletion of a role with its instance profile, of a managed policy, of a launch
    template, of alarms with their topic, or of queues. What does not exist has no dependents.
attributes:
  check_mode:
    description: Changes nothing.
    support: full
options:
  role:
    description: Name of a role and of its instance profile.
    type: str
  policies:
    description: Names of the inline policies that belong to O(role).
    type: list
    elements: str
    default: []
  managed_policy:
    description: Name of a managed policy of this account.
    type: str
  iam_users:
    description: Names of the IAM users that O(managed_policy) is for.
    type: list
    elements: str
    default: []
  launch_template:
    description: Name of a launch template. The Auto Scaling group of the same name is deleted with it.
    type: str
  topic:
    description: Name of an SNS topic.
    type: str
  alarms:
    description: Names of the alarms that are deleted with O(topic).
    type: list
    elements: str
    default: []
  subscriptions:
    description: Endpoints of the subscriptions that belong to O(topic).
    type: list
    elements: str
    default: []
  queues:
    description: Names of SQS queues. Messages in them, and topics that deliver to them, are reported.
    type: list
    elements: str
    version_added: 0.3.0
notes:
  - The IAM actions needed for O(role) are C(iam:ListInstanceProfilesForRole), C(ListAttachedRolePolicies),
    C(ListRolePolicies), C(GetInstanceProfile), C(ec2:DescribeInstances), C(ec2:DescribeLaunchTemplateVersions) and
    C(autoscaling:DescribeAutoScalingGroups), for O(managed_policy) C(iam:ListPolicies) and
    C(iam:ListEntitiesForPolicy), for O(launch_template) C(ec2:DescribeLaunchTemplates) and
    C(autoscaling:DescribeAutoScalingGroups), for O(topic) C(sns:ListTopics), C(sns:ListSubscriptionsByTopic) and
    C(cloudwatch:DescribeAlarms), and for O(queues) C(sqs:GetQueueUrl), C(sqs:GetQueueAttributes) and
    C(sns:ListSubscriptions).
extends_documentation_fragment:
  - evenkeel.fleet.aws
"""

EXAMPLES = r"""
- name: Look up who else uses the role
  evenkeel.fleet.aws_dependents_info:
    role: gateways
    policies: [gateways-host]
    region: eu-central-1
  register: found
"""

RETURN = r"""
dependents:
  description: What uses it, in words.
  returned: success
  type: list
  elements: str
  sample: [the instance i-0123456789abcdef0 has the instance profile gateways]
"""

from collections.abc import Callable
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.evenkeel.fleet.plugins.module_utils._aws import client, dependents
from ansible_collections.evenkeel.fleet.plugins.module_utils._aws.api import Api
from ansible_collections.evenkeel.fleet.plugins.module_utils._common.progress import OperationError

ARGUMENTS: dict[str, dict[str, Any]] = {
    "role": {"type": "str"},
    "policies": {"type": "list", "elements": "str", "default": []},
    "managed_policy": {"type": "str"},
    "iam_users": {"type": "list", "elements": "str", "default": []},
    "launch_template": {"type": "str"},
    "topic": {"type": "str"},
    "alarms": {"type": "list", "elements": "str", "default": []},
    "subscriptions": {"type": "list", "elements": "str", "default": []},
    "queues": {"type": "list", "elements": "str"},
    **client.ARGUMENTS,
}


def main(make: Callable[..., AnsibleModule] = AnsibleModule) -> None:
    module = client.make_module(
        make, ARGUMENTS, required_one_of=[("role", "managed_policy", "launch_template", "topic", "queues")]
    )
    try:
        found = act(module)
    except OperationError as error:
        module.fail_json(msg=str(error))
    module.exit_json(dependents=found)


def act(module: AnsibleModule) -> list[str]:
    wanted = module.params
    found = []
    if wanted["role"]:
        iam, ec2, scaling = (Api(client.client(module, service)) for service in ("iam", "ec2", "autoscaling"))
        found += dependents.of_role(iam, ec2, scaling, wanted["role"], wanted["policies"])
    if wanted["managed_policy"]:
        found += dependents.of_policy(Api(client.client(module, "iam")), wanted["managed_policy"], wanted["iam_users"])
    if wanted["launch_template"]:
        ec2, scaling = (Api(client.client(module, service)) for service in ("ec2", "autoscaling"))
        found += dependents.of_launch_template(ec2, scaling, wanted["launch_template"])
    if wanted["topic"]:
        watch, sns = (Api(client.client(module, service)) for service in ("cloudwatch", "sns"))
        found += dependents.of_alarms(watch, sns, wanted["topic"], wanted["alarms"], wanted["subscriptions"])
    if wanted["queues"]:
        sqs, sns = (Api(client.client(module, service)) for service in ("sqs", "sns"))
        found += dependents.of_queues(sqs, sns, wanted["queues"])
    return found


if __name__ == "__main__":
    main()
