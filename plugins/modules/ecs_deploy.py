#!/usr/bin/python
# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ecs_deploy
short_description: Deploy a task definition to a service on Amazon ECS, and follow the deployment to its end
version_added: 0.3.0
author: Contributors to evenkeel.fleet (@evenkeel)
description:
  - Starts a deployment of a service, or joins the one that already brings the same task definition, so that a call that
    was interrupted can be repeated.
  - Follows the service deployment by its ARN. Reports the counts of tasks, the lifecycle stage, the weight of the
    requests and the events of the service.
  - Fails as soon as O(fail_after) tasks of the new revision have failed, with the reason, the exit codes and the last
    log lines. It does not wait for the circuit breaker or the timeout.
  - Goes back to the last revision whose deployment succeeded, which need not be the one before.
  - A deployment that the circuit breaker or an alarm rolled back fails the call, and so does one that a newer
    deployment superseded.
  - Where the service has the task definition already and its deployment is complete, nothing is called that writes.
attributes:
  check_mode:
    description: Looks up the service and the task definition, and starts nothing.
    support: full
  diff_mode:
    description: Shows the task definition before and after.
    support: full
options:
  cluster:
    description: Name or ARN of the cluster.
    type: str
    default: default
  service:
    description: Name of the service. It must exist, with the deployment controller V(ECS).
    type: str
    required: true
  task_definition:
    description:
      - The task definition to deploy, as an ARN, as C(family:revision), or a family for its newest revision.
      - In check mode it may be empty, for a revision that M(evenkeel.fleet.ecs_task_definition) would register.
    type: str
    required: true
  force:
    description: Deploy also where the service has this task definition already, which starts its tasks again.
    type: bool
    default: false
  fail_after:
    description:
      - How many failed tasks of the new revision end the deployment.
      - V(0) leaves that to the circuit breaker and the alarms of the service.
    type: int
    default: 2
  on_failure:
    description:
      - V(rollback) goes back to the last revision whose deployment succeeded, and waits for it.
      - V(leave) leaves the service as it is then.
      - A rollback by AWS, by the circuit breaker or an alarm, is a setting of the service and happens in either case.
    type: str
    choices: [rollback, leave]
    default: rollback
  log_lines:
    description: How many of the last log lines of a failed container are shown, from CloudWatch Logs.
    type: int
    default: 20
  wait:
    description: Follow the deployment to its end. Without it, a failed deployment is not noticed.
    type: bool
    default: true
  wait_timeout:
    description: Seconds to wait for the end of the deployment, and again for the end of a rollback.
    type: float
    default: 1800
extends_documentation_fragment:
  - evenkeel.fleet.aws
notes:
  - The IAM actions needed are C(ecs:DescribeServices), C(ecs:DescribeTaskDefinition), C(ecs:ListServiceDeployments),
    C(ecs:DescribeServiceDeployments), C(ecs:DescribeServiceRevisions), C(ecs:ListTasks), C(ecs:DescribeTasks),
    C(ecs:UpdateService), C(ecs:StopServiceDeployment), C(logs:GetLogEvents), and C(iam:PassRole) on the roles of the
    task definition.
  - The desired count is never sent, so that it stays with Application Auto Scaling.
"""

EXAMPLES = r"""
- name: Deploy the newest revision, and go back if it fails
  evenkeel.fleet.ecs_deploy:
    cluster: production
    service: permissions
    task_definition: permissions
    region: eu-central-1
  delegate_to: localhost

- name: Start the tasks again, with the image that the tag has now
  evenkeel.fleet.ecs_deploy:
    cluster: production
    service: permissions
    task_definition: permissions:42
    force: true
  delegate_to: localhost
"""

RETURN = r"""
outcome:
  description:
    - What became of the deployment. V(unchanged) means that there was nothing to deploy.
    - Empty in check mode, and where O(wait=false).
  returned: always
  type: str
  sample: succeeded
joined:
  description: Whether a deployment to the same task definition ran already.
  returned: always
  type: bool
task_definition:
  description: The ARN of the task definition that was deployed, or of the one that runs after a rollback.
  returned: always
  type: str
  sample: arn:aws:ecs:eu-central-1:123456789012:task-definition/permissions:42
deployment:
  description: The service deployment, as it was last seen.
  returned: always
  type: dict
  sample:
    arn: arn:aws:ecs:eu-central-1:123456789012:service-deployment/production/permissions/NCWGC2ZR-taawPAYrIaU5
    status: SUCCESSFUL
    reason: ""
    lifecycle_stage: CLEAN_UP
    created_at: "2026-01-01T10:00:00+00:00"
    running: 2
    requested: 2
    circuit_breaker: MONITORING_COMPLETE
    triggered_alarms: []
rolled_back_to:
  description: The ARN of the task definition that runs again, or empty.
  returned: always
  type: str
failures:
  description: The failed tasks of the new revision, each with its reason, its containers and their last log lines.
  returned: always
  type: list
  elements: dict
  sample:
    - task: arn:aws:ecs:eu-central-1:123456789012:task/production/0123456789abcdef0123456789abcdef
      stop_code: EssentialContainerExited
      reason: Essential container in task exited
      containers: [{name: api, exit_code: 1, reason: ""}]
      log: ["api: EPR_DATABASE_URL is not set"]
events:
  description: The events of the service since the deployment began, from the oldest.
  returned: always
  type: list
  elements: str
progress:
  description: What was seen while waiting, each line with the seconds since the start.
  returned: always
  type: list
  elements: str
  sample: ["0.4 s: PENDING: 0 of 2 tasks running", "31.0 s: SUCCESSFUL: 2 of 2 tasks running"]
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
from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.deploy import Deploy, DeployReport, DeployWish
from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.service_deployments import ServiceDeployments

ARGUMENTS: dict[str, dict[str, Any]] = {
    "cluster": {"type": "str", "default": "default"},
    "service": {"type": "str", "required": True},
    "task_definition": {"type": "str", "required": True},
    "force": {"type": "bool", "default": False},
    "fail_after": {"type": "int", "default": 2},
    "on_failure": {"type": "str", "choices": ["rollback", "leave"], "default": "rollback"},
    "log_lines": {"type": "int", "default": 20},
    "wait": {"type": "bool", "default": True},
    "wait_timeout": {"type": "float", "default": 1800},
    **aws.ARGUMENTS,
}


def main(make: Callable[..., AnsibleModule] = AnsibleModule) -> None:
    module = aws.make_module(make, ARGUMENTS)
    report = DeployReport(say=module.log, timeout=module.params["wait_timeout"])
    failure = ""
    try:
        act(module, report)
    except OperationError as error:
        failure = str(error)
    for warning in report.warnings:
        module.warn(warning)
    if failure:
        module.fail_json(msg=failure, **report.result())
    module.exit_json(**report.result())


def act(module: AnsibleModule, report: DeployReport) -> None:
    wanted = module.params
    wish = DeployWish(
        task_definition=wanted["task_definition"],
        force=wanted["force"],
        fail_after=wanted["fail_after"],
        roll_back=wanted["on_failure"] == "rollback",
        log_lines=wanted["log_lines"],
    )
    ecs = Api(aws.client(module, "ecs"))
    logs = ContainerLogs(ecs, lambda region: Api(aws.client(module, "logs", region)))
    deploy = Deploy(ServiceDeployments(ecs, wanted["cluster"], wanted["service"]), logs, wish, report)
    if deploy.start(check_mode=module.check_mode) and wanted["wait"] and not module.check_mode:
        deploy.follow()


if __name__ == "__main__":
    main()
