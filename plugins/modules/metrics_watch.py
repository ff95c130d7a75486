#!/usr/bin/python
# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: metrics_watch
short_description: Watch what a gateway counts of its clients' requests
version_added: 0.2.0
description:
  - Reads the gateway's metrics once per O(interval) for O(seconds), and returns the samples. On several hosts it reads
    them at the same times, so that the filter P(evenkeel.fleet.canary_verdict#filter) can compare the hosts.
  - A sample without an answer is omitted. The module fails if there is no sample at all.
author: Contributors to evenkeel.fleet (@evenkeel)
options:
  url:
    description: The URL of the metrics, in the Prometheus text format.
    type: str
    required: true
  seconds:
    description: How many seconds to watch.
    type: float
    default: 300
  interval:
    description: Seconds between two samples.
    type: float
    default: 5
  requests:
    description:
      - The counter of requests, with a label C(status) or C(code). Series whose label C(route) is V(-) are not requests
        of clients, and are ignored.
    type: str
    default: gateway_requests_total
  duration:
    description: The histogram of durations in seconds.
    type: str
    default: gateway_request_duration_seconds
  request_timeout:
    description: The timeout of one request in seconds.
    type: float
    default: 3
  validate_certs:
    description: Whether the server's certificate is verified.
    type: bool
    default: true
requirements:
  - clocks of the hosts that agree to a fraction of O(interval)
seealso:
  - module: evenkeel.fleet.health_gate
"""

EXAMPLES = r"""
- name: Watch the requests of clients for five minutes
  evenkeel.fleet.metrics_watch:
    url: http://127.0.0.1/metrics
  register: watched

- name: Watch a gateway whose metrics have other names
  evenkeel.fleet.metrics_watch:
    url: http://127.0.0.1:9100/metrics
    requests: http_requests_total
    duration: http_request_duration_seconds
    seconds: 120
"""

RETURN = r"""
samples:
  description:
    - The counters at each sample. C(window) is the number of intervals since 1970, C(process) changes with a restart,
      and C(routes) has C(requests), C(errors) (responses with status 5xx), C(seconds) in total and C(within), the
      number of requests up to each bound of the histogram.
  returned: always
  type: list
  elements: dict
missing:
  description: How many samples had no answer.
  returned: always
  type: int
problem:
  description: Why the last one of those had no answer.
  returned: always
  type: str
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.evenkeel.fleet.plugins.module_utils._host.metrics import watch


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "url": {"type": "str", "required": True},
            "seconds": {"type": "float", "default": 300},
            "interval": {"type": "float", "default": 5},
            "requests": {"type": "str", "default": "gateway_requests_total"},
            "duration": {"type": "str", "default": "gateway_request_duration_seconds"},
            "request_timeout": {"type": "float", "default": 3},
            "validate_certs": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    for name in ("seconds", "interval", "request_timeout"):
        if module.params[name] <= 0:
            module.fail_json(msg=f"{name} has to be more than 0.")
    seen = watch(module.params)
    if not seen["samples"]:
        module.fail_json(msg=f"{module.params['url']} did not tell its metrics: {seen['problem']}", **seen)
    module.exit_json(changed=False, **seen)


if __name__ == "__main__":
    main()
