#!/usr/bin/python
# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ecs_retirement
short_description: Take services on Amazon ECS out of use, and bring them back with as many tasks as they had
version_added: 0.3.0
author: Contributors to evenkeel.fleet (@evenkeel)
description:
  - V(retired) sets the number of tasks to 0, and keeps the service. The tag C(evenkeel:retired) remembers the number,
    and which scaling was suspended before. All scaling of the service is suspended, so that Application Auto Scaling
    starts no tasks.
  - V(restored) sets the remembered number, waits until so many tasks run, and lets the scaling go on. A service that
    was not retired is left alone.
  - A call that was interrupted is repeated. No remembered number is lost.
attributes:
  check_mode:
    description: Asks AWS and changes nothing.
    support: full
  diff_mode:
    description: Shows the numbers of tasks before and after.
    support: full
options:
  cluster:
    description: Name or ARN of the cluster.
    type: str
    default: default
  services:
    description: Names of the services, which must exist.
    type: list
    elements: str
    required: true
  state:
    description: V(retired) or V(restored).
    type: str
    choices: [retired, restored]
    required: true
  wait_timeout:
    description: Seconds to wait until so many tasks run; 0 to go on at once.
    type: float
    default: 600
extends_documentation_fragment:
  - evenkeel.fleet.aws
notes:
  - The IAM actions needed are C(ecs:DescribeServices), C(ecs:UpdateService), C(ecs:TagResource),
    C(ecs:UntagResource), C(application-autoscaling:DescribeScalableTargets) and C(RegisterScalableTarget).
seealso:
  - module: evenkeel.fleet.ecs_internal_info
"""

EXAMPLES = r"""
- name: Stop the tasks of the old services
  evenkeel.fleet.ecs_retirement:
    cluster: production
    services: [users, orders]
    state: retired
    region: eu-central-1

- name: Start them again
  evenkeel.fleet.ecs_retirement:
    cluster: production
    services: [users, orders]
    state: restored
    region: eu-central-1
"""

RETURN = r"""
counts:
  description: The number of tasks that each service now should have.
  returned: always
  type: dict
  sample: {"users": 0, "orders": 0}
progress:
  description: What was changed and seen, each with the seconds since the start.
  returned: always
  type: list
  elements: str
seconds:
  description: How long the call took.
  returned: always
  type: float
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.evenkeel.fleet.plugins.module_utils._aws import client as aws
from ansible_collections.evenkeel.fleet.plugins.module_utils._aws.api import Api
from ansible_collections.evenkeel.fleet.plugins.module_utils._common.progress import OperationError
from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs import internal
from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.retirement import Retirement, RetirementReport

ARGUMENTS: dict[str, dict[str, Any]] = {
    "cluster": {"type": "str", "default": "default"},
    "services": {"type": "list", "elements": "str", "required": True},
    "state": {"type": "str", "choices": ["retired", "restored"], "required": True},
    "wait_timeout": {"type": "float", "default": 600},
    **aws.ARGUMENTS,
}


def main(make: Callable[..., AnsibleModule] = AnsibleModule) -> None:
    module = aws.make_module(make, ARGUMENTS)
    report = RetirementReport(say=module.log, timeout=module.params["wait_timeout"])
    try:
        act(module, report)
    except OperationError as error:
        module.fail_json(msg=str(error), **report.result())
    module.exit_json(**report.result())


def act(module: AnsibleModule, report: RetirementReport) -> None:
    wanted = module.params
    sessions: dict[str, Any] = {}
    ecs = Api(aws.client(module, "ecs", "", sessions))

    def look(names: Sequence[str]) -> Mapping[str, Mapping[str, Any]]:
        return internal.services(ecs, wanted["cluster"], names)

    retirement = Retirement(
        wanted["cluster"], ecs, lambda: Api(aws.client(module, "application-autoscaling", "", sessions)), look
    )
    change = retirement.retire if wanted["state"] == "retired" else retirement.restore
    change(wanted["services"], report, check_mode=module.check_mode)


if __name__ == "__main__":
    main()
