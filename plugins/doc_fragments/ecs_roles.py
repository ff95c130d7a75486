# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  _input:
    description: The services.
    type: list
    elements: dict
    required: true
  cluster:
    description: Name of the cluster.
    type: str
    required: true
  region:
    description: The region.
    type: str
    required: true
  account:
    description: The account.
    type: str
    required: true
  deployer:
    description: Name of the deployer's role; empty for none.
    type: str
    default: ""
  kms_keys:
    description: ARNs of KMS keys that secrets, queues and topics are encrypted with.
    type: list
    elements: str
    default: []
  secrets:
    description:
      - Where the deployer may move secrets, with C(store), C(path) and C(kms_key) as for M(evenkeel.fleet.ecs_secrets);
        empty for nowhere.
    type: dict
    default: {}
  canary:
    description: The internal load balancer whose weights the deployer may set; empty for none.
    type: str
    default: ""
  urls_parameter:
    description: The parameter with the URLs of gateways on EC2, which the deployer sets; empty for none.
    type: str
    default: ""
"""
