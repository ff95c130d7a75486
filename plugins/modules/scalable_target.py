#!/usr/bin/python
# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: scalable_target
short_description: Manage the scaling of an Amazon ECS service by Application Auto Scaling
version_added: 0.3.0
author: Contributors to evenkeel.fleet (@evenkeel)
description:
  - Registers the scalable target of a service with its target-tracking policies, changes what differs, or removes it.
  - C(community.aws.application_autoscaling_policy) writes in check mode, does not change the capacities of an existing
    target by default, leaves the target when its policy is absent, and suspends nothing.
attributes:
  check_mode:
    description: Asks AWS and changes nothing; refuses what it would refuse.
    support: full
  diff_mode:
    description: Shows the declared settings and policies before and after.
    support: full
options:
  state:
    description:
      - V(present) registers or changes it.
      - V(absent) deletes all its policies, and then the target. The service keeps its number of tasks.
    type: str
    choices: [present, absent]
    default: present
  cluster:
    description: Name or ARN of the cluster.
    type: str
    required: true
  service:
    description: Name or ARN of the service.
    type: str
    required: true
  min_capacity:
    description: The least number of tasks. Needed for a new target; else it is left alone without the option.
    type: int
  max_capacity:
    description: The largest number of tasks. Needed for a new target; else it is left alone without the option.
    type: int
  suspended:
    description: What is suspended. A setting that is left out stays as it is.
    type: dict
    default: {}
    suboptions:
      dynamic_scaling_in:
        description: Whether policies remove no tasks.
        type: bool
      dynamic_scaling_out:
        description: Whether policies add no tasks.
        type: bool
      scheduled:
        description: Whether scheduled actions do nothing.
        type: bool
  policies:
    description:
      - Its target-tracking policies. Without the option, policies are left alone.
      - A policy that is no longer here is deleted if this module set it. Policies of others stay.
      - The tag C(evenkeel:policies) of the target records which ones were set.
    type: list
    elements: dict
    suboptions:
      name:
        description: The policy's name.
        type: str
        required: true
      metric:
        description:
          - The predefined metric, such as V(ECSServiceAverageCPUUtilization), V(ECSServiceAverageMemoryUtilization) or
            V(ALBRequestCountPerTarget).
        type: str
        required: true
      target_value:
        description: The value that the metric is kept near, such as percents or requests a minute.
        type: float
        required: true
      load_balancer_arn:
        description: ARN of the Application Load Balancer, for V(ALBRequestCountPerTarget).
        type: str
      target_group_arn:
        description: ARN of its target group, for V(ALBRequestCountPerTarget).
        type: str
      scale_in_cooldown:
        description: Seconds between two removals of tasks.
        type: int
        default: 300
      scale_out_cooldown:
        description: Seconds between two additions of tasks.
        type: int
        default: 300
      disable_scale_in:
        description: Whether this policy removes no tasks.
        type: bool
        default: false
notes:
  - The IAM actions needed are C(application-autoscaling:DescribeScalableTargets), C(RegisterScalableTarget), with
    O(policies) C(DescribeScalingPolicies), C(PutScalingPolicy), C(DeleteScalingPolicy), C(ListTagsForResource),
    C(TagResource) and C(UntagResource), and to remove it C(DeregisterScalableTarget). For the first target of an
    account, also C(iam:CreateServiceLinkedRole), C(ecs:DescribeServices) and C(ecs:UpdateService).
seealso:
  - module: evenkeel.fleet.ecs_task_definition
extends_documentation_fragment:
  - evenkeel.fleet.aws
"""

EXAMPLES = r"""
- name: Scale a service by its CPU utilization
  evenkeel.fleet.scalable_target:
    cluster: production
    service: permissions
    min_capacity: 2
    max_capacity: 10
    policies:
      - name: permissions-cpu
        metric: ECSServiceAverageCPUUtilization
        target_value: 60
        scale_in_cooldown: 120
    region: eu-central-1

- name: Suspend scaling in
  evenkeel.fleet.scalable_target:
    cluster: production
    service: permissions
    suspended: {dynamic_scaling_in: true}
"""

RETURN = r"""
scalable_target_arn:
  description: Its ARN; empty where there is none, and in check mode where there is none yet.
  returned: success
  type: str
  sample: arn:aws:application-autoscaling:eu-central-1:123456789012:scalable-target/0123456789abcdef
"""

from collections.abc import Callable
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.evenkeel.fleet.plugins.module_utils._aws import client
from ansible_collections.evenkeel.fleet.plugins.module_utils._aws.api import Api
from ansible_collections.evenkeel.fleet.plugins.module_utils._common.progress import OperationError
from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.scalable_target import (
    Outcome,
    Wanted,
    ensure,
    remove,
)

POLICY: dict[str, dict[str, Any]] = {
    "name": {"type": "str", "required": True},
    "metric": {"type": "str", "required": True},
    "target_value": {"type": "float", "required": True},
    "load_balancer_arn": {"type": "str"},
    "target_group_arn": {"type": "str"},
    "scale_in_cooldown": {"type": "int", "default": 300},
    "scale_out_cooldown": {"type": "int", "default": 300},
    "disable_scale_in": {"type": "bool", "default": False},
}
ARGUMENTS: dict[str, dict[str, Any]] = {
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "cluster": {"type": "str", "required": True},
    "service": {"type": "str", "required": True},
    "min_capacity": {"type": "int"},
    "max_capacity": {"type": "int"},
    "suspended": {
        "type": "dict",
        "default": {},
        "options": {
            "dynamic_scaling_in": {"type": "bool"},
            "dynamic_scaling_out": {"type": "bool"},
            "scheduled": {"type": "bool"},
        },
    },
    "policies": {"type": "list", "elements": "dict", "options": POLICY},
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
        scalable_target_arn=outcome.arn,
        diff={"before": outcome.before, "after": outcome.after},
    )


def act(module: AnsibleModule) -> Outcome:
    options = module.params
    as_it_is = ("cluster", "service", "min_capacity", "max_capacity", "policies")
    wanted = Wanted(
        **{key: options[key] for key in as_it_is},
        suspended={key: value for key, value in options["suspended"].items() if value is not None},
    )
    scaling = Api(client.client(module, "application-autoscaling"))
    if options["state"] == "absent":
        return remove(scaling, wanted, module.check_mode)
    return ensure(scaling, wanted, module.check_mode)


if __name__ == "__main__":
    main()
