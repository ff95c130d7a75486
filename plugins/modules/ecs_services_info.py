#!/usr/bin/python
# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ecs_services_info
short_description: Get what a deployment of services on Amazon ECS would change, and their state
version_added: 0.3.0
author: Contributors to evenkeel.fleet (@evenkeel)
description:
  - Compares declared services with what is there, all in one call. Task definition, service, scaling, log groups and
    the deployment are compared as M(evenkeel.fleet.ecs_task_definition), M(evenkeel.fleet.ecs_service),
    M(evenkeel.fleet.scalable_target), M(evenkeel.fleet.log_group) and M(evenkeel.fleet.ecs_deploy) do.
  - Where there is something to deploy, looks for what would make the deployment fail, as M(evenkeel.fleet.ecs_verify)
    does.
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
    description:
      - The services, as P(evenkeel.fleet.ecs_declarations#filter) returns them.
      - The arguments of this module are not written to the system's log.
    type: list
    elements: dict
    required: true
  build:
    description: The images of services with C(build) are built later, so that these need not exist yet.
    type: bool
    default: false
  force:
    description: A service that is as declared is deployed, too.
    type: bool
    default: false
  verify:
    description: Look for what would make the deployments fail.
    type: bool
    default: true
  state:
    description: Return the state of each service, too.
    type: bool
    default: false
extends_documentation_fragment:
  - evenkeel.fleet.aws
notes:
  - The IAM actions needed are the reading ones of the modules above.
seealso:
  - module: evenkeel.fleet.ecs_service_info
"""

EXAMPLES = r"""
- name: Look up what a deployment would change
  evenkeel.fleet.ecs_services_info:
    cluster: production
    services: "{{ ecs_services | evenkeel.fleet.ecs_declarations }}"
    region: eu-central-1
  register: found
"""

RETURN = r"""
services:
  description:
    - The services by name. Task definitions are ARNs.
    - C(changed) says whether a deployment changes anything, and C(steps) what, in words. C(differences) are those of
      the task definition, C(settings) the paths of the service's settings that differ. C(exists), C(registers),
      C(deploys), C(joins), C(scaling), C(tags) and C(log_groups) are the parts of it.
    - C(current) is the task definition of the service, C(revision) the one that is as declared, empty where it would be
      registered. C(images) are the images by container, C(count) is the number of tasks to declare, or null.
    - C(problems) say why the comparison is not complete, or why the deployment is refused, such as for an image that
      O(build) builds under the tag that the service runs. C(findings) say what would make the deployment fail.
    - C(state) is the service as M(evenkeel.fleet.ecs_service_info) returns it, with O(state=true).
  returned: always
  type: dict
"""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.evenkeel.fleet.plugins.module_utils._aws import client as aws
from ansible_collections.evenkeel.fleet.plugins.module_utils._aws.asked_once import SharedClients
from ansible_collections.evenkeel.fleet.plugins.module_utils._common.progress import OperationError
from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.limits import shape_problems
from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.plan import AT_ONCE, Asked, ServicePlan, plan
from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.service_deployments import ServiceDeployments
from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.service_state import EMPTY, state_of
from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.task_definition import secret_values, shown_pair

ARGUMENTS: dict[str, dict[str, Any]] = {
    "cluster": {"type": "str", "default": "default"},
    "services": {"type": "list", "elements": "dict", "required": True},
    "build": {"type": "bool", "default": False},
    "force": {"type": "bool", "default": False},
    "verify": {"type": "bool", "default": True},
    "state": {"type": "bool", "default": False},
    **aws.ARGUMENTS,
}
# Shorter ones are parts of other words, which would be hidden with them.
SHORTEST_HIDDEN = 8


def main(make: Callable[..., AnsibleModule] = AnsibleModule) -> None:
    # The definitions' environment may have secrets, which must not be logged.
    module = aws.make_module(make, ARGUMENTS, no_log=True)
    services = module.params["services"]
    hide_secrets(module, services)
    try:
        found = look(module, services)
    except OperationError as error:
        module.fail_json(msg=str(error))
    module.exit_json(services=found)


def hide_secrets(module: AnsibleModule, services: list[dict[str, Any]]) -> None:
    """The arguments, which Ansible shows with -vvv, keep no secrets."""
    shown = []
    for one in services:
        task: Mapping[str, Any] = one.get("task") or {}
        if shape_problems(task):
            shown.append({"name": one.get("name")})
            continue
        module.no_log_values.update(value for value in secret_values(task) if len(value) >= SHORTEST_HIDDEN)
        shown.append({**one, "task": shown_pair({}, task)[1]})
    module.params["services"] = shown


def look(module: AnsibleModule, services: list[dict[str, Any]]) -> dict[str, Any]:
    wanted = module.params
    sessions: dict[str, Any] = {}
    clients = SharedClients(lambda name, region: aws.client(module, name, region, sessions))
    model = aws.client(module, "ecs", "", sessions).meta.service_model

    def parameters(operation: str) -> list[str]:
        return list(model.operation_model(operation).input_shape.members)

    asked = Asked(wanted["cluster"], clients, parameters, wanted["build"], wanted["force"], wanted["verify"])
    planned = plan(services, asked)
    states: list[dict[str, Any]] = [{} for _one in services]
    if wanted["state"]:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            states = list(pool.map(lambda one, its: {"state": _state(one, its, asked)}, services, planned))
    return {one.name: {**one.result(), **state} for one, state in zip(planned, states)}


def _state(one: Mapping[str, Any], its: ServicePlan, asked: Asked) -> dict[str, Any]:
    deployments = ServiceDeployments(asked.clients("ecs"), asked.cluster, one["name"])
    try:
        return state_of(deployments, one["service"]) if its.exists else dict(EMPTY)
    except OperationError as error:
        its.problems.append(str(error))
        return dict(EMPTY)


if __name__ == "__main__":
    main()
