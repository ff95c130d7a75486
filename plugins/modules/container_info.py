#!/usr/bin/python
# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: container_info
short_description: Get what a container runs, and whether its service is healthy
version_added: 0.2.0
author:
  - Contributors to evenkeel.fleet (@evenkeel)
description:
  - Queries the engine and the service once; it neither waits nor changes anything. The result says if one of them does
    not answer.
options:
  name:
    description: The container's name.
    type: str
    required: true
  url:
    description: The URL that answers 200 if the service is healthy.
    type: str
  about_url:
    description: The URL whose JSON describes the service.
    type: str
  request_timeout:
    description: Seconds for one request.
    type: float
    default: 3
attributes:
  check_mode:
    support: full
    description: Reads only.
  diff_mode:
    support: none
    description: Changes nothing.
  idempotent:
    support: full
    description: Changes nothing.
  platform:
    support: full
    platforms: linux
    description: Linux with a Docker engine.
requirements:
  - Python 3.9 or newer, and the right to use the engine's socket; nothing else.
seealso:
  - module: evenkeel.fleet.container_swap
  - module: evenkeel.fleet.health_gate
"""

EXAMPLES = r"""
- name: Get the state of the gateway
  become: true
  evenkeel.fleet.container_info:
    name: bk-gateway-api
    url: http://127.0.0.1/api/health
    about_url: http://127.0.0.1/api/about-me
  register: gateway
"""

RETURN = r"""
container:
  description: The container; V(null) where there is none, or where the engine does not answer.
  returned: always
  type: dict
  contains: &container
    id: {description: The container's id., type: str, returned: always}
    image: {description: The reference of its image., type: str, returned: always}
    digest: {description: "The digest of that image in its registry, where it is known.", type: str, returned: always}
    status: {description: Its status in the engine., type: str, returned: always, sample: running}
    started_at: {description: When it was started., type: str, returned: always}
    exit_code: {description: Its exit code; none while it runs., type: int, returned: always}
    restarts: {description: How often the engine has started it again., type: int, returned: always}
previous:
  description: The container C(<name>-previous) that M(evenkeel.fleet.container_swap) keeps, in the same way.
  returned: always
  type: dict
  contains: *container
published:
  description:
    - Whether the published ports are reached from outside, as far as the host can tell by the engine's firewall
      rules, the kernel's forwarding, and a request to O(url) with the host's own address. V(null) if the container
      doesn't run.
  returned: always
  type: dict
  contains:
    reachable: {description: "V(true), V(false), or V(null) if it is not known.", type: bool, returned: always}
    problem: {description: "The obstacle, or what is not known.", type: str, returned: always}
engine_error:
  description: Why nothing is known of the containers.
  returned: always
  type: str
health:
  description: What O(url) answered; V(null) without it.
  returned: always
  type: dict
  contains:
    healthy: {description: Whether it answered 200., type: bool, returned: always}
    seconds: {description: How long it took., type: float, returned: always}
    problem: {description: What came instead., type: str, returned: always}
about:
  description: The JSON of O(about_url), or V(error), what came instead; V(null) without it.
  returned: always
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.evenkeel.fleet.plugins.module_utils._host.container_info import container_info


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "url": {"type": "str"},
            "about_url": {"type": "str"},
            "request_timeout": {"type": "float", "default": 3},
        },
        supports_check_mode=True,
    )
    module.exit_json(changed=False, **container_info(module.params))


if __name__ == "__main__":
    main()
