#!/usr/bin/python
# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ecs_verify
short_description: Find what would make a deployment on Amazon ECS fail, before it begins
version_added: 0.3.0
author: Contributors to evenkeel.fleet (@evenkeel)
description:
  - Checks a task definition and a service against what exists. Returns all findings at once, each with its remedy.
  - Images in ECR exist and fit the platform; secrets exist, with the JSON keys that are asked of them, and parameters
    too; log groups and roles exist, the roles trust ECS and may be passed.
  - The cluster is active; a rolling update may start or stop tasks; target groups exist, fit the network mode and are
    behind a listener; the grace period is long enough for a target to become healthy.
  - Subnets and security groups exist in one VPC; the subnets have a way out by a NAT gateway, a public address or
    endpoints; the load balancer reaches the port.
  - cpu, memory and all else in the task definition is what AWS accepts.
  - A check that AWS does not answer is a finding, too.
attributes:
  check_mode:
    description: Changes nothing, and fails for findings as without it.
    support: full
options:
  cluster:
    description: Name or ARN of the cluster.
    type: str
    default: default
  task:
    description: The task definition, with AWS's names, as for M(evenkeel.fleet.ecs_task_definition).
    type: dict
    required: true
  definition:
    description: The service, with the names of CreateService, as for M(evenkeel.fleet.ecs_service).
    type: dict
    default: {}
  desired_count:
    description: Number of tasks, to check that the deployment configuration lets a rolling update begin.
    type: int
  fail:
    description: Fail where there are findings. Without it they are only returned.
    type: bool
    default: true
extends_documentation_fragment:
  - evenkeel.fleet.aws
notes:
  - The platform of an image that is for one platform alone is not checked, because its manifest does not name it.
  - The IAM actions needed are C(ecr:BatchGetImage), C(secretsmanager:DescribeSecret), C(ssm:GetParameters),
    C(logs:DescribeLogGroups), C(iam:GetRole), C(iam:SimulatePrincipalPolicy), C(ecs:DescribeClusters),
    C(elasticloadbalancing:DescribeTargetGroups), C(elasticloadbalancing:DescribeLoadBalancers), C(ec2:DescribeSubnets),
    C(ec2:DescribeSecurityGroups), C(ec2:DescribeRouteTables), C(ec2:DescribeVpcEndpoints), and
    C(secretsmanager:GetSecretValue) for secrets with a JSON key.
"""

EXAMPLES = r"""
- name: Check what the deployment needs
  evenkeel.fleet.ecs_verify:
    cluster: production
    task: "{{ task_definition }}"
    definition: "{{ service_definition }}"
    region: eu-central-1
  delegate_to: localhost
"""

RETURN = r"""
findings:
  description: What would make the deployment fail.
  returned: always
  type: list
  elements: dict
  sample:
    - subject: container api, secret DATABASE_URL
      problem: the parameter /permissions/database-url does not exist
      remedy: Create it, or correct valueFrom.
"""

from collections.abc import Callable
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.evenkeel.fleet.plugins.module_utils._aws import client as aws
from ansible_collections.evenkeel.fleet.plugins.module_utils._common.progress import OperationError
from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.verify.checks import findings_of
from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.verify.findings import Clients, Declared

ARGUMENTS: dict[str, dict[str, Any]] = {
    "cluster": {"type": "str", "default": "default"},
    "task": {"type": "dict", "required": True},
    "definition": {"type": "dict", "default": {}},
    "desired_count": {"type": "int"},
    "fail": {"type": "bool", "default": True},
    **aws.ARGUMENTS,
}


def main(make: Callable[..., AnsibleModule] = AnsibleModule) -> None:
    module = aws.make_module(make, ARGUMENTS)
    wanted = module.params
    sessions: dict[str, Any] = {}
    clients = Clients(lambda name, region: aws.client(module, name, region, sessions))
    declared = Declared(
        cluster=wanted["cluster"],
        task=wanted["task"],
        service=wanted["definition"],
        desired_count=wanted["desired_count"],
    )
    try:
        findings = findings_of(declared, clients)
    except OperationError as error:
        module.fail_json(msg=str(error))
    result = {"findings": [finding.result() for finding in findings]}
    if findings and wanted["fail"]:
        lines = "".join(f"\n  - {finding.words}" for finding in findings)
        module.fail_json(msg=f"{len(findings)} findings would make the deployment fail:{lines}", **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
