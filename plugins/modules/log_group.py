#!/usr/bin/python
# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: log_group
short_description: Manage a log group of Amazon CloudWatch Logs
version_added: 0.3.0
author: Contributors to evenkeel.fleet (@evenkeel)
description:
  - Creates a log group, changes what differs, or deletes it. An existing group and its logs are never deleted to change
    a setting.
  - C(amazon.aws.cloudwatchlogs_log_group) deletes an existing group with its logs where it does not know a retention
    that AWS takes, such as 1096 days, and writes the retention in check mode.
attributes:
  check_mode:
    description: Asks AWS and changes nothing. Whether AWS takes the retention, only the run itself can tell.
    support: full
  diff_mode:
    description: Shows the declared settings before and after.
    support: full
options:
  state:
    description:
      - V(present) creates or changes it.
      - V(absent) deletes it with its logs.
    type: str
    choices: [present, absent]
    default: present
  name:
    description: The log group's name.
    type: str
    required: true
  retention:
    description:
      - Days after which logs expire, any number that AWS takes, or V(never).
      - Without it, the retention is left alone. A new group keeps its logs for ever.
    type: str
  kms_key:
    description:
      - ARN of the KMS key that encrypts new logs; empty for the encryption of CloudWatch Logs.
      - Without it, the key is left alone.
    type: str
  log_class:
    description: Its class, such as C(STANDARD) or C(INFREQUENT_ACCESS). AWS can't change it later.
    type: str
  tags:
    description:
      - Its tags. Without the option, tags are left alone.
      - A tag that is no longer here is removed if its value is still the one that this module set. Tags of others stay.
      - The tag C(evenkeel:tags) records what was set.
    type: dict
notes:
  - The IAM actions needed are C(logs:DescribeLogGroups), C(CreateLogGroup), C(PutRetentionPolicy),
    C(DeleteRetentionPolicy), with O(kms_key) C(AssociateKmsKey) and C(DisassociateKmsKey), with O(tags)
    C(ListTagsForResource), C(TagResource) and C(UntagResource), and to delete it C(DeleteLogGroup).
seealso:
  - module: evenkeel.fleet.ecs_task_definition
extends_documentation_fragment:
  - evenkeel.fleet.aws
"""

EXAMPLES = r"""
- name: Keep the logs of a service for three years
  evenkeel.fleet.log_group:
    name: /ecs/permissions
    retention: 1096
    tags: {team: identity}
    region: eu-central-1

- name: Keep audit logs for ever
  evenkeel.fleet.log_group:
    name: /ecs/permissions-audit
    retention: never
    log_class: INFREQUENT_ACCESS
"""

RETURN = r"""
log_group_arn:
  description: Its ARN; empty where there is none, and in check mode where there is none yet.
  returned: success
  type: str
  sample: arn:aws:logs:eu-central-1:123456789012:log-group:/ecs/permissions
"""

from collections.abc import Callable
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.evenkeel.fleet.plugins.module_utils._aws import client
from ansible_collections.evenkeel.fleet.plugins.module_utils._aws.api import Api
from ansible_collections.evenkeel.fleet.plugins.module_utils._aws.log_group import Outcome, Wanted, days, ensure, remove
from ansible_collections.evenkeel.fleet.plugins.module_utils._aws.pairs import texts
from ansible_collections.evenkeel.fleet.plugins.module_utils._common.progress import OperationError

ARGUMENTS: dict[str, dict[str, Any]] = {
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "name": {"type": "str", "required": True},
    "retention": {"type": "str"},
    # An ARN, which is no secret.
    "kms_key": {"type": "str", "no_log": False},
    "log_class": {"type": "str"},
    "tags": {"type": "dict"},
    **client.ARGUMENTS,
}


def main(make: Callable[..., AnsibleModule] = AnsibleModule) -> None:
    module = client.make_module(make, ARGUMENTS)
    try:
        outcome = act(module)
    except OperationError as error:
        module.fail_json(msg=str(error))
    module.exit_json(
        changed=outcome.changed,
        log_group_arn=outcome.arn,
        diff={"before": outcome.before, "after": outcome.after},
    )


def act(module: AnsibleModule) -> Outcome:
    options = module.params
    wanted = Wanted(
        name=options["name"],
        retention=days(options["retention"]),
        kms_key=options["kms_key"],
        log_class=options["log_class"],
        tags=None if options["tags"] is None else texts(options["tags"]),
    )
    logs = Api(client.client(module, "logs"))
    if options["state"] == "absent":
        return remove(logs, wanted.name, module.check_mode)
    return ensure(logs, wanted, module.check_mode)


if __name__ == "__main__":
    main()
