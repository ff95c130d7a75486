#!/usr/bin/python
# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: purge_tags
short_description: Remove the tags that were declared before and no longer are
version_added: 0.2.0
author: Contributors to evenkeel.fleet (@evenkeel)
description:
  - Removes tags from a role, an instance profile, a topic or queues, if the tag C(evenkeel:tags) of the resource
    records their key and value and O(tags) has them no longer. Tags that another tool set or changed stay.
  - Run it before the module that sets the tags. That module gets them by the filter
    P(evenkeel.fleet.recorded_tags#filter), which adds C(evenkeel:tags), and with C(purge_tags=false), because it would
    remove the tags of others, too.
  - A resource that does not exist has no tags to remove.
attributes:
  check_mode:
    description: Asks AWS and changes nothing.
    support: full
  diff_mode:
    description: Shows the tags that are removed.
    support: full
options:
  role:
    description: Name of an IAM role.
    type: str
  instance_profile:
    description: Name of an instance profile.
    type: str
  topic:
    description: Name of an SNS topic.
    type: str
  queues:
    description: Names of SQS queues.
    type: list
    elements: str
    version_added: 0.3.0
  tags:
    description: The tags that are declared now.
    type: dict
    default: {}
notes:
  - The IAM actions needed are C(iam:ListRoleTags) and C(iam:UntagRole) for O(role), C(iam:GetInstanceProfile) and
    C(iam:UntagInstanceProfile) for O(instance_profile), C(sns:ListTopics), C(sns:ListTagsForResource) and
    C(sns:UntagResource) for O(topic), and C(sqs:GetQueueUrl), C(sqs:ListQueueTags) and C(sqs:UntagQueue) for O(queues).
extends_documentation_fragment:
  - evenkeel.fleet.aws
"""

EXAMPLES = r"""
- name: Remove obsolete tags from the role
  evenkeel.fleet.purge_tags:
    role: gateways
    tags: "{{ tags }}"

- name: Create the role
  amazon.aws.iam_role:
    name: gateways
    assume_role_policy_document: "{{ lookup('ansible.builtin.file', 'trust.json') }}"
    tags: "{{ tags | evenkeel.fleet.recorded_tags }}"
    purge_tags: false
"""

RETURN = r"""
removed:
  description: The tags that were removed, by resource.
  returned: success
  type: dict
  sample: {"the role gateways": {"team": "web"}}
"""

from collections.abc import Callable
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.evenkeel.fleet.plugins.module_utils._aws import client, purge
from ansible_collections.evenkeel.fleet.plugins.module_utils._aws.api import Api
from ansible_collections.evenkeel.fleet.plugins.module_utils._aws.pairs import texts
from ansible_collections.evenkeel.fleet.plugins.module_utils._common.progress import OperationError

ARGUMENTS: dict[str, dict[str, Any]] = {
    "role": {"type": "str"},
    "instance_profile": {"type": "str"},
    "topic": {"type": "str"},
    "queues": {"type": "list", "elements": "str"},
    "tags": {"type": "dict", "default": {}},
    **client.ARGUMENTS,
}


def main(make: Callable[..., AnsibleModule] = AnsibleModule) -> None:
    module = client.make_module(make, ARGUMENTS, required_one_of=[("role", "instance_profile", "topic", "queues")])
    try:
        removed = act(module)
    except OperationError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=bool(removed), removed=removed, diff={"before": removed, "after": {}})


def act(module: AnsibleModule) -> dict[str, dict[str, str]]:
    wanted = module.params
    resources: list[purge.Resource | None] = []
    if wanted["role"] or wanted["instance_profile"]:
        iam = Api(client.client(module, "iam"))
        resources += [purge.role(iam, wanted["role"])] if wanted["role"] else []
        resources += [purge.instance_profile(iam, wanted["instance_profile"])] if wanted["instance_profile"] else []
    if wanted["topic"]:
        resources += [purge.topic(Api(client.client(module, "sns")), wanted["topic"])]
    if wanted["queues"]:
        sqs = Api(client.client(module, "sqs"))
        resources += [purge.queue(sqs, name) for name in wanted["queues"]]
    removed = {each.about: each.purge(texts(wanted["tags"]), module.check_mode) for each in resources if each}
    return {about: tags for about, tags in removed.items() if tags}


if __name__ == "__main__":
    main()
