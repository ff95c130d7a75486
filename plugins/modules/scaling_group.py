#!/usr/bin/python
# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: scaling_group
short_description: Manage an Auto Scaling group with its lifecycle hooks, but not its instances
version_added: 0.2.0
author: Contributors to evenkeel.fleet (@evenkeel)
description:
  - Creates an Auto Scaling group of a launch template, changes what differs, or deletes it.
  - The hooks are created with the group, so that its first instances wait for them, too.
  - What is not given is left as it is, such as the capacity that a scaling policy chooses. Other hooks, tags and target
    groups stay.
  - It replaces no instance and waits for none.
  - C(amazon.aws.autoscaling_group) reports a change in check mode for every group that exists, creates groups without
    hooks, and has no option for the default instance warmup.
attributes:
  check_mode:
    description: Asks AWS and changes nothing; refuses what it would refuse.
    support: full
  diff_mode:
    description: Shows the declared settings before and after.
    support: full
options:
  state:
    description:
      - V(present) creates or changes the group.
      - V(absent) deletes it, unless instances are in it.
    type: str
    choices: [present, absent]
    default: present
  force:
    description: With O(state=absent), delete the group with its instances. They are terminated without a drain.
    type: bool
    default: false
  name:
    description: The group's name.
    type: str
    required: true
  launch_template:
    description: Name of the launch template. Needed to create it.
    type: str
  launch_template_version:
    description:
      - The version of it that new instances are of.
      - V(kept) begins a new group with the number of the newest version and leaves an existing group the number that
        it has; M(evenkeel.fleet.asg_refresh) changes it once all instances are replaced. A group that follows
        V($Latest) or V($Default) gets the number that this means now.
      - A number is set at once, for the instances that start from then on.
      - V($Latest) and V($Default) follow the launch template. Then a new version is launched by every scale-out before
        anybody has proved it, and AWS can't roll an instance refresh back.
    type: str
    default: kept
  subnets:
    description: The subnets of the instances. Needed to create it.
    type: list
    elements: str
  min_size:
    description: Minimum number of instances. Needed to create it.
    type: int
  max_size:
    description: Maximum number of instances. Needed to create it.
    type: int
  desired_capacity:
    description: Desired number of instances. Without it, a new group gets O(min_size), and another is left alone.
    type: int
  health_check_type:
    description:
      - V(ELB) also replaces instances that a load balancer finds unhealthy. It is refused for a group without a
        target group.
    type: str
    choices: [EC2, ELB]
  health_check_grace_period:
    description: Seconds after an instance came into service in which failed health checks do not count.
    type: int
  default_instance_warmup:
    description: Seconds until a new instance's metrics count, and until an instance refresh goes on.
    type: int
  capacity_rebalance:
    description: Replace spot instances that are at an elevated risk of interruption before they are interrupted.
    type: bool
  target_group_arns:
    description: ARNs of target groups to attach. Others stay attached.
    type: list
    elements: str
    default: []
  target_groups:
    description: Names of target groups to attach.
    type: list
    elements: str
    default: []
  hooks:
    description: Lifecycle hooks to create or change. Others stay.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The hook's name.
        type: str
        required: true
      transition:
        description: The lifecycle transition at which an instance waits for it.
        type: str
        choices: [launching, terminating]
        required: true
      heartbeat_timeout:
        description: Seconds that the instance waits, 30 to 7200. A heartbeat restarts this time.
        type: int
        default: 3600
      default_result:
        description: The result of the lifecycle action when the time is over.
        type: str
        choices: [ABANDON, CONTINUE]
        default: ABANDON
  tags:
    description:
      - Tags of the group and its new instances. Without the option, tags are left alone.
      - A tag that is no longer here is removed from the group if its value is still the one that this module set.
        Tags of others stay. Instances that run already keep theirs.
      - The tag C(evenkeel:tags) of the group records what was set.
    type: dict
notes:
  - The IAM actions needed are C(autoscaling:DescribeAutoScalingGroups), C(DescribeLifecycleHooks),
    C(CreateAutoScalingGroup), C(UpdateAutoScalingGroup), C(PutLifecycleHook), C(CreateOrUpdateTags), C(DeleteTags) and
    C(AttachLoadBalancerTargetGroups), with O(target_groups) C(elasticloadbalancing:DescribeTargetGroups), with
    O(launch_template) C(ec2:DescribeLaunchTemplateVersions), C(ec2:RunInstances), C(ec2:CreateTags) and
    C(iam:PassRole) for what the launch template names, and to delete it C(autoscaling:DeleteAutoScalingGroup).
extends_documentation_fragment:
  - evenkeel.fleet.aws
"""

EXAMPLES = r"""
- name: Create a group whose instances bootstrap themselves and drain before they are terminated
  evenkeel.fleet.scaling_group:
    name: gateways
    launch_template: gateways
    subnets: [subnet-0123456789abcdef0, subnet-0fedcba9876543210]
    min_size: 2
    max_size: 6
    health_check_type: ELB
    health_check_grace_period: 60
    default_instance_warmup: 60
    target_groups: [gateways]
    hooks:
      - {name: gateways-launching, transition: launching, heartbeat_timeout: 1200}
      - {name: gateways-terminating, transition: terminating, heartbeat_timeout: 300, default_result: CONTINUE}
    region: eu-central-1

- name: Scale a group in, and leave its other settings alone
  evenkeel.fleet.scaling_group:
    name: gateways-blue
    min_size: 0
    desired_capacity: 0

- name: Delete a group that has no instances
  evenkeel.fleet.scaling_group:
    name: gateways
    state: absent
"""

RETURN = r"""
name:
  description: The group's name.
  returned: success
  type: str
  sample: gateways
launch_template_version:
  description: The version of which its new instances are; empty where O(launch_template) is not given.
  returned: success
  type: str
  sample: "7"
"""

from collections.abc import Callable
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.evenkeel.fleet.plugins.module_utils._aws import client
from ansible_collections.evenkeel.fleet.plugins.module_utils._aws.api import Api
from ansible_collections.evenkeel.fleet.plugins.module_utils._aws.scaling_group import (
    KEPT,
    SETTINGS,
    Hook,
    Outcome,
    Wanted,
    ensure,
    remove,
    target_groups,
)
from ansible_collections.evenkeel.fleet.plugins.module_utils._common.progress import OperationError

HOOK: dict[str, dict[str, Any]] = {
    "name": {"type": "str", "required": True},
    "transition": {"type": "str", "choices": ["launching", "terminating"], "required": True},
    "heartbeat_timeout": {"type": "int", "default": 3600},
    "default_result": {"type": "str", "choices": ["ABANDON", "CONTINUE"], "default": "ABANDON"},
}
ARGUMENTS: dict[str, dict[str, Any]] = {
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "force": {"type": "bool", "default": False},
    "name": {"type": "str", "required": True},
    "launch_template": {"type": "str"},
    "launch_template_version": {"type": "str", "default": KEPT},
    "subnets": {"type": "list", "elements": "str"},
    "min_size": {"type": "int"},
    "max_size": {"type": "int"},
    "desired_capacity": {"type": "int"},
    "health_check_type": {"type": "str", "choices": ["EC2", "ELB"]},
    "health_check_grace_period": {"type": "int"},
    "default_instance_warmup": {"type": "int"},
    "capacity_rebalance": {"type": "bool"},
    "target_group_arns": {"type": "list", "elements": "str", "default": []},
    "target_groups": {"type": "list", "elements": "str", "default": []},
    "hooks": {"type": "list", "elements": "dict", "default": [], "options": HOOK},
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
        name=module.params["name"],
        launch_template_version=outcome.after.get("launch_template", {}).get("version", ""),
        diff={"before": outcome.before, "after": outcome.after},
    )


def act(module: AnsibleModule) -> Outcome:
    wanted = module.params
    scaling = Api(client.client(module, "autoscaling"))
    if wanted["state"] == "absent":
        return remove(scaling, wanted["name"], wanted["force"], module.check_mode)
    names = wanted["target_groups"]
    named = target_groups(Api(client.client(module, "elbv2")), names) if names else []
    declared = Wanted(
        **{key: wanted[key] for key in ("name", "launch_template", "subnets")},
        target_group_arns=list(dict.fromkeys([*wanted["target_group_arns"], *named])),
        version=wanted["launch_template_version"],
        settings={key: wanted[key] for key in SETTINGS if wanted[key] is not None},
        hooks={hook["name"]: Hook(**{key: hook[key] for key in hook if key != "name"}) for hook in wanted["hooks"]},
        tags=None if wanted["tags"] is None else {str(key): str(value) for key, value in wanted["tags"].items()},
    )
    return ensure(scaling, lambda: Api(client.client(module, "ec2")), declared, module.check_mode)


if __name__ == "__main__":
    main()
