#!/usr/bin/python
# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: load_balancer_info
short_description: Get the ARNs of a load balancer and its target group by name
version_added: 0.2.0
author: Contributors to evenkeel.fleet (@evenkeel)
description:
  - Returns the ARNs of a load balancer and of a target group, and the DNS name. A name that does not exist gives an
    empty text and no error.
  - C(amazon.aws.elb_application_lb_info) fails on a name that does not exist.
attributes:
  check_mode:
    description: Changes nothing.
    support: full
options:
  name:
    description: The load balancer's name.
    type: str
    required: true
  type:
    description: The type of load balancer; one of the other type fails.
    type: str
    choices: [application, network]
    default: application
    version_added: 0.3.0
  target_group:
    description: A target group's name; without it, none is looked up.
    type: str
notes:
  - The IAM actions needed are C(elasticloadbalancing:DescribeLoadBalancers) and C(DescribeTargetGroups).
extends_documentation_fragment:
  - evenkeel.fleet.aws
"""

EXAMPLES = r"""
- name: Look up the load balancer
  evenkeel.fleet.load_balancer_info:
    name: gateways
    target_group: gateways
    region: eu-central-1
  register: balancer
"""

RETURN = r"""
load_balancer_arn:
  description: The load balancer's ARN; empty where there is none.
  returned: success
  type: str
  sample: arn:aws:elasticloadbalancing:eu-central-1:123456789012:loadbalancer/app/gateways/0123456789abcdef
dns_name:
  description: Its DNS name; empty where there is none.
  returned: success
  type: str
  sample: gateways-1234567890.eu-central-1.elb.amazonaws.com
target_group_arn:
  description: The target group's ARN; empty where there is none.
  returned: success
  type: str
  sample: arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/gateways/0123456789abcdef
"""

from collections.abc import Callable
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.evenkeel.fleet.plugins.module_utils._aws import client, load_balancer, target_group
from ansible_collections.evenkeel.fleet.plugins.module_utils._aws.api import Api
from ansible_collections.evenkeel.fleet.plugins.module_utils._common.progress import OperationError

ARGUMENTS: dict[str, dict[str, Any]] = {
    "name": {"type": "str", "required": True},
    "type": {
        "type": "str",
        "choices": [load_balancer.APPLICATION, load_balancer.NETWORK],
        "default": load_balancer.APPLICATION,
    },
    "target_group": {"type": "str"},
    **client.ARGUMENTS,
}


def main(make: Callable[..., AnsibleModule] = AnsibleModule) -> None:
    module = client.make_module(make, ARGUMENTS)
    try:
        elb = Api(client.client(module, "elbv2"))
        balancer = load_balancer.find(elb, module.params["name"], module.params["type"])
        group = target_group.find(elb, module.params["target_group"]) if module.params["target_group"] else {}
    except OperationError as error:
        module.fail_json(msg=str(error))
    module.exit_json(
        load_balancer_arn=balancer.get("LoadBalancerArn", ""),
        dns_name=balancer.get("DNSName", ""),
        target_group_arn=group.get("TargetGroupArn", ""),
    )


if __name__ == "__main__":
    main()
