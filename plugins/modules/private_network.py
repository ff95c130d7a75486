#!/usr/bin/python
# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: private_network
short_description: Manage private subnets with NAT gateways, ingress rules and VPC endpoints
version_added: 0.3.0
author: Contributors to evenkeel.fleet (@evenkeel)
description:
  - Creates private subnets in a VPC that exists, one in each zone, with a route table each; NAT gateways in public
    subnets, with Elastic IP addresses that are found by their Name tag; ingress rules of security groups; VPC
    endpoints. Changes what differs, or deletes what it created.
  - An Elastic IP address of that name that exists is used, also if it was not allocated by this module, and so is
    its NAT gateway. Neither is ever replaced.
  - What it creates has the tag C(evenkeel:network) from the first moment. Only that is changed or deleted. Subnets,
    routes, rules and endpoints of others stay.
  - What AWS would refuse is found before anything changes, such as a CIDR block that overlaps, a subnet that is not
    public, or a quota of addresses that is used up. A run that was interrupted is completed by the next one.
  - C(amazon.aws.ec2_vpc_nat_gateway) makes another address and gateway at each run, or with another address.
    C(amazon.aws.ec2_vpc_subnet) does not notice another zone, and C(amazon.aws.ec2_vpc_route_table) and
    C(amazon.aws.ec2_security_group) remove routes and rules of others unless told otherwise.
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
      - V(absent) deletes what was created for it. It is refused while network interfaces of others are in its subnets,
        subnets of others use its route tables, or route tables of others lead to its NAT gateways.
    type: str
    choices: [present, absent]
    default: present
  name:
    description: The network's name. The Name tags of what is created begin with it.
    type: str
    required: true
  vpc_id:
    description: The VPC, which must exist.
    type: str
    required: true
  zones:
    description:
      - The zones of the private subnets, whose CIDR blocks are derived. The default is the first three of the region by
        their names.
      - A subnet gets the lowest free block of the size of O(prefix_length) within the VPC's blocks. One that was
        created keeps its block.
    type: list
    elements: str
    default: []
  prefix_length:
    description: The size of derived CIDR blocks, 16 to 28.
    type: int
    default: 24
  subnets:
    description: The private subnets with their CIDR blocks, instead of O(zones).
    type: list
    elements: dict
    default: []
    suboptions:
      zone:
        description: Its availability zone. AWS can't change it later.
        type: str
        required: true
      cidr:
        description: Its CIDR block, within the VPC's.
        type: str
        required: true
  nat:
    description:
      - V(one) gives all zones one NAT gateway, V(per_zone) each zone its own. V(none) deletes those that were created
        for this network, with their routes.
    type: str
    choices: [one, per_zone, none]
    default: one
  public_subnets:
    description:
      - Ids or Name tags of public subnets for the NAT gateways. With V(one) the first one is used, unless the address
        has a NAT gateway in another one of these. With V(per_zone) there must be one in each zone.
    type: list
    elements: str
    default: []
  addresses:
    description:
      - Name tags of the Elastic IP addresses, one, or one for each zone in their order. An address is allocated only if
        none has the name.
      - The default is O(name) with C(-nat), or with C(-nat-) and the zone.
    type: list
    elements: str
    default: []
  ingress:
    description:
      - Rules of security groups that exist. Rules are added; one that was added and is no longer here is removed.
    type: list
    elements: dict
    default: []
    suboptions:
      security_group:
        description: Id of the security group.
        type: str
        required: true
      ports:
        description: The ports, a rule for each.
        type: list
        elements: int
        required: true
      protocol:
        description: The protocol.
        type: str
        choices: [tcp, udp]
        default: tcp
      source:
        description: A CIDR block or the id of a security group. Empty for the VPC's CIDR blocks.
        type: str
        default: ""
  endpoints:
    description:
      - The VPC endpoints, which keep traffic to these services off the NAT gateways. V(s3) is a gateway endpoint for
        the route tables, the others are interface endpoints with private DNS names.
      - An interface endpoint of others with private DNS names is used as it is.
    type: list
    elements: str
    choices: [ecr.api, ecr.dkr, logs, s3, secretsmanager, ssm]
    default: []
  endpoint_security_groups:
    description: Ids of the security groups of interface endpoints. They must let the tasks reach port 443.
    type: list
    elements: str
    default: []
  release_address:
    description:
      - Whether Elastic IP addresses that were allocated for this network and are no longer declared, or all of them
        with O(state=absent), are released. AWS does not give a released address back.
    type: bool
    default: false
  tags:
    description:
      - Tags of what is created. Without the option, tags are left alone.
      - A tag that is no longer here is removed if its value is still the one that this module set. Tags of others stay.
      - The tag C(evenkeel:tags) records what was set.
    type: dict
  timeout:
    description: Seconds to wait until NAT gateways or endpoints are available or deleted, for each kind.
    type: float
    default: 600
notes:
  - The IAM actions needed are C(ec2:DescribeVpcs), C(ec2:DescribeSubnets), C(ec2:DescribeRouteTables),
    C(ec2:DescribeAddresses), C(ec2:DescribeNatGateways), C(ec2:DescribeVpcEndpoints),
    C(ec2:DescribeSecurityGroupRules), C(ec2:DescribeSecurityGroups), C(ec2:DescribeAvailabilityZones),
    C(ec2:DescribeAccountAttributes), C(ec2:DescribeVpcAttribute), C(ec2:DescribeNetworkInterfaces),
    C(ec2:AllocateAddress), C(ec2:ReleaseAddress), C(ec2:CreateNatGateway), C(ec2:DeleteNatGateway),
    C(ec2:CreateSubnet), C(ec2:ModifySubnetAttribute), C(ec2:DeleteSubnet), C(ec2:CreateRouteTable),
    C(ec2:AssociateRouteTable), C(ec2:ReplaceRouteTableAssociation), C(ec2:DeleteRouteTable), C(ec2:CreateRoute),
    C(ec2:ReplaceRoute), C(ec2:DeleteRoute), C(ec2:AuthorizeSecurityGroupIngress),
    C(ec2:RevokeSecurityGroupIngress), C(ec2:CreateVpcEndpoint), C(ec2:ModifyVpcEndpoint),
    C(ec2:DeleteVpcEndpoints), C(ec2:CreateTags) and C(ec2:DeleteTags).
seealso:
  - module: evenkeel.fleet.load_balancer
extends_documentation_fragment:
  - evenkeel.fleet.aws
"""

EXAMPLES = r"""
- name: Create private subnets with one NAT gateway
  evenkeel.fleet.private_network:
    name: production-private
    vpc_id: vpc-0123456789abcdef0
    public_subnets: [subnet-0123456789abcdef0]
    addresses: [production-nat]
    ingress:
      - {security_group: sg-0123456789abcdef0, ports: [3002, 3003, 5001]}
    endpoints: [s3]
    region: eu-central-1
  register: network

- name: Delete it, and keep the address
  evenkeel.fleet.private_network:
    name: production-private
    vpc_id: vpc-0123456789abcdef0
    state: absent
"""

RETURN = r"""
subnets:
  description: Ids of the private subnets by zone; empty texts in check mode where there is none yet.
  returned: success, with O(state=present)
  type: dict
  sample: {eu-central-1a: subnet-0123456789abcdef0}
route_tables:
  description: Ids of their route tables by zone.
  returned: success, with O(state=present)
  type: dict
nat_gateways:
  description: Ids of the NAT gateways by the names of their addresses.
  returned: success, with O(state=present)
  type: dict
addresses:
  description: The public IP addresses by name, which others have to allow. With O(state=absent), those that were kept.
  returned: success
  type: dict
  sample: {production-nat: 192.0.2.10}
endpoints:
  description: Ids of the VPC endpoints by service.
  returned: success, with O(state=present)
  type: dict
progress:
  description: What was seen while waiting, and after how many seconds.
  returned: always
  type: list
  elements: str
"""

from collections.abc import Callable
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.evenkeel.fleet.plugins.module_utils._aws import client
from ansible_collections.evenkeel.fleet.plugins.module_utils._aws.api import Api
from ansible_collections.evenkeel.fleet.plugins.module_utils._aws.pairs import texts
from ansible_collections.evenkeel.fleet.plugins.module_utils._aws.private_network import declaration
from ansible_collections.evenkeel.fleet.plugins.module_utils._aws.private_network.change import ensure
from ansible_collections.evenkeel.fleet.plugins.module_utils._aws.private_network.removal import remove
from ansible_collections.evenkeel.fleet.plugins.module_utils._common.progress import OperationError, Progress

SUBNET: dict[str, dict[str, Any]] = {
    "zone": {"type": "str", "required": True},
    "cidr": {"type": "str", "required": True},
}
INGRESS: dict[str, dict[str, Any]] = {
    "security_group": {"type": "str", "required": True},
    "ports": {"type": "list", "elements": "int", "required": True},
    "protocol": {"type": "str", "choices": ["tcp", "udp"], "default": "tcp"},
    "source": {"type": "str", "default": ""},
}
ENDPOINTS = sorted([*declaration.INTERFACE_ENDPOINTS, *declaration.GATEWAY_ENDPOINTS])
NAT = [declaration.ONE, declaration.PER_ZONE, declaration.NONE]
ARGUMENTS: dict[str, dict[str, Any]] = {
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "name": {"type": "str", "required": True},
    "vpc_id": {"type": "str", "required": True},
    "zones": {"type": "list", "elements": "str", "default": []},
    "prefix_length": {"type": "int", "default": 24},
    "subnets": {"type": "list", "elements": "dict", "options": SUBNET, "default": []},
    "nat": {"type": "str", "choices": NAT, "default": declaration.ONE},
    "public_subnets": {"type": "list", "elements": "str", "default": []},
    "addresses": {"type": "list", "elements": "str", "default": []},
    "ingress": {"type": "list", "elements": "dict", "options": INGRESS, "default": []},
    "endpoints": {"type": "list", "elements": "str", "choices": ENDPOINTS, "default": []},
    "endpoint_security_groups": {"type": "list", "elements": "str", "default": []},
    "release_address": {"type": "bool", "default": False},
    "tags": {"type": "dict"},
    "timeout": {"type": "float", "default": 600},
    **client.ARGUMENTS,
}
AS_THEY_ARE = (
    "name",
    "vpc_id",
    "zones",
    "prefix_length",
    "nat",
    "public_subnets",
    "addresses",
    "endpoints",
    "endpoint_security_groups",
    "release_address",
    "timeout",
)


def main(make: Callable[..., AnsibleModule] = AnsibleModule) -> None:
    module = client.make_module(make, ARGUMENTS)
    progress = Progress(say=module.log, timeout=module.params["timeout"])
    try:
        result = act(module, progress)
    except OperationError as error:
        module.fail_json(msg=str(error), progress=progress.progress)
    for warning in progress.warnings:
        module.warn(warning)
    module.exit_json(**result, progress=progress.progress)


def act(module: AnsibleModule, progress: Progress) -> dict[str, Any]:
    options = module.params
    ec2 = Api(client.client(module, "ec2"))
    if options["state"] == "absent":
        removed = remove(
            ec2, options["name"], options["vpc_id"], options["release_address"], progress, module.check_mode
        )
        diff = {"before": removed.before, "after": {}}
        return {"changed": removed.changed, "addresses": removed.kept, "diff": diff}
    declared = declaration.PrivateNetwork(
        **{key: options[key] for key in AS_THEY_ARE},
        subnets=[declaration.PrivateSubnet(**subnet) for subnet in options["subnets"]],
        ingress=[declaration.Ingress(**rule) for rule in options["ingress"]],
        tags=None if options["tags"] is None else texts(options["tags"]),
    )
    outcome = ensure(ec2, declared, progress, module.check_mode)
    return {
        "changed": outcome.changed,
        "subnets": outcome.subnets,
        "route_tables": outcome.route_tables,
        "nat_gateways": outcome.nat_gateways,
        "addresses": outcome.addresses,
        "endpoints": outcome.endpoints,
        "diff": {"before": outcome.before, "after": outcome.after},
    }


if __name__ == "__main__":
    main()
