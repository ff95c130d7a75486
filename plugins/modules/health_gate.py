#!/usr/bin/python
# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: health_gate
short_description: Wait until a service is healthy, of the wanted version, and stays so
version_added: 0.2.0
author:
  - Contributors to evenkeel.fleet (@evenkeel)
description:
  - Asks an address until so many good answers came in a row, or fails at the deadline with what was answered last. A
    bad answer starts the row anew.
  - With O(hold) it then goes on asking for so many seconds, and fails at once when the service doesn't stay healthy.
  - It works on the host, where it can watch the container as well, and from the controller (C(delegate_to=localhost))
    against a load balancer.
options:
  url:
    description: The address that has to answer 200.
    type: str
    required: true
  successes:
    description: How many good answers in a row are needed.
    type: int
    default: 3
  timeout:
    description: Seconds after which it fails. The time of O(hold) comes on top.
    type: float
    default: 90
  interval:
    description: Seconds between requests. Between the good answers of a row it is a tenth of a second at most.
    type: float
    default: 0.5
  request_timeout:
    description: Seconds for one request.
    type: float
    default: 3
  validate_certs:
    description: Whether the certificate of an C(https) address is checked.
    type: bool
    default: true
  about_url:
    description:
      - The address whose JSON says version and instance; O(url) itself where it is not given.
      - Behind a load balancer two requests may be answered by two instances, so let one address say all of it there.
    type: str
  wanted_version:
    description: The version that the service has to say it is. Answers of another version are bad ones.
    type: str
  version_field:
    description: Where in the JSON the version stands, such as C(version) or C(build.version).
    type: str
    default: version
  wanted_instance:
    description:
      - The instance that has to answer. Through a load balancer others answer as well; their answers count neither way.
    type: str
  instance_field:
    description: Where in the JSON the instance stands.
    type: str
    default: instanceId
  aggregate_url:
    description: A second address that has to answer 200 once the row is complete, such as C(/api/health/aggregate).
    type: str
  max_latency:
    description: Seconds that the 95th percentile of the answers of the row, and of those during O(hold), may take.
    type: float
  hold:
    description: Seconds for which the service has to stay healthy after that, each answer being good.
    type: float
    default: 0
  tolerate:
    description: How many bad answers during O(hold) are let pass.
    type: int
    default: 0
  container:
    description:
      - A container on the host that the module runs on. When it has ended, keeps ending or is unhealthy by its own
        check, waiting is over at once, and so it is when it is healthy but not of the wanted version.
      - Its published ports have to be reached from outside as well. The engine's rules in the firewall and the kernel's
        forwarding are looked at, and at the end an O(url) on the loopback address is asked by the host's own one.
    type: str
attributes:
  check_mode:
    support: full
    description: Only asks, with and without check mode.
  diff_mode:
    support: none
    description: Changes nothing.
  idempotent:
    support: full
    description: Changes nothing.
  platform:
    support: full
    platforms: posix
    description: With O(container), Linux with a Docker engine.
requirements:
  - Python 3.9 or newer; nothing else.
  - With O(container), the right to use the engine's socket.
notes:
  - Whether an instance's heartbeat is fresh is in the database, and so is for the modules that read it to say.
seealso:
  - module: evenkeel.fleet.container_swap
"""

EXAMPLES = r"""
- name: The gateway of this host is healthy and of the new version
  evenkeel.fleet.health_gate:
    url: http://127.0.0.1/api/health
    about_url: http://127.0.0.1/api/about-me
    wanted_version: 2.4.1
    container: bk-gateway-api

- name: It stays so for half a minute, and answers quickly
  evenkeel.fleet.health_gate:
    url: http://127.0.0.1/api/health
    successes: 5
    max_latency: 0.2
    hold: 30
    container: bk-gateway-api

- name: The load balancer sends requests to it again
  delegate_to: localhost
  evenkeel.fleet.health_gate:
    url: https://gateway.example.com/api/about-me
    wanted_instance: i-0a1b2c3d4e5f67890
    wanted_version: 2.4.1
"""

RETURN = r"""
answers:
  description: How many answers were asked for.
  returned: always
  type: int
good:
  description: How many of them were good.
  returned: always
  type: int
version:
  description: The version that was said last, where one was wanted.
  returned: always
  type: str
instance:
  description: The instance that was said last, where version or instance was wanted.
  returned: always
  type: str
latency:
  description: Seconds that the good answers took, V(p50), V(p95) and V(max); V(null) where there was none.
  returned: always
  type: dict
seconds:
  description: Seconds that all of it took.
  returned: always
  type: float
log:
  description: The last lines of O(container), without secrets.
  returned: failure, with O(container)
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.evenkeel.fleet.plugins.module_utils._host.health import pass_gate


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "url": {"type": "str", "required": True},
            "successes": {"type": "int", "default": 3},
            "timeout": {"type": "float", "default": 90},
            "interval": {"type": "float", "default": 0.5},
            "request_timeout": {"type": "float", "default": 3},
            "validate_certs": {"type": "bool", "default": True},
            "about_url": {"type": "str"},
            "wanted_version": {"type": "str"},
            "version_field": {"type": "str", "default": "version"},
            "wanted_instance": {"type": "str"},
            "instance_field": {"type": "str", "default": "instanceId"},
            "aggregate_url": {"type": "str"},
            "max_latency": {"type": "float"},
            "hold": {"type": "float", "default": 0},
            "tolerate": {"type": "int", "default": 0},
            "container": {"type": "str"},
        },
        supports_check_mode=True,
    )
    report, problem = pass_gate(module.params)
    if problem:
        module.fail_json(msg=problem, **report)
    module.exit_json(changed=False, **report)


if __name__ == "__main__":
    main()
