#!/usr/bin/python
# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: url_probe
short_description: Send requests to URLs from a host, and return status and duration of each
version_added: 0.3.0
author: Contributors to evenkeel.fleet (@evenkeel)
description:
  - Sends some requests to each URL, one after the other, and returns a line for each. Nothing is judged.
attributes:
  check_mode:
    description: Sends requests, which change nothing.
    support: full
  platform:
    description: Linux.
    support: full
    platforms: linux
options:
  urls:
    description: The URLs.
    type: list
    elements: str
    required: true
  requests:
    description: The number of requests to each URL.
    type: int
    default: 9
  request_timeout:
    description: Seconds for one request.
    type: float
    default: 5
requirements:
  - Python 3.9 or newer on the host; nothing else.
seealso:
  - plugin: evenkeel.fleet.ecs_probe
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Send requests to a service from the host
  evenkeel.fleet.url_probe:
    urls: ["http://internal-0123.elb.eu-central-1.amazonaws.com:3002/health"]
"""

RETURN = r"""
log:
  description:
    - Lines C(probe INDEX STATUS SECONDS) and C(probe-error INDEX REASON). The status is 000 without an answer.
  returned: always
  type: list
  elements: str
  sample: ["probe 0 200 0.0123"]
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.evenkeel.fleet.plugins.module_utils._host.url_probe import ask


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "urls": {"type": "list", "elements": "str", "required": True},
            "requests": {"type": "int", "default": 9},
            "request_timeout": {"type": "float", "default": 5},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    module.exit_json(changed=False, log=ask(wanted["urls"], wanted["requests"], wanted["request_timeout"]))


if __name__ == "__main__":
    main()
