#!/usr/bin/python
# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: asg_refresh_info
short_description: Get the launch templates of an Auto Scaling group's instances, and its instance refreshes
version_added: 0.2.0
author: Contributors to evenkeel.fleet (@evenkeel)
description:
  - Reads the instances of an Auto Scaling group, which of them are of a launch template and version, and its last
    instance refreshes.
options:
  group:
    description: The name of the Auto Scaling group.
    type: str
    required: true
    aliases: [group_name]
  launch_template:
    description: The launch template to compare the instances with. The default is the group's own.
    type: dict
    suboptions:
      id:
        description: Its id. One of O(launch_template.id) and O(launch_template.name) is needed.
        type: str
      name:
        description: Its name.
        type: str
      version:
        description: A number, V($Latest) or V($Default).
        type: str
        default: $Default
  last:
    description: How many refreshes to return, from the newest.
    type: int
    default: 5
extends_documentation_fragment:
  - evenkeel.fleet.aws
attributes:
  check_mode:
    description: Reads only.
    support: full
  diff_mode:
    description: Reads only.
    support: none
notes:
  - The IAM actions needed are C(autoscaling:DescribeAutoScalingGroups), C(autoscaling:DescribeInstanceRefreshes) and,
    for a launch template by name or without a number, C(ec2:DescribeLaunchTemplateVersions).
seealso:
  - module: evenkeel.fleet.asg_refresh
"""

EXAMPLES = r"""
- name: Get the instances that do not have the newest version
  evenkeel.fleet.asg_refresh_info:
    group: gateways
    launch_template: {name: gateways, version: $Latest}
    region: eu-central-1
  register: fleet
  delegate_to: localhost

- name: Show them
  ansible.builtin.debug:
    msg: "{{ fleet.instances | rejectattr('matches') | map(attribute='instance_id') }}"
"""

RETURN = r"""
launch_template:
  description: What the instances were compared with; none for a group with a launch configuration.
  returned: success
  type: dict
  contains:
    id: {description: Its id., type: str, returned: always}
    name: {description: Its name., type: str, returned: always}
    version: {description: Its version as a number., type: str, returned: always, sample: "7"}
instances:
  description: The instances of the group, without those that are leaving it.
  returned: success
  type: list
  elements: dict
  contains:
    instance_id: {description: Its id., type: str, returned: always, sample: i-0a1b2c3d4e5f60718}
    state: {description: Its lifecycle state., type: str, returned: always, sample: InService}
    health: {description: V(Healthy) or V(Unhealthy)., type: str, returned: always}
    protected: {description: Whether it is protected from scale-in., type: bool, returned: always}
    launch_template: {description: Its launch template., type: dict, returned: always}
    matches: {description: Whether it is of the wanted launch template and version., type: bool, returned: always}
active:
  description: The refresh that runs, like RV(refreshes); none if none does.
  returned: success
  type: dict
refreshes:
  description: The last instance refreshes, from the newest. AWS forgets them after six weeks.
  returned: success
  type: list
  elements: dict
  contains:
    id: {description: Its id., type: str, returned: always, sample: 08b91cf7-8fa6-48af-b6a6-d227f40f1b9b}
    status:
      description:
        - V(Pending), V(InProgress), V(Baking), V(Successful), V(Failed), V(Cancelling), V(Cancelled),
          V(RollbackInProgress), V(RollbackSuccessful) or V(RollbackFailed).
      type: str
      returned: always
      sample: Successful
    active: {description: Whether it has not ended., type: bool, returned: always}
    reason: {description: Why it has this status., type: str, returned: always}
    rollback_reason: {description: Why it is or was rolled back., type: str, returned: always}
    percentage_complete: {description: How much of the group is replaced., type: int, returned: always, sample: 40}
    instances_to_update: {description: How many are left., type: int, returned: always, sample: 3}
    started_at: {description: When it began., type: str, returned: always}
    ended_at: {description: When it ended., type: str, returned: always}
    launch_template: {description: Its launch template; none for the group's own., type: dict, returned: always}
    preferences: {description: Its preferences by their names in the API., type: dict, returned: always}
"""

from collections.abc import Callable

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.evenkeel.fleet.plugins.module_utils._aws import client as aws
from ansible_collections.evenkeel.fleet.plugins.module_utils._aws import groups
from ansible_collections.evenkeel.fleet.plugins.module_utils._aws.api import Api
from ansible_collections.evenkeel.fleet.plugins.module_utils._aws.refreshes import Refreshes
from ansible_collections.evenkeel.fleet.plugins.module_utils._common.progress import OperationError


def main(make: Callable[..., AnsibleModule] = AnsibleModule) -> None:
    arguments = {
        "group": {"type": "str", "required": True, "aliases": ["group_name"]},
        "launch_template": groups.ARGUMENT,
        "last": {"type": "int", "default": 5},
        **aws.ARGUMENTS,
    }
    module = aws.make_module(make, arguments)
    wanted = module.params
    try:
        api = Api(aws.client(module, "autoscaling"))
        group = groups.group(api, wanted["group"])
        target = groups.wanted(group, wanted["launch_template"], lambda: Api(aws.client(module, "ec2")))[1]
        refreshes = Refreshes(api, group.name).all()
    except OperationError as error:
        module.fail_json(msg=str(error))
    active = next((refresh for refresh in refreshes if refresh.active), None)
    module.exit_json(
        changed=False,
        launch_template=target.result() if target else None,
        instances=[groups.described(instance, target) for instance in group.instances],
        active=active.result() if active else None,
        refreshes=[refresh.result() for refresh in refreshes[: wanted["last"]]],
    )


if __name__ == "__main__":
    main()
