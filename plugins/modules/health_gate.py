#!/usr/bin/python
# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: health_gate
short_description: Wait until a service is healthy, has the wanted version, and stays healthy
version_added: 0.2.0
author:
  - Contributors to evenkeel.fleet (@evenkeel)
description:
  - Sends health checks to a URL until O(successes) consecutive checks succeed. At the deadline it fails with the last
    response. A failed check resets the count.
  - With O(hold) it then continues for O(hold) seconds, and fails at once if the service becomes unhealthy.
  - Runs on the host, where it can also watch the container, or on the controller (C(delegate_to=localhost)) against a
    load balancer.
options:
  url:
    description: The URL that has to return O(status).
    type: str
    required: true
  status:
    description: The status of a successful health check.
    type: int
    default: 200
    version_added: 0.3.0
  successes:
    description: The number of consecutive successful health checks that are needed.
    type: int
    default: 3
  timeout:
    description: Seconds after which it fails. The time of O(hold) is added.
    type: float
    default: 90
  interval:
    description: Seconds between health checks. After a successful check it waits a tenth of a second at most.
    type: float
    default: 0.5
  request_timeout:
    description: Seconds for one request.
    type: float
    default: 3
  validate_certs:
    description: Whether the certificate of an C(https) URL is verified.
    type: bool
    default: true
  about_url:
    description:
      - The URL whose JSON has the version and the instance. By default O(url).
      - Behind a load balancer, two instances may answer two requests. Use one URL that returns both values there.
    type: str
  wanted_version:
    description: The version that the service has to report. A response of another version counts as failed.
    type: str
  version_field:
    description: The field of the JSON that has the version, such as C(version) or C(build.version).
    type: str
    default: version
  wanted_instance:
    description:
      - The instance that has to answer. Behind a load balancer other instances answer as well; their responses are
        ignored.
    type: str
  instance_field:
    description: The field of the JSON that has the instance id.
    type: str
    default: instanceId
  aggregate_url:
    description: A second URL that has to return status 200 after that, such as C(/api/health/aggregate).
    type: str
  max_latency:
    description: The longest 95th percentile in seconds of the consecutive checks, and of those during O(hold).
    type: float
  hold:
    description: Seconds for which the service has to stay healthy after that.
    type: float
    default: 0
  tolerate:
    description: How many failed checks during O(hold) are ignored.
    type: int
    default: 0
  container:
    description:
      - A container on the host that the module runs on. The module fails at once when the container has exited, keeps
        restarting or is unhealthy by its own health check, or is healthy but not of the wanted version.
      - Its published ports have to be reachable from outside as well. The module checks the engine's firewall rules and
        the kernel's IP forwarding. At the end it also sends a check to the host's own address where O(url) is a
        loopback address.
    type: str
attributes:
  check_mode:
    support: full
    description: Only reads, with and without check mode.
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
  - The heartbeat of an instance is in the database; the modules that read the database check it.
seealso:
  - module: evenkeel.fleet.container_swap
"""

EXAMPLES = r"""
- name: Wait until the gateway of this host is healthy and has the new version
  evenkeel.fleet.health_gate:
    url: http://127.0.0.1/api/health
    about_url: http://127.0.0.1/api/about-me
    wanted_version: 2.4.1
    container: bk-gateway-api

- name: Wait until it has been healthy for half a minute and answers quickly
  evenkeel.fleet.health_gate:
    url: http://127.0.0.1/api/health
    successes: 5
    max_latency: 0.2
    hold: 30
    container: bk-gateway-api

- name: Wait until the load balancer sends requests to it again
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
  description: Seconds that the successful health checks took, V(p50), V(p95) and V(max); V(null) where there was none.
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

from ansible_collections.evenkeel.fleet.plugins.module_utils._host.health_gate import pass_gate


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "url": {"type": "str", "required": True},
            "status": {"type": "int", "default": 200},
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
