#!/usr/bin/python
# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: target_group
short_description: Manage a target group's health checks and attributes, but not its targets
version_added: 0.2.0
author: Contributors to evenkeel.fleet (@evenkeel)
description:
  - Creates a target group of an Application or a Network Load Balancer, changes what differs, or deletes it.
  - It neither registers nor deregisters targets. They belong to the Auto Scaling group, to the instances themselves, or
    to M(evenkeel.fleet.target_drain).
  - What is not given is left as it is. What AWS can't change in a group that exists is refused.
  - C(community.aws.elb_target_group) does nothing in check mode, knows no slow start, and does not turn stickiness off.
attributes:
  check_mode:
    description: Asks AWS and changes nothing; refuses what it would refuse.
    support: full
  diff_mode:
    description: Shows the declared settings before and after.
    support: full
options:
  state:
    description:
      - V(present) creates or changes the group.
      - V(absent) deletes it, unless targets are registered there, or a load balancer or an Auto Scaling group uses it.
    type: str
    choices: [present, absent]
    default: present
  name:
    description: The group's name.
    type: str
    required: true
  deleted_load_balancer:
    description:
      - With O(state=absent), the name of a load balancer that is deleted before the group, and so does not use it. In
        check mode it is still there.
    type: str
  protocol:
    description:
      - The protocol between the load balancer and its targets.
      - V(HTTP) and V(HTTPS) are for an Application Load Balancer, the others for a Network Load Balancer. Behind a TCP
        listener AWS takes V(TCP) or V(TCP_UDP), behind a TLS listener V(TCP) or V(TLS), behind a UDP listener V(UDP) or
        V(TCP_UDP), and behind a TCP_UDP listener V(TCP_UDP).
    type: str
    choices: [HTTP, HTTPS, TCP, TLS, UDP, TCP_UDP]
    default: HTTP
  port:
    description: The port of targets that are registered without one.
    type: int
    default: 80
  vpc_id:
    description: The VPC of the targets. Needed with O(state=present).
    type: str
  target_type:
    description: Whether targets are registered by instance id or by address.
    type: str
    choices: [instance, ip]
    default: instance
  health_check:
    description: The health checks of targets.
    type: dict
    suboptions:
      path:
        description: The path of the request. Not for TCP health checks.
        type: str
      port:
        description: The port, a number or V(traffic-port).
        type: str
      protocol:
        description:
          - The protocol of the health checks. V(TCP) is not for an O(protocol) of V(HTTP) or V(HTTPS).
          - Without it, AWS takes HTTP for an O(protocol) of V(HTTP) or V(HTTPS), and TCP for the others.
        type: str
        choices: [HTTP, HTTPS, TCP]
      interval:
        description: Seconds between two health checks of a target, 5 to 300.
        type: int
      timeout:
        description: Seconds within which a target has to answer, 2 to 120.
        type: int
      healthy_threshold:
        description: Number of consecutive successful health checks after which a target is healthy, 2 to 10.
        type: int
      unhealthy_threshold:
        description: Number of consecutive failed health checks after which a target is unhealthy, 2 to 10.
        type: int
      matcher:
        description: The status codes of a successful answer, such as V(200) or V(200-299). Not for TCP health checks.
        type: str
  attributes:
    description:
      - The group's attributes by AWS's own names, such as C(deregistration_delay.timeout_seconds),
        C(slow_start.duration_seconds) and C(stickiness.enabled).
      - Refused are those of the other type of load balancer. C(stickiness.type) is C(lb_cookie) or C(app_cookie) for an
        O(protocol) of V(HTTP) or V(HTTPS), and C(source_ip) for the others.
    type: dict
    default: {}
  tags:
    description:
      - Its tags. Without the option, tags are left alone.
      - A tag that is no longer here is removed if its value is still the one that this module set. Tags of others stay.
      - The tag C(evenkeel:tags) records what was set.
    type: dict
notes:
  - The IAM actions needed are C(elasticloadbalancing:DescribeTargetGroups), C(DescribeTargetGroupAttributes),
    C(DescribeTags), C(CreateTargetGroup), C(ModifyTargetGroup), C(ModifyTargetGroupAttributes), C(AddTags) and
    C(RemoveTags), to delete it also C(DescribeTargetHealth), C(DeleteTargetGroup) and
    C(autoscaling:DescribeAutoScalingGroups).
extends_documentation_fragment:
  - evenkeel.fleet.aws
"""

EXAMPLES = r"""
- name: Create a target group for the gateways
  evenkeel.fleet.target_group:
    name: gateways
    vpc_id: vpc-0123456789abcdef0
    health_check: {path: /api/health, interval: 10, timeout: 5, healthy_threshold: 2, unhealthy_threshold: 2}
    attributes:
      deregistration_delay.timeout_seconds: 30
      slow_start.duration_seconds: 0
      stickiness.enabled: false
    region: eu-central-1

- name: Create a target group for a TCP listener, with HTTP health checks
  evenkeel.fleet.target_group:
    name: permissions
    protocol: TCP
    port: 8080
    target_type: ip
    vpc_id: vpc-0123456789abcdef0
    health_check: {protocol: HTTP, path: /health}

- name: Delete it
  evenkeel.fleet.target_group:
    name: gateways
    state: absent
"""

RETURN = r"""
target_group_arn:
  description: The group's ARN; empty where there is none, and in check mode where there is none yet.
  returned: success
  type: str
  sample: arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/gateways/0123456789abcdef
"""

from collections.abc import Callable
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.evenkeel.fleet.plugins.module_utils._aws import client
from ansible_collections.evenkeel.fleet.plugins.module_utils._aws.api import Api
from ansible_collections.evenkeel.fleet.plugins.module_utils._aws.pairs import texts
from ansible_collections.evenkeel.fleet.plugins.module_utils._aws.target_group import Outcome, Wanted, ensure, remove
from ansible_collections.evenkeel.fleet.plugins.module_utils._common.progress import OperationError

HEALTH_CHECK: dict[str, dict[str, Any]] = {
    "path": {"type": "str"},
    "port": {"type": "str"},
    "protocol": {"type": "str", "choices": ["HTTP", "HTTPS", "TCP"]},
    "interval": {"type": "int"},
    "timeout": {"type": "int"},
    "healthy_threshold": {"type": "int"},
    "unhealthy_threshold": {"type": "int"},
    "matcher": {"type": "str"},
}
ARGUMENTS: dict[str, dict[str, Any]] = {
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "name": {"type": "str", "required": True},
    "deleted_load_balancer": {"type": "str"},
    "protocol": {"type": "str", "choices": ["HTTP", "HTTPS", "TCP", "TLS", "UDP", "TCP_UDP"], "default": "HTTP"},
    "port": {"type": "int", "default": 80},
    "vpc_id": {"type": "str"},
    "target_type": {"type": "str", "choices": ["instance", "ip"], "default": "instance"},
    "health_check": {"type": "dict", "options": HEALTH_CHECK},
    "attributes": {"type": "dict", "default": {}},
    "tags": {"type": "dict"},
    **client.ARGUMENTS,
}


def main(make: Callable[..., AnsibleModule] = AnsibleModule) -> None:
    module = client.make_module(make, ARGUMENTS, required_if=[("state", "present", ["vpc_id"])])
    try:
        outcome = act(module)
    except OperationError as error:
        module.fail_json(msg=str(error))
    module.exit_json(
        changed=outcome.changed,
        target_group_arn=outcome.arn,
        diff={"before": outcome.before, "after": outcome.after},
    )


def act(module: AnsibleModule) -> Outcome:
    wanted = module.params
    elb = Api(client.client(module, "elbv2"))
    if wanted["state"] == "absent":
        scaling = Api(client.client(module, "autoscaling"))
        return remove(elb, scaling, wanted["name"], wanted["deleted_load_balancer"], module.check_mode)
    declared = Wanted(
        **{key: wanted[key] for key in ("name", "protocol", "port", "vpc_id", "target_type")},
        health={key: value for key, value in (wanted["health_check"] or {}).items() if value is not None},
        attributes=texts(wanted["attributes"]),
        tags=None if wanted["tags"] is None else texts(wanted["tags"]),
    )
    return ensure(elb, declared, module.check_mode)


if __name__ == "__main__":
    main()
