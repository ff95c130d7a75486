#!/usr/bin/python
# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: target_info
short_description: Get the state of a host in a load balancer
version_added: 0.2.0
author: Contributors to evenkeel.fleet (@evenkeel)
description:
  - Returns the state of a target in the target groups of an ALB or NLB, or of a server in the backends of HAProxy.
  - Fails where a target group does not exist, or where an HAProxy does not answer or does not have the server.
  - It runs where the API or the stats sockets can be reached, usually on the controller (C(delegate_to)).
attributes:
  check_mode:
    description: Changes nothing.
    support: full
options:
  target:
    description:
      - With O(balancer=target_group), an instance id or an address, with or without C(:port) (an IPv6 address with a
        port in brackets). Without a port, every port on which a group has it.
      - With O(balancer=haproxy), the name of the server.
    type: str
    required: true
  sockets:
    description: A stats socket of each HAProxy, either a path or C(host:port). Needed with O(balancer=haproxy).
    type: list
    elements: str
extends_documentation_fragment:
  - evenkeel.fleet.aws
  - evenkeel.fleet.target
notes:
  - The IAM actions needed are C(elasticloadbalancing:DescribeTargetGroups), C(DescribeTargetGroupAttributes),
    C(DescribeTargetHealth) and C(DescribeTags).
seealso:
  - module: evenkeel.fleet.target_drain
"""

EXAMPLES = r"""
- name: Get the state of the host in the target group
  evenkeel.fleet.target_info:
    target: "{{ instance_id }}"
    target_groups: [gateways]
    region: eu-central-1
  register: found
  delegate_to: localhost
  become: false

- name: Get the state of the host in two HAProxies
  evenkeel.fleet.target_info:
    balancer: haproxy
    target: "{{ inventory_hostname }}"
    sockets: [/run/haproxy/admin.sock, 127.0.0.1:9999]
  register: found
  delegate_to: localhost
  become: false
"""

RETURN = r"""
places:
  description:
    - The state of the target, one entry for each group and port, or each HAProxy and backend.
    - A port that a group has no longer, because M(evenkeel.fleet.target_drain) deregistered it, is V(unused).
  returned: always
  type: list
  elements: dict
  contains:
    balancer:
      description: The group's name, or the socket.
      type: str
      sample: gateways
    target:
      description: The target's name in the load balancer.
      type: str
      sample: i-0123456789abcdef0:80
    before:
      description: The same, so that an entry is like one of M(evenkeel.fleet.target_drain).
      type: str
      sample: healthy
    state:
      description: Its state.
      type: str
      sample: healthy
    reason:
      description: Why it is in this state, as far as the load balancer reports it.
      type: str
      sample: "Target.FailedHealthChecks: Health checks failed with these codes: [502]"
requests:
  description:
    - How many requests the backends with the target have had since HAProxy began, over all O(sockets); none with
      O(balancer=target_group).
  returned: always
  type: int
  sample: 120433
"""

from collections.abc import Callable
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.evenkeel.fleet.plugins.module_utils._aws import client as aws
from ansible_collections.evenkeel.fleet.plugins.module_utils._balancer import haproxy, target_groups
from ansible_collections.evenkeel.fleet.plugins.module_utils._balancer.report import TargetReport
from ansible_collections.evenkeel.fleet.plugins.module_utils._balancer.target import OPTIONS, REQUIRED_IF, Target
from ansible_collections.evenkeel.fleet.plugins.module_utils._common.progress import OperationError

ARGUMENTS: dict[str, dict[str, Any]] = {
    **OPTIONS,
    **aws.ARGUMENTS,
}


def main(make: Callable[..., AnsibleModule] = AnsibleModule) -> None:
    module = aws.make_module(make, ARGUMENTS, required_if=REQUIRED_IF)
    report = TargetReport(say=module.log)
    try:
        act(module, report)
    except OperationError as error:
        module.fail_json(msg=str(error), **result(report))
    module.exit_json(**result(report))


def act(module: AnsibleModule, report: TargetReport) -> None:
    wanted = module.params
    if wanted["balancer"] == "haproxy":
        haproxy.find(wanted["sockets"], wanted["backends"], wanted["target"], report)
        return
    target = Target.parse(wanted["target"])
    target_groups.find(
        target_groups.TargetGroupsApi(aws.client(module, "elbv2")), wanted["target_groups"], target, report
    )


def result(report: TargetReport) -> dict[str, Any]:
    return {"places": [place.result() for place in report.places], "requests": report.requests}


if __name__ == "__main__":
    main()
