#!/usr/bin/python
# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: load_balancer
short_description: Manage an Application Load Balancer or a Network Load Balancer with its listeners
version_added: 0.2.0
author: Contributors to evenkeel.fleet (@evenkeel)
description:
  - Creates a load balancer with its listeners, changes what differs, or deletes it.
  - On an Application Load Balancer with a certificate, port 443 forwards to the target group and port 80 redirects
    there; without one port 80 forwards. Listeners on other ports are left alone, and so are the rules of these.
  - On a Network Load Balancer, each listener forwards to a target group of its own. Listeners on ports that are not
    declared are left alone, except those that this module created before; these are deleted.
  - C(amazon.aws.elb_application_lb) shows no diff, does not notice another scheme, and resets a listener's weights.
    C(amazon.aws.elb_application_lb_info) fails on a name that does not exist. C(community.aws.elb_network_lb) has no
    check mode and no security groups, and deletes the listeners of others.
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
      - V(absent) is refused while it has deletion protection or listeners of others, and an Application Load Balancer
        while it has rules. Listeners of others are those on other ports than 80 and 443, and of a Network Load Balancer
        those that this module did not create.
    type: str
    choices: [present, absent]
    default: present
  name:
    description: The load balancer's name.
    type: str
    required: true
  type:
    description: The type of load balancer. AWS can't change it later.
    type: str
    choices: [application, network]
    default: application
    version_added: 0.3.0
  scheme:
    description: Whether it has public addresses. AWS can't change it later.
    type: str
    choices: [internet-facing, internal]
    default: internet-facing
  subnets:
    description:
      - Ids of its subnets, for an Application Load Balancer in two zones at least. Needed with O(state=present).
    type: list
    elements: str
  security_groups:
    description:
      - Ids of its security groups. Needed with O(state=present) and O(type=application).
      - With O(type=network), a load balancer that is created without any can't get one later, and one that has some
        keeps them if the option is empty.
    type: list
    elements: str
  target_group_arn:
    description: ARN of the target group to forward to. Needed with O(state=present) and O(type=application), and only
      there.
    type: str
  listeners:
    description:
      - The listeners with O(type=network), and only there.
      - A listener that this module creates has the tag C(evenkeel:load_balancer). One that has it and is no longer here
        is deleted.
      - Refused, before anything changes, is a target group whose protocol does not fit the listener's, or that another
        load balancer uses.
    type: list
    elements: dict
    version_added: 0.3.0
    suboptions:
      port:
        description: Its port.
        type: int
        required: true
      protocol:
        description: Its protocol. For TCP and UDP on one port it is V(TCP_UDP).
        type: str
        choices: [TCP, TLS, UDP, TCP_UDP]
        default: TCP
      target_group_arn:
        description: ARN of the target group to forward to.
        type: str
        required: true
      certificate_arn:
        description: The certificate. Needed with V(TLS), and only there.
        type: str
        default: ""
      ssl_policy:
        description: The security policy of TLS.
        type: str
        default: ELBSecurityPolicy-TLS13-1-2-2021-06
  keep_forward:
    description:
      - Whether a listener keeps the target groups and weights that it forwards to already, such as those of a canary or
        of a blue/green switch.
    type: bool
    default: true
  certificate_arn:
    description: The certificate for HTTPS with O(type=application); empty for HTTP alone.
    type: str
    default: ""
  ssl_policy:
    description: The security policy, which sets the versions and ciphers of TLS.
    type: str
    default: ELBSecurityPolicy-TLS13-1-2-2021-06
  attributes:
    description:
      - The load balancer's attributes by AWS's own names, such as C(idle_timeout.timeout_seconds) of an Application
        Load Balancer, and C(load_balancing.cross_zone.enabled) of a network one.
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
    C(SetSecurityGroups), C(AddTags), C(RemoveTags), C(CreateListener), C(ModifyListener), C(DeleteListener), with
    O(type=network) C(DescribeTargetGroups), and to delete it C(DescribeRules) and C(DeleteLoadBalancer).
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

- name: Forward a port to each service, inside the VPC
  evenkeel.fleet.load_balancer:
    name: services
    type: network
    scheme: internal
    subnets: [subnet-0123456789abcdef0, subnet-0123456789abcdef1]
    security_groups: [sg-0123456789abcdef0]
    listeners:
      - {port: 5001, target_group_arn: "{{ auth.target_group_arn }}"}
      - {port: 3002, target_group_arn: "{{ user.target_group_arn }}"}
    attributes: {load_balancing.cross_zone.enabled: true}

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

from collections.abc import Callable, Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.evenkeel.fleet.plugins.module_utils._aws import client
from ansible_collections.evenkeel.fleet.plugins.module_utils._aws.api import Api
from ansible_collections.evenkeel.fleet.plugins.module_utils._aws.load_balancer import (
    APPLICATION,
    NETWORK,
    Outcome,
    Wanted,
    ensure,
    remove,
)
from ansible_collections.evenkeel.fleet.plugins.module_utils._aws.network_listeners import NetworkListener
from ansible_collections.evenkeel.fleet.plugins.module_utils._aws.pairs import texts
from ansible_collections.evenkeel.fleet.plugins.module_utils._common.progress import OperationError

SSL_POLICY = "ELBSecurityPolicy-TLS13-1-2-2021-06"
LISTENER: dict[str, dict[str, Any]] = {
    "port": {"type": "int", "required": True},
    "protocol": {"type": "str", "choices": ["TCP", "TLS", "UDP", "TCP_UDP"], "default": "TCP"},
    "target_group_arn": {"type": "str", "required": True},
    "certificate_arn": {"type": "str", "default": ""},
    "ssl_policy": {"type": "str", "default": SSL_POLICY},
}
ARGUMENTS: dict[str, dict[str, Any]] = {
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "name": {"type": "str", "required": True},
    "type": {"type": "str", "choices": [APPLICATION, NETWORK], "default": APPLICATION},
    "scheme": {"type": "str", "choices": ["internet-facing", "internal"], "default": "internet-facing"},
    "subnets": {"type": "list", "elements": "str"},
    "security_groups": {"type": "list", "elements": "str"},
    "target_group_arn": {"type": "str"},
    "listeners": {"type": "list", "elements": "dict", "options": LISTENER},
    "keep_forward": {"type": "bool", "default": True},
    "certificate_arn": {"type": "str", "default": ""},
    "ssl_policy": {"type": "str", "default": SSL_POLICY},
    "attributes": {"type": "dict", "default": {}},
    "tags": {"type": "dict"},
    "timeout": {"type": "float", "default": 600},
    **client.ARGUMENTS,
}
NEEDED = {APPLICATION: ["subnets", "security_groups", "target_group_arn"], NETWORK: ["subnets", "listeners"]}
OF_THE_OTHER = {APPLICATION: ["listeners"], NETWORK: ["target_group_arn", "certificate_arn"]}


def main(make: Callable[..., AnsibleModule] = AnsibleModule) -> None:
    module = client.make_module(make, ARGUMENTS)
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
    kind = wanted["type"]
    elb = Api(client.client(module, "elbv2"))
    if wanted["state"] == "absent":
        return remove(elb, wanted["name"], kind, module.check_mode)
    refuse_options(wanted, kind)
    as_it_is = ("name", "scheme", "subnets", "keep_forward", "certificate_arn", "ssl_policy", "timeout")
    declared = Wanted(
        **{key: wanted[key] for key in as_it_is},
        kind=kind,
        security_groups=wanted["security_groups"] or [],
        target_group_arn=wanted["target_group_arn"] or "",
        listeners=[NetworkListener(**listener) for listener in wanted["listeners"] or []],
        attributes=texts(wanted["attributes"]),
        tags=None if wanted["tags"] is None else texts(wanted["tags"]),
    )
    return ensure(elb, declared, module.check_mode)


def refuse_options(wanted: Mapping[str, Any], kind: str) -> None:
    missing = [key for key in NEEDED[kind] if wanted[key] is None]
    if missing:
        raise OperationError(f"state is present and type is {kind}, but these are missing: {', '.join(missing)}.")
    foreign = [key for key in OF_THE_OTHER[kind] if wanted[key]]
    if foreign:
        raise OperationError(f"{foreign[0]} is not an option of a load balancer with type: {kind}. Remove it.")


if __name__ == "__main__":
    main()
