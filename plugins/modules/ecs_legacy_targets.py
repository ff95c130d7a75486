#!/usr/bin/python
# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ecs_legacy_targets
short_description: Manage target groups with the tasks of legacy services on Amazon ECS, for a canary by weights
version_added: 0.3.0
author: Contributors to evenkeel.fleet (@evenkeel)
description:
  - Creates, for each legacy service, a target group like that of the service that replaces it, and registers the
    addresses of the legacy service's tasks that run now. A listener of a Network Load Balancer can then forward to both
    groups, by the weights of M(evenkeel.fleet.traffic_split).
  - Amazon ECS does not know of these targets. A call with V(present) or V(refreshed) registers the tasks that were
    started since the last one, and deregisters those that ended.
  - The groups have the tag C(evenkeel:legacy). A group without it belongs to others. V(present) refuses it, the other
    states leave it alone.
attributes:
  check_mode:
    description: Asks AWS and changes nothing.
    support: full
  diff_mode:
    description: Shows the targets before and after.
    support: full
options:
  cluster:
    description: Name or ARN of the cluster.
    type: str
    default: default
  services:
    description: The legacy services, which must exist and have the network mode C(awsvpc).
    type: list
    elements: dict
    required: true
    suboptions:
      legacy:
        description: Name of the legacy service.
        type: str
        required: true
      group:
        description: The target group of the service that replaces it. VPC, health checks and the deregistration delay
          of the legacy group are those of this one.
        type: str
        required: true
      legacy_group:
        description: The name of the legacy group.
        type: str
        required: true
      port:
        description: The port of the legacy containers; 0 for that of the task definition.
        type: int
        default: 0
      listener:
        description: ARN of the listener that forwards to both groups. Only a group in use has health checks.
        type: str
        default: ""
  state:
    description:
      - V(present) creates the groups, registers the tasks that run, adds the groups to their listeners with the weight
        0, and waits until all targets are healthy.
      - V(refreshed) does so for the groups that exist, and creates none.
      - V(absent) deregisters the targets, waits until they have drained, lets the listener forward to the group of the
        new service alone, and deletes the legacy groups.
    type: str
    choices: [present, refreshed, absent]
    default: present
  force:
    description: With O(state=absent), delete groups that still get new connections, too. Without it, that is refused.
    type: bool
    default: false
  tags:
    description: More tags of the groups.
    type: dict
    default: {}
  wait_timeout:
    description: Seconds to wait until targets are healthy, or have drained; 0 not to wait for health.
    type: float
    default: 600
extends_documentation_fragment:
  - evenkeel.fleet.aws
notes:
  - The IAM actions needed are C(ecs:DescribeServices), C(ecs:ListTasks), C(ecs:DescribeTasks),
    C(ecs:DescribeTaskDefinition), C(elasticloadbalancing:DescribeTargetGroups), C(DescribeTargetGroupAttributes),
    C(DescribeTargetHealth), C(DescribeTags), C(CreateTargetGroup), C(ModifyTargetGroup),
    C(ModifyTargetGroupAttributes), C(AddTags), C(RegisterTargets), C(DeregisterTargets), C(DescribeListeners) and
    C(ModifyListener), with O(state=absent) also C(DeleteTargetGroup).
seealso:
  - module: evenkeel.fleet.traffic_split
  - module: evenkeel.fleet.ecs_internal_info
"""

EXAMPLES = r"""
- name: Register the tasks of the old service beside those of the new one
  evenkeel.fleet.ecs_legacy_targets:
    cluster: production
    services: [{legacy: users, group: users-nlb, legacy_group: users-nlb-legacy}]
    region: eu-central-1
"""

RETURN = r"""
groups:
  description: By the name of a legacy group, its C(arn), which is empty in check mode where there is none yet, the
    C(port) of its targets, and C(targets).
  returned: always
  type: dict
  sample: {"users-nlb-legacy": {"arn": "arn:aws:…", "port": 3002, "targets": ["10.0.1.17:3002"]}}
since:
  description: When the first of the groups was created, in ISO 8601; empty where there is none.
  returned: always
  type: str
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

from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.evenkeel.fleet.plugins.module_utils._aws import client as aws
from ansible_collections.evenkeel.fleet.plugins.module_utils._aws.api import Api
from ansible_collections.evenkeel.fleet.plugins.module_utils._aws.pairs import texts
from ansible_collections.evenkeel.fleet.plugins.module_utils._common.progress import OperationError
from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.legacy_targets import (
    LegacyService,
    LegacyTargets,
    TargetsReport,
)

SERVICE: dict[str, dict[str, Any]] = {
    "legacy": {"type": "str", "required": True},
    "group": {"type": "str", "required": True},
    "legacy_group": {"type": "str", "required": True},
    "port": {"type": "int", "default": 0},
    "listener": {"type": "str", "default": ""},
}
ARGUMENTS: dict[str, dict[str, Any]] = {
    "cluster": {"type": "str", "default": "default"},
    "services": {"type": "list", "elements": "dict", "required": True, "options": SERVICE},
    "state": {"type": "str", "choices": ["present", "refreshed", "absent"], "default": "present"},
    "force": {"type": "bool", "default": False},
    "tags": {"type": "dict", "default": {}},
    "wait_timeout": {"type": "float", "default": 600},
    **aws.ARGUMENTS,
}


def main(make: Callable[..., AnsibleModule] = AnsibleModule) -> None:
    module = aws.make_module(make, ARGUMENTS)
    report = TargetsReport(say=module.log, timeout=module.params["wait_timeout"])
    try:
        act(module, report)
    except OperationError as error:
        module.fail_json(msg=str(error), **report.result())
    module.exit_json(**report.result())


def act(module: AnsibleModule, report: TargetsReport) -> None:
    wanted = module.params
    sessions: dict[str, Any] = {}
    elb, ecs = (Api(aws.client(module, name, "", sessions)) for name in ("elbv2", "ecs"))
    targets = LegacyTargets(elb, ecs, wanted["cluster"], now)
    services = [
        LegacyService(one["legacy"], one["group"], one["legacy_group"], one["port"], one["listener"])
        for one in wanted["services"]
    ]
    if wanted["state"] == "absent":
        targets.remove(services, report, force=wanted["force"], check_mode=module.check_mode)
    else:
        create = wanted["state"] == "present"
        targets.ensure(services, texts(wanted["tags"]), report, create=create, check_mode=module.check_mode)


def now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


if __name__ == "__main__":
    main()
