#!/usr/bin/python
# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: load_balancer
short_description: Manage an Application Load Balancer that forwards to a target group
version_added: 0.2.0
author: Contributors to evenkeel.fleet (@evenkeel)
description:
  - Creates an Application Load Balancer with its listeners, changes what differs, or deletes it.
  - With a certificate, port 443 forwards to the target group and port 80 redirects there; without one port 80 forwards.
    Listeners on other ports are left alone, and so are the rules of these.
  - C(amazon.aws.elb_application_lb) shows no diff, does not notice another scheme, and resets a listener's weights.
    C(amazon.aws.elb_application_lb_info) fails on a name that does not exist.
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
      - V(present) creates or changes it.
      - V(absent) is refused while it has listeners on other ports than 80 and 443, rules, or deletion protection.
    type: str
    choices: [present, absent]
    default: present
  name:
    description: The load balancer's name.
    type: str
    required: true
  scheme:
    description: Whether it has public addresses. AWS can't change it later.
    type: str
    choices: [internet-facing, internal]
    default: internet-facing
  subnets:
    description: Ids of its subnets, in two zones at least. Needed with O(state=present).
    type: list
    elements: str
  security_groups:
    description: Ids of its security groups. Needed with O(state=present).
    type: list
    elements: str
  target_group_arn:
    description: ARN of the target group to forward to. Needed with O(state=present).
    type: str
  keep_forward:
    description:
      - Whether a listener keeps the target groups and weights that it forwards to already, such as those of a canary or
        of a blue/green switch.
    type: bool
    default: true
  certificate_arn:
    description: The certificate for HTTPS; empty for HTTP alone.
    type: str
    default: ""
  ssl_policy:
    description: The security policy, which sets the versions and ciphers of TLS.
    type: str
    default: ELBSecurityPolicy-TLS13-1-2-2021-06
  attributes:
    description: The load balancer's attributes by AWS's own names, such as C(idle_timeout.timeout_seconds).
    type: dict
    default: {}
  tags:
    description:
      - Its tags. Without the option, tags are left alone.
      - A tag that is no longer here is removed if its value is still the one that this module set. Tags of others stay.
      - The tag C(evenkeel:tags) records what was set.
    type: dict
  timeout:
    description: Seconds to wait until it is active, which takes AWS some minutes the first time; 0 to go on at once.
    type: float
    default: 600
notes:
  - The IAM actions needed are C(elasticloadbalancing:DescribeLoadBalancers), C(DescribeLoadBalancerAttributes),
    C(DescribeListeners), C(DescribeTags), C(CreateLoadBalancer), C(ModifyLoadBalancerAttributes), C(SetSubnets),
    C(SetSecurityGroups), C(AddTags), C(RemoveTags), C(CreateListener), C(ModifyListener), C(DeleteListener), and
    to delete it C(DescribeRules) and C(DeleteLoadBalancer).
extends_documentation_fragment:
  - evenkeel.fleet.aws
"""

EXAMPLES = r"""
- name: Serve HTTPS, and redirect HTTP to it
  evenkeel.fleet.load_balancer:
    name: gateways
    subnets: [subnet-0123456789abcdef0, subnet-0123456789abcdef1]
    security_groups: [sg-0123456789abcdef0]
    target_group_arn: "{{ group.target_group_arn }}"
    certificate_arn: arn:aws:acm:eu-central-1:123456789012:certificate/12345678-1234-1234-1234-123456789012
    attributes: {idle_timeout.timeout_seconds: 60}
    region: eu-central-1

- name: Delete it
  evenkeel.fleet.load_balancer:
    name: gateways
    state: absent
"""

RETURN = r"""
load_balancer_arn:
  description: Its ARN; empty where there is none, and in check mode where there is none yet.
  returned: success
  type: str
  sample: arn:aws:elasticloadbalancing:eu-central-1:123456789012:loadbalancer/app/gateways/0123456789abcdef
dns_name:
  description: Its DNS name.
  returned: success
  type: str
  sample: gateways-1234567890.eu-central-1.elb.amazonaws.com
"""

from collections.abc import Callable
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.evenkeel.fleet.plugins.module_utils._aws import client
from ansible_collections.evenkeel.fleet.plugins.module_utils._aws.api import Api
from ansible_collections.evenkeel.fleet.plugins.module_utils._aws.load_balancer import Outcome, Wanted, ensure, remove
from ansible_collections.evenkeel.fleet.plugins.module_utils._aws.pairs import texts
from ansible_collections.evenkeel.fleet.plugins.module_utils._common.progress import OperationError

ARGUMENTS: dict[str, dict[str, Any]] = {
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "name": {"type": "str", "required": True},
    "scheme": {"type": "str", "choices": ["internet-facing", "internal"], "default": "internet-facing"},
    "subnets": {"type": "list", "elements": "str"},
    "security_groups": {"type": "list", "elements": "str"},
    "target_group_arn": {"type": "str"},
    "keep_forward": {"type": "bool", "default": True},
    "certificate_arn": {"type": "str", "default": ""},
    "ssl_policy": {"type": "str", "default": "ELBSecurityPolicy-TLS13-1-2-2021-06"},
    "attributes": {"type": "dict", "default": {}},
    "tags": {"type": "dict"},
    "timeout": {"type": "float", "default": 600},
    **client.ARGUMENTS,
}
NEEDED = ["subnets", "security_groups", "target_group_arn"]


def main(make: Callable[..., AnsibleModule] = AnsibleModule) -> None:
    module = make(
        argument_spec=ARGUMENTS,
        required_if=[("state", "present", NEEDED)],
        supports_check_mode=True,
        required_together=client.REQUIRED_TOGETHER,
        mutually_exclusive=client.MUTUALLY_EXCLUSIVE,
    )
    try:
        outcome = act(module)
    except OperationError as error:
        module.fail_json(msg=str(error))
    module.exit_json(
        changed=outcome.changed,
        load_balancer_arn=outcome.arn,
        dns_name=outcome.dns_name,
        diff={"before": outcome.before, "after": outcome.after},
    )


def act(module: AnsibleModule) -> Outcome:
    wanted = module.params
    elb = Api(client.client(module, "elbv2"))
    if wanted["state"] == "absent":
        return remove(elb, wanted["name"], module.check_mode)
    as_it_is = ("name", "scheme", "keep_forward", "certificate_arn", "ssl_policy", "timeout")
    declared = Wanted(
        **{key: wanted[key] for key in (*NEEDED, *as_it_is)},
        attributes=texts(wanted["attributes"]),
        tags=None if wanted["tags"] is None else texts(wanted["tags"]),
    )
    return ensure(elb, declared, module.check_mode)


if __name__ == "__main__":
    main()
