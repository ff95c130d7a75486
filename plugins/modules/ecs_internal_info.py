#!/usr/bin/python
# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ecs_internal_info
short_description: Get the internal load balancer of services on Amazon ECS, and which URLs their clients use
version_added: 0.3.0
author: Contributors to evenkeel.fleet (@evenkeel)
description:
  - Returns a load balancer with its listeners, target groups with the health of their targets, the number of tasks of
    services, and the values of environment variables that services run with, all in one call.
attributes:
  check_mode:
    description: Changes nothing.
    support: full
options:
  cluster:
    description: Name or ARN of the cluster.
    type: str
    default: default
  load_balancer:
    description: Name of the load balancer; empty for none.
    type: str
    default: ""
  target_groups:
    description: Names of target groups.
    type: list
    elements: str
    default: []
  health:
    description: Return the targets of the groups, too.
    type: bool
    default: false
  services:
    description: Names of services.
    type: list
    elements: str
    default: []
  clients:
    description: The services whose environment is returned.
    type: list
    elements: dict
    default: []
    suboptions:
      service:
        description: Name of the service.
        type: str
        required: true
      container:
        description: The container; empty for the first one.
        type: str
        default: ""
      variables:
        description: The names of the variables.
        type: list
        elements: str
        required: true
  urls_parameter:
    description: Name of the parameter with the URLs that gateways on EC2 use; empty for none.
    type: str
    default: ""
extends_documentation_fragment:
  - evenkeel.fleet.aws
notes:
  - The IAM actions needed are C(elasticloadbalancing:DescribeLoadBalancers), C(DescribeListeners),
    C(DescribeTargetGroups), C(DescribeTargetHealth), C(ecs:DescribeServices) and C(ecs:DescribeTaskDefinition), and
    with O(urls_parameter) C(ssm:GetParameter).
seealso:
  - module: evenkeel.fleet.load_balancer
  - module: evenkeel.fleet.ecs_retirement
  - module: evenkeel.fleet.gateway_urls
"""

EXAMPLES = r"""
- name: Get the load balancer and the health of its targets
  evenkeel.fleet.ecs_internal_info:
    load_balancer: internal
    target_groups: [users-nlb, orders-nlb]
    health: true
    region: eu-central-1
"""

RETURN = r"""
load_balancer_arn:
  description: Its ARN; empty where there is none.
  returned: always
  type: str
dns_name:
  description: Its DNS name; empty where there is none.
  returned: always
  type: str
listeners:
  description: The ARNs of its listeners by port.
  returned: always
  type: dict
  sample: {"3002": "arn:aws:elasticloadbalancing:eu-central-1:123456789012:listener/net/internal/0123/4567"}
forwards:
  description: By port, the ARNs of the target groups that a listener forwards to, with their weights.
  returned: always
  type: dict
  sample: {"3002": {"arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/users-nlb/0123": 1}}
groups:
  description:
    - The target groups that exist, by name. C(arn) is the ARN, C(balancers) are the ARNs of their load balancers.
      C(targets), with O(health), have C(id), C(state) and C(reason); those that drain are left out.
  returned: always
  type: dict
services:
  description:
    - By name, C(exists), C(desired), C(running), C(task_definition), and C(remembered), the number of tasks before
      M(evenkeel.fleet.ecs_retirement), or null.
  returned: always
  type: dict
environment:
  description: By service, the values of the variables that its task definition has.
  returned: always
  type: dict
  sample: {"gateway": {"USERS_SERVICE_URL": "http://internal-0123.elb.eu-central-1.amazonaws.com:3002"}}
gateway_urls:
  description:
    - The URLs in O(urls_parameter) by variable, in C(urls), and C(changed_at), when they were written last; empty where
      there is none.
  returned: always
  type: dict
"""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.evenkeel.fleet.plugins.module_utils._aws import client as aws
from ansible_collections.evenkeel.fleet.plugins.module_utils._aws import gateway_urls
from ansible_collections.evenkeel.fleet.plugins.module_utils._aws.api import Api
from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs import internal

CLIENT: dict[str, dict[str, Any]] = {
    "service": {"type": "str", "required": True},
    "container": {"type": "str", "default": ""},
    "variables": {"type": "list", "elements": "str", "required": True},
}
ARGUMENTS: dict[str, dict[str, Any]] = {
    "cluster": {"type": "str", "default": "default"},
    "load_balancer": {"type": "str", "default": ""},
    "target_groups": {"type": "list", "elements": "str", "default": []},
    "health": {"type": "bool", "default": False},
    "services": {"type": "list", "elements": "str", "default": []},
    "clients": {"type": "list", "elements": "dict", "default": [], "options": CLIENT},
    "urls_parameter": {"type": "str", "default": ""},
    **aws.ARGUMENTS,
}


def main(make: Callable[..., AnsibleModule] = AnsibleModule) -> None:
    aws.run(make, ARGUMENTS, look)


def look(module: AnsibleModule) -> dict[str, Any]:
    wanted = module.params
    sessions: dict[str, Any] = {}
    elb, ecs = (Api(aws.client(module, name, "", sessions)) for name in ("elbv2", "ecs"))
    groups = {
        name: {
            "arn": group["TargetGroupArn"],
            "balancers": group.get("LoadBalancerArns", []),
            **({"targets": internal.targets(elb, group)} if wanted["health"] else {}),
        }
        for name, group in internal.target_groups(elb, wanted["target_groups"]).items()
    }
    kept = gateway_urls.GatewayUrls()
    if wanted["urls_parameter"]:
        kept = gateway_urls.read(Api(aws.client(module, "ssm", "", sessions)), wanted["urls_parameter"])
    clients = [one["service"] for one in wanted["clients"]]
    found = internal.services(ecs, wanted["cluster"], [*wanted["services"], *clients])
    return {
        **internal.network(elb, wanted["load_balancer"]),
        "groups": groups,
        "services": {name: internal.standing(found.get(name)) for name in wanted["services"]},
        "environment": {
            one["service"]: internal.environment(
                ecs, found[one["service"]]["taskDefinition"], one["container"], one["variables"]
            )
            for one in wanted["clients"]
            if one["service"] in found
        },
        "gateway_urls": asdict(kept),
    }


if __name__ == "__main__":
    main()
