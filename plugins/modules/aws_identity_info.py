#!/usr/bin/python
# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: aws_identity_info
short_description: Check that calls to AWS reach the declared account and region
version_added: 0.2.0
author: Contributors to evenkeel.fleet (@evenkeel)
description:
  - Fails where the environment names another region, profile or endpoint than is declared, where the inventory lists
    instances of other regions only, and where the credentials are of another account. So nothing is created in the
    wrong place. The roles of this collection run it before any change in AWS.
  - Returns the region, its partition and, where O(account) is given, the caller.
attributes:
  check_mode:
    description: Changes nothing.
    support: full
options:
  account:
    description: The account that the credentials have to be of, twelve digits. Without it, AWS is not asked.
    type: str
  regions:
    description: By the name of a variable, a region that has to be the declared one. An empty text says nothing.
    type: dict
    default: {}
  inventories:
    description:
      - By the path of an inventory, the regions whose instances it lists.
      - By default, what the files of the plugin C(amazon.aws.aws_ec2) say that Ansible was started with.
    type: dict
    default: {}
notes:
  - The call C(sts:GetCallerIdentity) needs no permission.
extends_documentation_fragment:
  - evenkeel.fleet.aws
"""

EXAMPLES = r"""
- name: Check the account and the region
  evenkeel.fleet.aws_identity_info:
    account: "123456789012"
    region: eu-central-1
  register: identity
"""

RETURN = r"""
region:
  description: The region that calls go to.
  returned: success
  type: str
  sample: eu-central-1
partition:
  description: The partition of the region.
  returned: success
  type: str
  sample: aws
account:
  description: The caller's account; empty without O(account).
  returned: success
  type: str
  sample: "123456789012"
arn:
  description: The caller's ARN; empty without O(account).
  returned: success
  type: str
  sample: arn:aws:sts::123456789012:assumed-role/operator/session
"""

import os
from collections.abc import Callable
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.evenkeel.fleet.plugins.module_utils._aws import client
from ansible_collections.evenkeel.fleet.plugins.module_utils._aws.api import Api
from ansible_collections.evenkeel.fleet.plugins.module_utils._aws.identity import (
    ENVIRONMENT,
    Identity,
    disagreements,
    identify,
    inventories_elsewhere,
)
from ansible_collections.evenkeel.fleet.plugins.module_utils._common.progress import OperationError

ARGUMENTS: dict[str, dict[str, Any]] = {
    "account": {"type": "str"},
    "regions": {"type": "dict", "default": {}},
    "inventories": {"type": "dict", "default": {}},
    **client.ARGUMENTS,
}


def main(make: Callable[..., AnsibleModule] = AnsibleModule) -> None:
    module = client.make_module(make, ARGUMENTS)
    try:
        found = act(module)
    except OperationError as error:
        module.fail_json(msg=str(error))
    module.exit_json(region=found.region, partition=found.partition, account=found.account, arn=found.arn)


def act(module: AnsibleModule) -> Identity:
    wanted = module.params
    made = client.client(module, "sts")
    declared = {option: wanted[option] or "" for option in ENVIRONMENT}
    regions = {name: str(value) for name, value in wanted["regions"].items()}
    # Without a declared region, the environment or the profile are the one source.
    effective = {**declared, "region": declared["region"] or made.meta.region_name}
    found = disagreements(declared, {}, os.environ) + disagreements({"region": effective["region"]}, regions, {})
    found += inventories_elsewhere(wanted["inventories"], effective["region"])
    if found:
        raise OperationError(
            f"Nothing was changed, because the settings disagree: {' '.join(found)} Unset what is wrong in the "
            "environment, or correct fleet_region, fleet_profile, fleet_endpoint_url or regions of the inventory."
        )
    return identify(Api(made), wanted["account"])


if __name__ == "__main__":
    main()
