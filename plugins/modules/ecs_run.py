#!/usr/bin/python
# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ecs_run
short_description: Run a one-off task on Amazon ECS, such as a migration, and judge it by its exit codes
version_added: 0.3.0
author: Contributors to evenkeel.fleet (@evenkeel)
description:
  - Starts a task and waits for its end. Fails where an essential container does not exit with 0, or where the task does
    not start, with the exit codes, the reason and the last log lines.
  - A task that does not end in time is stopped.
  - A task of the same definition, O(started_by) and overrides that still runs is joined, so that a call that was
    interrupted can be repeated and starts nothing twice.
attributes:
  check_mode:
    description: Looks up the task definition and the service, and starts nothing.
    support: full
options:
  cluster:
    description: Name or ARN of the cluster.
    type: str
    default: default
  task_definition:
    description:
      - The task definition, as an ARN, as C(family:revision), or a family for its newest revision.
      - In check mode it may be empty, for a revision that M(evenkeel.fleet.ecs_task_definition) would register.
    type: str
    required: true
  service:
    description: A service of the cluster. The task gets its network, launch type and platform version.
    type: str
  definition:
    description:
      - Other parameters of RunTask, with AWS's names, such as C(overrides), C(networkConfiguration) and C(launchType).
      - They have precedence over those of O(service).
    type: dict
    default: {}
  started_by:
    description: By what a later call recognizes the task.
    type: str
    default: evenkeel-ecs-run
  log_lines:
    description: How many of the last log lines of each container are returned, from CloudWatch Logs.
    type: int
    default: 20
  wait_timeout:
    description: Seconds to wait for the end of the task.
    type: float
    default: 900
extends_documentation_fragment:
  - evenkeel.fleet.aws
notes:
  - The IAM actions needed are C(ecs:RunTask), C(ecs:StopTask), C(ecs:ListTasks), C(ecs:DescribeTasks),
    C(ecs:DescribeTaskDefinition), C(ecs:DescribeServices), C(logs:GetLogEvents), and C(iam:PassRole) on the roles of
    the task definition.
"""

EXAMPLES = r"""
- name: Migrate the database before the deployment
  evenkeel.fleet.ecs_run:
    cluster: production
    service: permissions
    task_definition: permissions
    definition:
      overrides:
        containerOverrides: [{name: api, command: [evenkeel-permissions, migrate]}]
    region: eu-central-1
  delegate_to: localhost
"""

RETURN = r"""
task:
  description: The ARN of the task.
  returned: always
  type: str
  sample: arn:aws:ecs:eu-central-1:123456789012:task/production/0123456789abcdef0123456789abcdef
joined:
  description: Whether it ran already.
  returned: always
  type: bool
containers:
  description: The containers of the task, with their exit codes.
  returned: always
  type: list
  elements: dict
  sample: [{name: api, exit_code: 0, reason: ""}]
stop_reason:
  description: Why the task stopped.
  returned: always
  type: str
  sample: Essential container in task exited
log:
  description: The last log lines of each container, without secrets.
  returned: always
  type: list
  elements: str
  sample: ["api: 3 migrations applied"]
progress:
  description: The states of the task, each with the seconds since the start.
  returned: always
  type: list
  elements: str
  sample: ["0.2 s: started 0123456789abcdef", "14.0 s: RUNNING", "31.0 s: STOPPED"]
seconds:
  description: How long the call took.
  returned: always
  type: float
"""

from collections.abc import Callable
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.evenkeel.fleet.plugins.module_utils._aws import client as aws
from ansible_collections.evenkeel.fleet.plugins.module_utils._aws.api import Api
from ansible_collections.evenkeel.fleet.plugins.module_utils._common.progress import OperationError
from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.container_logs import ContainerLogs
from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.run_task import DeclaredTask, OneOffTask, RunReport

ARGUMENTS: dict[str, dict[str, Any]] = {
    "cluster": {"type": "str", "default": "default"},
    "task_definition": {"type": "str", "required": True},
    "service": {"type": "str"},
    "definition": {"type": "dict", "default": {}},
    "started_by": {"type": "str", "default": "evenkeel-ecs-run"},
    "log_lines": {"type": "int", "default": 20},
    "wait_timeout": {"type": "float", "default": 900},
    **aws.ARGUMENTS,
}


def main(make: Callable[..., AnsibleModule] = AnsibleModule) -> None:
    module = aws.make_module(make, ARGUMENTS)
    report = RunReport(say=module.log, timeout=module.params["wait_timeout"])
    try:
        act(module, report)
    except OperationError as error:
        module.fail_json(msg=str(error), **report.result())
    module.exit_json(**report.result())


def act(module: AnsibleModule, report: RunReport) -> None:
    wanted = module.params
    declared = DeclaredTask(
        cluster=wanted["cluster"],
        task_definition=wanted["task_definition"],
        service=wanted["service"] or "",
        started_by=wanted["started_by"],
        definition=wanted["definition"],
    )
    ecs = Api(aws.client(module, "ecs"))
    logs = ContainerLogs(ecs, lambda region: Api(aws.client(module, "logs", region)))
    task = OneOffTask(ecs, logs, declared)
    task.start(report, check_mode=module.check_mode)
    if not module.check_mode:
        task.follow(report, wanted["log_lines"])


if __name__ == "__main__":
    main()
