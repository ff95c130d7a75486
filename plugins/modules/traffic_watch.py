#!/usr/bin/python
# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: traffic_watch
short_description: Compare the requests of an Application Load Balancer with the time before a change
version_added: 0.3.0
author: Contributors to evenkeel.fleet (@evenkeel)
description:
  - Watches alarms and the metrics of a load balancer in CloudWatch for some time, and fails as soon as an alarm is in
    alarm, or requests fare worse than before the change.
  - More 5xx than before are bad if they are more by O(errors) and not by chance. The 99th percentile of the response
    time is bad if it is more than O(slower) above that before the change, and by 0.05 s at least.
  - The module fails if there were no requests to compare, too, because nothing is known then.
attributes:
  check_mode:
    description: Changes nothing, and does not wait.
    support: full
options:
  load_balancer:
    description: Name of the load balancer; empty to watch alarms alone.
    type: str
    default: ""
  changed_at:
    description: The time of the change, in ISO 8601, such as V(2026-01-31T12:00:00+00:00). The default is now.
    type: str
    default: ""
  seconds:
    description:
      - How many seconds to watch. With less than four times O(period), the 99th percentile may not be compared, and a
        warning says so.
    type: float
    default: 300
  before:
    description: How many seconds before O(changed_at) to compare with.
    type: float
    default: 900
  period:
    description: Seconds of a period of the metrics. CloudWatch has those of load balancers for multiples of 60.
    type: int
    default: 60
  alarms:
    description: Names of alarms that must not be in alarm. One that does not exist is a failure, too.
    type: list
    elements: str
    default: []
  slower:
    description: How much larger the 99th percentile may be, as a fraction.
    type: float
    default: 0.5
  errors:
    description: How much larger the fraction of responses with status 5xx may be.
    type: float
    default: 0.005
extends_documentation_fragment:
  - evenkeel.fleet.aws
notes:
  - The IAM actions needed are C(elasticloadbalancing:DescribeLoadBalancers), C(cloudwatch:GetMetricData) and
    C(cloudwatch:DescribeAlarms).
"""

EXAMPLES = r"""
- name: Watch for ten minutes
  evenkeel.fleet.traffic_watch:
    load_balancer: front
    alarms: [front-5xx]
    seconds: 600
    region: eu-central-1
"""

RETURN = r"""
result:
  description: V(promoted), V(condemned) or V(unclear).
  returned: always
  type: str
words:
  description: The reasons.
  returned: always
  type: list
  elements: str
figures:
  description: "C(before) and C(after): C(periods), C(requests), C(errors) and C(p99), in seconds or null."
  returned: always
  type: dict
progress:
  description: What was seen, each with the seconds since the start.
  returned: always
  type: list
  elements: str
seconds:
  description: How long the call took.
  returned: always
  type: float
"""

import time
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.evenkeel.fleet.plugins.module_utils._aws import client as aws
from ansible_collections.evenkeel.fleet.plugins.module_utils._aws import load_balancer
from ansible_collections.evenkeel.fleet.plugins.module_utils._aws.api import Api
from ansible_collections.evenkeel.fleet.plugins.module_utils._aws.traffic import (
    LoadBalancerTraffic,
    TrafficLimits,
    TrafficReport,
    TrafficWish,
    compare,
)
from ansible_collections.evenkeel.fleet.plugins.module_utils._common.progress import OperationError

ARGUMENTS: dict[str, dict[str, Any]] = {
    "load_balancer": {"type": "str", "default": ""},
    "changed_at": {"type": "str", "default": ""},
    "seconds": {"type": "float", "default": 300},
    "before": {"type": "float", "default": 900},
    "period": {"type": "int", "default": 60},
    "alarms": {"type": "list", "elements": "str", "default": []},
    "slower": {"type": "float", "default": 0.5},
    "errors": {"type": "float", "default": 0.005},
    **aws.ARGUMENTS,
}


def main(make: Callable[..., AnsibleModule] = AnsibleModule) -> None:
    module = aws.make_module(make, ARGUMENTS)
    report = TrafficReport(say=module.log)
    try:
        act(module, report)
    except OperationError as error:
        module.fail_json(msg=str(error), **report.result())
    for warning in report.warnings:
        module.warn(warning)
    module.exit_json(**report.result())


def act(module: AnsibleModule, report: TrafficReport) -> None:
    wanted = module.params
    sessions: dict[str, Any] = {}
    watch = Api(aws.client(module, "cloudwatch", "", sessions))
    traffic = None
    if wanted["load_balancer"]:
        found = load_balancer.find(
            Api(aws.client(module, "elbv2", "", sessions)), wanted["load_balancer"], "application"
        )
        if not found:
            raise OperationError(
                f"There is no load balancer {wanted['load_balancer']}. Correct its name or the region."
            )
        traffic = LoadBalancerTraffic(watch, found["LoadBalancerArn"], wanted["period"])
    wish = TrafficWish(
        changed_at=moment(wanted["changed_at"]),
        limits=TrafficLimits(wanted["slower"], wanted["errors"]),
        **{key: wanted[key] for key in ("seconds", "before", "period", "alarms")},
    )
    if not module.check_mode:
        compare(wish, traffic, watch, report, time.time)


def moment(given: str) -> float:
    """Seconds since 1970. A time without a zone is of UTC."""
    if not given:
        return time.time()
    try:
        parsed = datetime.fromisoformat(given.replace("Z", "+00:00"))
    except ValueError as error:
        raise OperationError(f"changed_at is {given}, which is no time of ISO 8601.") from error
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=timezone.utc)).timestamp()


if __name__ == "__main__":
    main()
