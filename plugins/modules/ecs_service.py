#!/usr/bin/python
# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ecs_service
short_description: Create, change or delete a service on Amazon ECS
version_added: 0.3.0
author: Contributors to evenkeel.fleet (@evenkeel)
description:
  - Creates a service, and changes what differs of all that is declared. What is not declared stays as it is.
  - The settings in O(definition) have AWS's own names, so that a new one of the API can be used at once.
  - A setting that AWS can't change of an existing service is refused before anything changes.
  - It does not wait for the deployment that a change starts. M(evenkeel.fleet.ecs_deploy) with the same task definition
    follows it.
attributes:
  check_mode:
    description: Looks up the service and changes nothing; refuses what it would refuse.
    support: full
  diff_mode:
    description: Shows the declared settings before and after.
    support: full
options:
  state:
    description: V(absent) deletes the service with its tasks, and waits until it is C(INACTIVE).
    type: str
    choices: [present, absent]
    default: present
  cluster:
    description: Name or ARN of the cluster.
    type: str
    default: default
  name:
    description: Name of the service.
    type: str
    required: true
    aliases: [service]
  task_definition:
    description:
      - The task definition, as an ARN, as C(family:revision), or a family for its newest revision.
      - Needed to create the service. In check mode it may be empty, for a revision that
        M(evenkeel.fleet.ecs_task_definition) would register.
    type: str
  keep_task_definition:
    description: Leave the task definition of an existing service to M(evenkeel.fleet.ecs_deploy).
    type: bool
    default: false
  desired_count:
    description:
      - How many tasks are to run.
      - Where Application Auto Scaling has a scalable target of the service, it sets the count of an existing service.
      - Without it, AWS creates the service with one task, and the count of an existing one stays.
    type: int
  definition:
    description:
      - All other parameters of CreateService, with AWS's names, such as C(launchType), C(networkConfiguration),
        C(deploymentConfiguration), C(loadBalancers), C(healthCheckGracePeriodSeconds), C(enableExecuteCommand) and
        C(availabilityZoneRebalancing).
      - Below a declared setting, what is not declared stays as it is. A list is compared as a whole, in any order.
    type: dict
    default: {}
  tags:
    description:
      - Tags of the service. A tag that this module set and that is no longer declared is removed; tags of others stay.
      - Without it, all tags stay as they are.
    type: dict
  wait_timeout:
    description: With O(state=absent), seconds to wait until the service is C(INACTIVE). V(0) does not wait.
    type: float
    default: 600
extends_documentation_fragment:
  - evenkeel.fleet.aws
notes:
  - The IAM actions needed are C(ecs:DescribeServices), C(ecs:DescribeTaskDefinition), C(ecs:CreateService),
    C(ecs:UpdateService), C(ecs:DeleteService), C(ecs:TagResource), C(ecs:UntagResource),
    C(application-autoscaling:DescribeScalableTargets), and C(iam:PassRole) on the roles of the task definition.
seealso:
  - module: evenkeel.fleet.ecs_deploy
"""

EXAMPLES = r"""
- name: Create the service, or change what differs
  evenkeel.fleet.ecs_service:
    cluster: production
    name: permissions
    task_definition: permissions
    keep_task_definition: true
    desired_count: 2
    definition:
      launchType: FARGATE
      networkConfiguration:
        awsvpcConfiguration:
          subnets: [subnet-0123456789abcdef0, subnet-0123456789abcdef1]
          securityGroups: [sg-0123456789abcdef0]
          assignPublicIp: DISABLED
      deploymentConfiguration:
        minimumHealthyPercent: 100
        maximumPercent: 200
        deploymentCircuitBreaker: {enable: true, rollback: true}
      loadBalancers:
        - targetGroupArn: "{{ target_group.target_group_arn }}"
          containerName: api
          containerPort: 8080
      healthCheckGracePeriodSeconds: 30
    tags: {team: platform}
    region: eu-central-1
  delegate_to: localhost
"""

RETURN = r"""
service_arn:
  description: The ARN of the service; empty where it does not exist.
  returned: always
  type: str
  sample: arn:aws:ecs:eu-central-1:123456789012:service/production/permissions
differences:
  description: The settings of an existing service that differ from the declared ones.
  returned: always
  type: list
  elements: str
  sample: [deploymentConfiguration.maximumPercent, networkConfiguration.awsvpcConfiguration.subnets]
scaled_by_target:
  description: Whether O(desired_count) differs and was left to Application Auto Scaling.
  returned: always
  type: bool
"""

from collections.abc import Callable
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.evenkeel.fleet.plugins.module_utils._aws import client as aws
from ansible_collections.evenkeel.fleet.plugins.module_utils._aws.api import Api
from ansible_collections.evenkeel.fleet.plugins.module_utils._aws.pairs import texts
from ansible_collections.evenkeel.fleet.plugins.module_utils._common.progress import OperationError
from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.services import (
    DeclaredService,
    ServiceReport,
    Services,
)

ARGUMENTS: dict[str, dict[str, Any]] = {
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "cluster": {"type": "str", "default": "default"},
    "name": {"type": "str", "required": True, "aliases": ["service"]},
    "task_definition": {"type": "str"},
    "keep_task_definition": {"type": "bool", "default": False},
    "desired_count": {"type": "int"},
    "definition": {"type": "dict", "default": {}},
    "tags": {"type": "dict"},
    "wait_timeout": {"type": "float", "default": 600},
    **aws.ARGUMENTS,
}


def main(make: Callable[..., AnsibleModule] = AnsibleModule) -> None:
    module = aws.make_module(make, ARGUMENTS)
    report = ServiceReport(say=module.log, timeout=module.params["wait_timeout"])
    try:
        act(module, report)
    except OperationError as error:
        module.fail_json(msg=str(error), **report.result())
    module.exit_json(**report.result())


def act(module: AnsibleModule, report: ServiceReport) -> None:
    wanted = module.params
    client = aws.client(module, "ecs")

    def parameters(operation: str) -> list[str]:
        return list(client.meta.service_model.operation_model(operation).input_shape.members)

    services = Services(Api(client), lambda: Api(aws.client(module, "application-autoscaling")), parameters)
    declared = DeclaredService(
        name=wanted["name"],
        cluster=wanted["cluster"],
        task_definition=wanted["task_definition"] or "",
        keep_task_definition=wanted["keep_task_definition"],
        desired_count=wanted["desired_count"],
        definition=wanted["definition"],
        tags=None if wanted["tags"] is None else texts(wanted["tags"]),
    )
    step = services.ensure if wanted["state"] == "present" else services.remove
    step(declared, report, check_mode=module.check_mode)


if __name__ == "__main__":
    main()
