#!/usr/bin/python
# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: deployment_rollout_info
short_description: Look up a Deployment of Kubernetes, its pods and how far its rollout is
version_added: 0.3.0
author: Contributors to evenkeel.fleet (@evenkeel)
description:
  - Returns the image, the counts, the pods with the reasons why they are not ready, and the template that a rollback
    would go back to.
attributes:
  check_mode:
    description: It changes nothing.
    support: full
  diff_mode:
    description: It changes nothing.
    support: none
options:
  namespace:
    description: The namespace of the Deployment.
    type: str
    default: default
  name:
    description: The name of the Deployment.
    type: str
    required: true
  container:
    description:
      - The container whose image is shown. The default is the only one, or of several the one that is named like the
        Deployment.
    type: str
    default: ""
  annotation_prefix:
    description: The prefix of the annotations.
    type: str
    default: evenkeel.fleet
extends_documentation_fragment:
  - evenkeel.fleet.kubernetes
notes:
  - The permissions needed in the namespace are C(get) on C(deployments), and C(list) on C(replicasets) and C(pods).
seealso:
  - module: evenkeel.fleet.deployment_rollout
"""

EXAMPLES = r"""
- name: Look up the gateway
  evenkeel.fleet.deployment_rollout_info:
    namespace: gateway
    name: gateway-blue
  register: gateway
  delegate_to: localhost
"""

RETURN = r"""
exists:
  description: Whether there is such a Deployment.
  returned: always
  type: bool
deployment:
  description: The Deployment; empty where it does not exist.
  returned: always
  type: dict
  contains:
    image: {description: The image of its template., type: str, returned: always}
    container: {description: The container that has it., type: str, returned: always}
    complete: {description: Whether all its pods are of this template and available., type: bool, returned: always}
    paused: {description: Whether its controller rolls nothing out., type: bool, returned: always}
    replicas: {description: 'C(wanted), C(updated) and C(available).', type: dict, returned: always}
    words: {description: The same for a person., type: str, returned: always}
    template: {description: The pod-template-hash., type: str, returned: always}
    revision: {description: The number of its revision., type: int, returned: always}
    good:
      description: What a rollback goes back to, C(image), C(template) and C(revision); empty if nothing is known.
      type: dict
      returned: always
    annotations: {description: What the last rollout noted., type: dict, returned: always}
    problem: {description: The controller's own reason why it does not progress., type: str, returned: always}
    pods:
      description: Its pods, the oldest first.
      type: list
      elements: dict
      returned: always
      contains:
        name: {description: The name., type: str, returned: always}
        updated: {description: Whether it is of the newest template., type: bool, returned: always}
        ready: {description: Whether it is ready., type: bool, returned: always}
        ends: {description: Whether it is being deleted., type: bool, returned: always}
        image: {description: The image., type: str, returned: always}
        restarts: {description: How often its containers have restarted., type: int, returned: always}
        trouble: {description: Why it does not become ready., type: str, returned: always}
"""

from collections.abc import Callable
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.evenkeel.fleet.plugins.module_utils._common.progress import OperationError
from ansible_collections.evenkeel.fleet.plugins.module_utils._kubernetes import client
from ansible_collections.evenkeel.fleet.plugins.module_utils._kubernetes.api import DEPLOYMENT
from ansible_collections.evenkeel.fleet.plugins.module_utils._kubernetes.deployment import Annotations
from ansible_collections.evenkeel.fleet.plugins.module_utils._kubernetes.readings import Reader


def main(make: Callable[..., AnsibleModule] = AnsibleModule) -> None:
    module = make(
        argument_spec={
            "namespace": {"type": "str", "default": "default"},
            "name": {"type": "str", "required": True},
            "container": {"type": "str", "default": ""},
            "annotation_prefix": {"type": "str", "default": "evenkeel.fleet"},
            **client.ARGUMENTS,
        },
        supports_check_mode=True,
    )
    try:
        found = look(module)
    except OperationError as error:
        module.fail_json(msg=str(error))
    module.exit_json(exists=bool(found), deployment=found)


def look(module: AnsibleModule) -> dict[str, Any]:
    wanted = module.params
    api = client.api(module)
    if api.find(DEPLOYMENT, wanted["namespace"], wanted["name"]) is None:
        return {}
    reading = Reader(api, wanted["namespace"], wanted["name"], wanted["container"]).read()
    return reading.result(Annotations(wanted["annotation_prefix"]))


if __name__ == "__main__":
    main()
