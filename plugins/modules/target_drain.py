#!/usr/bin/python
# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: target_drain
short_description: Drain a host in a load balancer, or put it back in service, and wait
version_added: 0.2.0
author: Contributors to evenkeel.fleet (@evenkeel)
description:
  - Deregisters a target from the target groups of an ALB or NLB, or drains a server of HAProxy, and returns when the
    load balancer has no request in flight there any more.
  - Registers it again, also while it is still draining, and returns when the load balancer finds it healthy.
  - All groups and HAProxies are asked first. Where one of them does not answer, or would be left with too few healthy
    targets, the call fails and nothing has changed.
  - Where a wait ends without success, the target stays as it is then, and the message says why the load balancer does
    not find it healthy, or what is still in flight.
  - It runs where the API or the stats sockets can be reached, usually on the controller (C(delegate_to)).
attributes:
  check_mode:
    description: Asks the load balancer and changes nothing; refuses what it would refuse.
    support: full
  diff_mode:
    description: Shows the state of the target in each group or backend, before and after.
    support: full
options:
  state:
    description:
      - V(drained) takes the target out and waits until nothing is in flight.
      - V(in_service) puts it in and waits until it is healthy.
      - To get its state only, use M(evenkeel.fleet.target_info).
    type: str
    choices: [drained, in_service]
    required: true
  target:
    description:
      - With O(balancer=target_group), an instance id or an address, as the group's target type wants it, with or
        without C(:port) (an IPv6 address with a port in brackets).
      - Without a port, every port on which a group has it is meant; where it has none, those that it had when
        O(state=drained) took it out, else the group's own. A target that had others than the group's own is remembered
        in a tag of the group, C(evenkeel:out:) and its id, until it is back.
      - With O(balancer=haproxy), the name of the server.
    type: str
    required: true
  sockets:
    description:
      - A stats socket of each HAProxy, with C(level admin), either a path or C(host:port). Needed with
        O(balancer=haproxy).
      - The runtime API knows neither passwords nor encryption. Let a TCP socket listen on 127.0.0.1 only.
    type: list
    elements: str
  min_healthy:
    description: How many other targets must be healthy in each group or backend before O(target) is drained.
    type: int
    default: 1
  timeout:
    description:
      - Seconds to wait.
      - The default is the longest deregistration delay of the groups and 60 more for V(drained), the time
        that their health checks need and 120 more for V(in_service), and 60 with O(balancer=haproxy).
    type: float
  on_timeout:
    description:
      - With O(balancer=haproxy), what becomes of sessions that are left when the time is over. V(fail) leaves them, and
        the call fails. V(cut) sets the server to maintenance, shuts them down and says how many.
      - Take V(cut) where a cookie or a stick table binds clients to a server, because these still get there while it is
        drained.
      - A target group cuts what is left after its deregistration delay by itself.
    type: str
    choices: [fail, cut]
    default: fail
  availability_zone:
    description: For a target that is registered again, V(all) for an address outside of the group's VPC.
    type: str
extends_documentation_fragment:
  - evenkeel.fleet.aws
  - evenkeel.fleet.target
notes:
  - The IAM actions needed are C(elasticloadbalancing:DescribeTargetGroups), C(DescribeTargetGroupAttributes),
    C(DescribeTargetHealth), C(DescribeTags), C(RegisterTargets) and C(DeregisterTargets), and for targets with a port
    or zone of their own C(AddTags) and C(RemoveTags).
  - A reload of HAProxy forgets that a server is drained, unless it keeps a state file. The call notices it while it
    waits and fails.
seealso:
  - module: evenkeel.fleet.target_info
"""

EXAMPLES = r"""
- name: Drain the host in the target group
  evenkeel.fleet.target_drain:
    state: drained
    target: "{{ instance_id }}"
    target_groups: [gateways]
    region: eu-central-1
  delegate_to: localhost
  become: false

- name: Put it back in service in the target groups of an ALB and an NLB
  evenkeel.fleet.target_drain:
    state: in_service
    target: "{{ private_ip }}:80"
    target_groups: [gateways-public, gateways-internal]
    timeout: 180
  delegate_to: localhost
  become: false

- name: Drain the host in two HAProxies, and shut down sessions that are left after two minutes
  evenkeel.fleet.target_drain:
    state: drained
    balancer: haproxy
    target: "{{ inventory_hostname }}"
    sockets: [/run/haproxy/admin.sock, 127.0.0.1:9999]
    backends: [gateways]
    timeout: 120
    on_timeout: cut
  delegate_to: localhost
  become: false
"""

RETURN = r"""
places:
  description: The state of the target, one entry for each group and port, or each HAProxy and backend.
  returned: always
  type: list
  elements: dict
  contains:
    balancer:
      description: The group's name, or the socket.
      type: str
      sample: gateways
    target:
      description: What the load balancer calls it.
      type: str
      sample: i-0123456789abcdef0:80
    before:
      description: Its state when the call began.
      type: str
      sample: healthy
    state:
      description: Its state at the end.
      type: str
      sample: unused
    reason:
      description: Why it is in this state, as far as the load balancer reports it.
      type: str
      sample: "Target.FailedHealthChecks: Health checks failed with these codes: [502]"
progress:
  description: What was seen while waiting, and after how many seconds.
  returned: always
  type: list
  elements: str
  sample: ["0.1 s: i-0123456789abcdef0:80 is draining in gateways"]
seconds:
  description: How many seconds the call took.
  returned: always
  type: float
timeout:
  description: How many seconds the call would have waited.
  returned: always
  type: float
cut_sessions:
  description: How many sessions of HAProxy were shut down.
  returned: always
  type: int
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
    "state": {"type": "str", "choices": ["drained", "in_service"], "required": True},
    "min_healthy": {"type": "int", "default": 1},
    "timeout": {"type": "float"},
    "on_timeout": {"type": "str", "choices": ["fail", "cut"], "default": "fail"},
    "availability_zone": {"type": "str"},
    **OPTIONS,
    **aws.ARGUMENTS,
}


def main(make: Callable[..., AnsibleModule] = AnsibleModule) -> None:
    module = aws.make_module(make, ARGUMENTS, required_if=REQUIRED_IF)
    report = TargetReport(say=module.log)
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


def act(module: AnsibleModule, report: TargetReport) -> None:
    wanted = module.params
    drained = wanted["state"] == "drained"
    common = {"timeout": wanted["timeout"], "check_mode": module.check_mode}
    if wanted["balancer"] == "haproxy":
        where = (wanted["sockets"], wanted["backends"], wanted["target"], report)
        if drained:
            cut = wanted["on_timeout"] == "cut"
            haproxy.drain(*where, min_healthy=wanted["min_healthy"], cut=cut, **common)
        else:
            haproxy.admit(*where, **common)
    else:
        target = Target.parse(wanted["target"])
        what = (target_groups.TargetGroupsApi(aws.client(module, "elbv2")), wanted["target_groups"], target, report)
        if drained:
            target_groups.drain(*what, min_healthy=wanted["min_healthy"], **common)
        else:
            target_groups.admit(*what, zone=wanted["availability_zone"], **common)


if __name__ == "__main__":
    main()
