#!/usr/bin/python
# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: gateway_urls
short_description: Set the URLs of services that all gateways of a fleet use, in AWS's Parameter Store
version_added: 0.3.0
author: Contributors to evenkeel.fleet (@evenkeel)
description:
  - Keeps variables with URLs as JSON in one parameter. The role C(gateway) adds them to the environment of each
    gateway, on every host and in every playbook, so that a rollout of an image or a new instance does not bring other
    URLs back.
  - It changes the parameter alone. A rollout brings the URLs to the hosts.
attributes:
  check_mode:
    description: Reads the parameter and changes nothing.
    support: full
  diff_mode:
    description: Shows the URLs before and after.
    support: full
  idempotent:
    description: A second call with the same options changes nothing.
    support: full
options:
  name:
    description: Name of the parameter.
    type: str
    required: true
  urls:
    description: The URLs by variable. Other variables of the parameter stay as they are.
    type: dict
    required: true
  replace:
    description: Whether a parameter that exists is changed. With V(false) it is only created where it is missing.
    type: bool
    default: true
extends_documentation_fragment:
  - evenkeel.fleet.aws
notes:
  - The IAM actions needed are C(ssm:GetParameter) and C(ssm:PutParameter).
seealso:
  - plugin: evenkeel.fleet.gateway_urls
    plugin_type: lookup
  - module: evenkeel.fleet.ecs_internal_info
"""

EXAMPLES = r"""
- name: Let the gateways use the internal load balancer
  evenkeel.fleet.gateway_urls:
    name: /shop/gateway-urls
    urls:
      USERS_SERVICE_URL: http://internal-0123.elb.eu-central-1.amazonaws.com:3002
    region: eu-central-1
"""

RETURN = r"""
urls:
  description: The URLs by variable, as they are afterwards.
  returned: success
  type: dict
changed_at:
  description: When they were written last, in ISO 8601; empty in check mode where the parameter is missing.
  returned: success
  type: str
"""

from collections.abc import Callable
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.evenkeel.fleet.plugins.module_utils._aws import client as aws
from ansible_collections.evenkeel.fleet.plugins.module_utils._aws import gateway_urls
from ansible_collections.evenkeel.fleet.plugins.module_utils._aws.api import Api

ARGUMENTS: dict[str, dict[str, Any]] = {
    "name": {"type": "str", "required": True},
    "urls": {"type": "dict", "required": True},
    "replace": {"type": "bool", "default": True},
    **aws.ARGUMENTS,
}


def main(make: Callable[..., AnsibleModule] = AnsibleModule) -> None:
    aws.run(make, ARGUMENTS, ensure)


def ensure(module: AnsibleModule) -> dict[str, Any]:
    wanted = module.params
    ssm = Api(aws.client(module, "ssm"))
    found = gateway_urls.read(ssm, wanted["name"])
    after = found.urls if found.exists and not wanted["replace"] else gateway_urls.merged(found.urls, wanted["urls"])
    changed = after != found.urls or not found.exists
    diff = {"before": found.urls, "after": after}
    if changed and not module.check_mode:
        found = gateway_urls.write(ssm, wanted["name"], after, exists=found.exists)
    return {"changed": changed, "urls": after, "changed_at": found.changed_at, "diff": diff}


if __name__ == "__main__":
    main()
