#!/usr/bin/python
# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ecs_service_info
short_description: Get the state of a service on Amazon ECS
version_added: 0.3.0
author: Contributors to evenkeel.fleet (@evenkeel)
description:
  - Returns the counts of tasks, the newest deployment, the last revision whose deployment succeeded, and the tasks that
    stopped in the last hour with their reasons.
  - With O(definition), returns what differs from it.
attributes:
  check_mode:
    description: Changes nothing.
    support: full
options:
  cluster:
    description: Name or ARN of the cluster.
    type: str
    default: default
  name:
    description: Name of the service.
    type: str
    required: true
    aliases: [service]
  definition:
    description: The declaration to compare with, as for M(evenkeel.fleet.ecs_service).
    type: dict
    default: {}
extends_documentation_fragment:
  - evenkeel.fleet.aws
notes:
  - The IAM actions needed are C(ecs:DescribeServices), C(ecs:DescribeTaskDefinition), C(ecs:ListServiceDeployments),
    C(ecs:DescribeServiceDeployments), C(ecs:DescribeServiceRevisions), C(ecs:ListTasks) and C(ecs:DescribeTasks).
seealso:
  - module: evenkeel.fleet.ecs_service
  - module: evenkeel.fleet.ecs_deploy
"""

EXAMPLES = r"""
- name: Get the state of the service
  evenkeel.fleet.ecs_service_info:
    cluster: production
    name: permissions
    region: eu-central-1
  register: found
  delegate_to: localhost

- name: Go back to the last revision that worked
  evenkeel.fleet.ecs_deploy:
    cluster: production
    service: permissions
    task_definition: "{{ found.way_back }}"
    region: eu-central-1
  delegate_to: localhost
"""

RETURN = r"""
exists:
  description: Whether the service exists and is not being deleted. Where it does not, the rest is empty.
  returned: always
  type: bool
desired:
  description: How many tasks are to run.
  returned: always
  type: int
running:
  description: How many tasks run.
  returned: always
  type: int
pending:
  description: How many tasks start.
  returned: always
  type: int
task_definition:
  description: The ARN of the task definition of the service.
  returned: always
  type: str
  sample: arn:aws:ecs:eu-central-1:123456789012:task-definition/permissions:42
deployment:
  description: The newest deployment, as M(evenkeel.fleet.ecs_deploy) returns it.
  returned: always
  type: dict
last_good:
  description:
    - The ARN of the newest task definition, other than that of the newest deployment, whose deployment succeeded.
    - Empty where there is none.
  returned: always
  type: str
  sample: arn:aws:ecs:eu-central-1:123456789012:task-definition/permissions:41
way_back:
  description:
    - The ARN of the task definition that a rollback goes to. It is the newest one in place that is older than the
      newest one that was deployed, so that it stays the same after the rollback. Empty where there is none.
  returned: always
  type: str
tasks:
  description:
    - The tasks that run or start, each with its containers. C(exec_agent) is the state of the agent of ECS Exec.
  returned: always
  type: list
  elements: dict
  sample:
    - task: arn:aws:ecs:eu-central-1:123456789012:task/production/0123456789abcdef0123456789abcdef
      task_definition: arn:aws:ecs:eu-central-1:123456789012:task-definition/permissions:42
      status: RUNNING
      health: HEALTHY
      containers: [{name: api, status: RUNNING, health: HEALTHY, exit_code: null, reason: "", exec_agent: RUNNING}]
stopped_tasks:
  description: The tasks that failed in the last hour, which is how long AWS keeps them.
  returned: always
  type: list
  elements: dict
differences:
  description: The settings that differ from O(definition).
  returned: always
  type: list
  elements: str
  sample: [deploymentConfiguration.maximumPercent]
exec_enabled:
  description: Whether the service starts its tasks with ECS Exec.
  returned: always
  type: bool
events:
  description: The newest events of the service, from the newest.
  returned: always
  type: list
  elements: str
"""

from collections.abc import Callable
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.evenkeel.fleet.plugins.module_utils._aws import client as aws
from ansible_collections.evenkeel.fleet.plugins.module_utils._aws.api import Api
from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.service_deployments import ServiceDeployments
from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.service_state import state_of

ARGUMENTS: dict[str, dict[str, Any]] = {
    "cluster": {"type": "str", "default": "default"},
    "name": {"type": "str", "required": True, "aliases": ["service"]},
    "definition": {"type": "dict", "default": {}},
    **aws.ARGUMENTS,
}


def main(make: Callable[..., AnsibleModule] = AnsibleModule) -> None:
    aws.run(make, ARGUMENTS, look)


def look(module: AnsibleModule) -> dict[str, Any]:
    wanted = module.params
    deployments = ServiceDeployments(Api(aws.client(module, "ecs")), wanted["cluster"], wanted["name"])
    return state_of(deployments, wanted["definition"])


if __name__ == "__main__":
    main()
