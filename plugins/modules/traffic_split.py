#!/usr/bin/python
# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: traffic_split
short_description: Split a load balancer's requests between the sides of a fleet, such as blue and green
version_added: 0.2.0
author: Contributors to evenkeel.fleet (@evenkeel)
description:
  - Sets the weights of the target groups that listeners of an ALB or NLB forward to, in one call for each listener, or
    those of HAProxy's servers, in one command for each HAProxy. New requests are split like this at once; those that
    are in flight end where they are.
  - An NLB splits new connections. One that is open, such as that of a client with keep-alive, stays with its target
    group until it ends.
  - A side gets a larger weight only when its targets are healthy, which is waited for. If they do not become healthy,
    or a load balancer does not answer, traffic is not switched.
  - Without O(weights), it only returns the weights and the number of healthy targets.
  - It runs where the API or the stats sockets can be reached, usually on the controller (C(delegate_to)).
attributes:
  check_mode:
    description: Asks the load balancer and changes nothing. It does not wait for health.
    support: full
  diff_mode:
    description: Shows the weights before and after.
    support: full
options:
  balancer:
    description: The kind of load balancer.
    type: str
    choices: [target_group, haproxy]
    default: target_group
  sides:
    description:
      - By the name of a side, a list. With O(balancer=target_group) it has one target group, by name or ARN, and with
        O(balancer=haproxy) the names of the side's servers.
    type: dict
    required: true
  weights:
    description:
      - By the name of a side, the weight that it is to get, from 0 to 100. Other sides keep theirs.
      - AWS takes up to 999 and uses their relation, so that 0 to 100 can be read as percent.
      - A weight of HAProxy is in percent of the weight that each server has in the configuration.
    type: dict
    default: {}
  listeners:
    description:
      - ARNs of listeners whose default action forwards to the target groups of the sides, and to no others. Needed with
        O(balancer=target_group). Their other rules stay as they are.
    type: list
    elements: str
  sockets:
    description: A stats socket of each HAProxy, with C(level admin), as for M(evenkeel.fleet.target_drain). Needed with
      O(balancer=haproxy).
    type: list
    elements: str
  backends:
    description: Backends of HAProxy; without it, all that have a server of a side.
    type: list
    elements: str
    default: []
  min_healthy:
    description: How many targets of a side must be healthy before it gets a larger weight. The default is all of them.
    type: int
  timeout:
    description: Seconds to wait until they are healthy.
    type: float
    default: 60
extends_documentation_fragment:
  - evenkeel.fleet.aws
notes:
  - The IAM actions needed are C(elasticloadbalancing:DescribeListeners), C(DescribeTargetGroups),
    C(DescribeTargetGroupAttributes), C(DescribeTargetHealth) and C(ModifyListener).
  - A reload of HAProxy forgets the weights, unless it keeps a state file.
seealso:
  - module: evenkeel.fleet.target_drain
"""

EXAMPLES = r"""
- name: Get the weights of the sides
  evenkeel.fleet.traffic_split:
    listeners: ["{{ listener_arn }}"]
    sides: {blue: [gateways-blue], green: [gateways-green]}
    region: eu-central-1
  register: split
  delegate_to: localhost

- name: Switch all requests to green
  evenkeel.fleet.traffic_split:
    listeners: ["{{ listener_arn }}"]
    sides: {blue: [gateways-blue], green: [gateways-green]}
    weights: {blue: 0, green: 100}
    region: eu-central-1
  delegate_to: localhost

- name: Send a tenth of the requests to green, on two HAProxies
  evenkeel.fleet.traffic_split:
    balancer: haproxy
    sockets: [/run/haproxy/admin.sock, 127.0.0.1:9999]
    sides: {blue: "{{ groups['blue'] }}", green: "{{ groups['green'] }}"}
    weights: {blue: 90, green: 10}
  delegate_to: localhost
"""

RETURN = r"""
weights:
  description: The weight of each side at the end.
  returned: always
  type: dict
  sample: {blue: 0, green: 100}
healthy:
  description: How many healthy targets each side has.
  returned: always
  type: dict
  sample: {blue: 3, green: 3}
progress:
  description: What was seen while waiting, and after how many seconds.
  returned: always
  type: list
  elements: str
  sample: ["0.1 s: green: all targets are healthy"]
seconds:
  description: How many seconds the call took.
  returned: always
  type: float
"""

from collections.abc import Callable
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.evenkeel.fleet.plugins.module_utils._aws import client as aws
from ansible_collections.evenkeel.fleet.plugins.module_utils._balancer.split import (
    Balancer,
    Listeners,
    Proxies,
    SwitchReport,
    split,
)
from ansible_collections.evenkeel.fleet.plugins.module_utils._common.progress import OperationError

ARGUMENTS: dict[str, dict[str, Any]] = {
    "balancer": {"type": "str", "choices": ["target_group", "haproxy"], "default": "target_group"},
    "sides": {"type": "dict", "required": True},
    "weights": {"type": "dict", "default": {}},
    "listeners": {"type": "list", "elements": "str"},
    "sockets": {"type": "list", "elements": "str"},
    "backends": {"type": "list", "elements": "str", "default": []},
    "min_healthy": {"type": "int"},
    "timeout": {"type": "float", "default": 60},
    **aws.ARGUMENTS,
}


def main(make: Callable[..., AnsibleModule] = AnsibleModule) -> None:
    module = aws.make_module(
        make,
        ARGUMENTS,
        required_if=[("balancer", "target_group", ["listeners"]), ("balancer", "haproxy", ["sockets"])],
    )
    wanted = module.params
    report = SwitchReport(say=module.log)
    try:
        split(
            balancer(module),
            weights(wanted["weights"]),
            report,
            timeout=wanted["timeout"],
            min_healthy=wanted["min_healthy"],
            check_mode=module.check_mode,
        )
    except OperationError as error:
        module.fail_json(msg=str(error), **report.result())
    module.exit_json(**report.result())


def balancer(module: AnsibleModule) -> Balancer:
    wanted = module.params
    sides = {
        name: [members] if isinstance(members, str) else list(members) for name, members in wanted["sides"].items()
    }
    if wanted["balancer"] == "haproxy":
        return Proxies(wanted["sockets"], wanted["backends"], sides)
    return Listeners(aws.client(module, "elbv2"), wanted["listeners"], sides)


def weights(given: dict[str, Any]) -> dict[str, int]:
    try:
        return {name: int(weight) for name, weight in given.items()}
    except (TypeError, ValueError) as error:
        raise OperationError(f"weights: {error}; each has to be a number from 0 to 100.") from error


if __name__ == "__main__":
    main()
