#!/usr/bin/python
# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ecs_logs_info
short_description: Get the last log lines of services on Amazon ECS
version_added: 0.3.0
author: Contributors to evenkeel.fleet (@evenkeel)
description:
  - Reads what the containers of all running tasks wrote to CloudWatch Logs, with the log driver C(awslogs).
  - With O(follow), shows new lines while they come, where RV(shown) is true.
attributes:
  check_mode:
    description: Changes nothing, with and without check mode.
    support: full
options:
  cluster:
    description: Name or ARN of the cluster.
    type: str
    default: default
  services:
    description: The names of the services.
    type: list
    elements: str
    required: true
  container:
    description: The name of the container; empty for all.
    type: str
    default: ""
  lines:
    description: How many of the last lines of each container.
    type: int
    default: 50
  follow:
    description: Seconds for which new lines are read.
    type: float
    default: 0
  until:
    description:
      - A regular expression. Stops at a line that matches it, and fails if none does within O(follow) seconds.
    type: str
    default: ""
extends_documentation_fragment:
  - evenkeel.fleet.aws
notes:
  - The IAM actions needed are C(ecs:DescribeServices), C(ecs:ListTasks), C(ecs:DescribeTasks),
    C(ecs:DescribeTaskDefinition) and C(logs:GetLogEvents).
"""

EXAMPLES = r"""
- name: Read the logs of the workers
  evenkeel.fleet.ecs_logs_info:
    cluster: production
    services: [permissions]
    container: worker
    region: eu-central-1
"""

RETURN = r"""
log:
  description: The lines by time, each with service, container and task. Secrets are hidden.
  returned: always
  type: list
  elements: str
  sample: ["permissions worker 01234567: audit worker starts"]
shown:
  description:
    - Whether the lines were shown as they came. It takes O(follow), a run on the controller, and the callback plugin
      P(evenkeel.fleet.rollout#callback).
  returned: success
  type: bool
"""

from collections.abc import Callable
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.evenkeel.fleet.plugins.module_utils._aws import client as aws
from ansible_collections.evenkeel.fleet.plugins.module_utils._aws.api import Api
from ansible_collections.evenkeel.fleet.plugins.module_utils._common.progress import OperationError, Progress
from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.container_logs import ContainerLogs
from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.service_deployments import ServiceDeployments
from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.service_logs import ServiceLogs

ARGUMENTS: dict[str, dict[str, Any]] = {
    "cluster": {"type": "str", "default": "default"},
    "services": {"type": "list", "elements": "str", "required": True},
    "container": {"type": "str", "default": ""},
    "lines": {"type": "int", "default": 50},
    "follow": {"type": "float", "default": 0},
    "until": {"type": "str", "default": ""},
    **aws.ARGUMENTS,
}


def main(make: Callable[..., AnsibleModule] = AnsibleModule) -> None:
    module = aws.make_module(make, ARGUMENTS)
    try:
        lines = read(module)
    except OperationError as error:
        module.fail_json(msg=str(error))
    shown = bool(module.params["follow"] or module.params["until"]) and getattr(module, "shows_log", False)
    module.exit_json(log=lines, shown=shown)


def read(module: AnsibleModule) -> list[str]:
    wanted = module.params
    ecs = Api(aws.client(module, "ecs"))
    clients: dict[str, Api] = {}

    def logs(region: str) -> Api:
        if region not in clients:
            clients[region] = Api(aws.client(module, "logs", region))
        return clients[region]

    services = [ServiceDeployments(ecs, wanted["cluster"], name) for name in wanted["services"]]
    found = ServiceLogs(ContainerLogs(ecs, logs), services, wanted["container"], wanted["lines"])
    if wanted["follow"] or wanted["until"]:
        lines = found.follow(Progress(say=module.log, timeout=wanted["follow"]), wanted["until"])
    else:
        lines = found.read()
    return [*found.notes, *lines]


if __name__ == "__main__":
    main()
