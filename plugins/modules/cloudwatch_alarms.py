#!/usr/bin/python
# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: cloudwatch_alarms
short_description: Manage CloudWatch alarms and a dashboard, in one call
version_added: 0.2.0
author: Contributors to evenkeel.fleet (@evenkeel)
description:
  - Creates, changes and deletes metric alarms of CloudWatch, and one dashboard.
  - Only what is named is touched. Alarms whose actions an operator has switched off stay switched off.
  - C(amazon.aws.cloudwatch_metric_alarm) reports a change at every run for an alarm on an expression, and takes one
    alarm a call; no module has dashboards.
attributes:
  check_mode:
    description: Asks AWS and changes nothing.
    support: full
  diff_mode:
    description: Shows the alarms and the dashboard that differ, as they were and as they are then.
    support: full
options:
  alarms:
    description: The alarms to create or change, each with the parameters of C(PutMetricAlarm).
    type: list
    elements: dict
    default: []
  absent:
    description: Names of alarms to delete.
    type: list
    elements: str
    default: []
  dashboard:
    description: The dashboard's name. Without it, dashboards are left alone.
    type: str
  dashboard_body:
    description: Its body with C(widgets), as the API has it. Without it, the dashboard of this name is deleted.
    type: dict
notes:
  - The IAM actions needed are C(cloudwatch:DescribeAlarms), C(PutMetricAlarm), C(DeleteAlarms), C(GetDashboard),
    C(PutDashboard) and C(DeleteDashboards).
extends_documentation_fragment:
  - evenkeel.fleet.aws
"""

EXAMPLES = r"""
- name: Create an alarm on memory
  evenkeel.fleet.cloudwatch_alarms:
    alarms:
      - AlarmName: gateways-memory
        Namespace: CWAgent
        MetricName: mem_used_percent
        Dimensions: [{Name: AutoScalingGroupName, Value: gateways}]
        Statistic: Maximum
        Period: 60
        EvaluationPeriods: 5
        Threshold: 90
        ComparisonOperator: GreaterThanThreshold
        AlarmActions: [arn:aws:sns:eu-central-1:123456789012:gateways]
    absent: [gateways-swap]
    region: eu-central-1
"""

RETURN = r"""
put:
  description: Names of the alarms that were created or changed.
  returned: success
  type: list
  elements: str
  sample: [gateways-memory]
deleted:
  description: Names of the alarms that were deleted.
  returned: success
  type: list
  elements: str
"""

from collections.abc import Callable, Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.evenkeel.fleet.plugins.module_utils._aws import client
from ansible_collections.evenkeel.fleet.plugins.module_utils._aws.alarms import (
    Outcome,
    ensure_alarms,
    ensure_dashboard,
)
from ansible_collections.evenkeel.fleet.plugins.module_utils._aws.api import Api
from ansible_collections.evenkeel.fleet.plugins.module_utils._common.progress import OperationError

ARGUMENTS: dict[str, dict[str, Any]] = {
    "alarms": {"type": "list", "elements": "dict", "default": []},
    "absent": {"type": "list", "elements": "str", "default": []},
    "dashboard": {"type": "str"},
    "dashboard_body": {"type": "dict"},
    **client.ARGUMENTS,
}


def main(make: Callable[..., AnsibleModule] = AnsibleModule) -> None:
    module = client.make_module(make, ARGUMENTS)
    wanted = module.params
    dashboard = Outcome()
    try:
        watch = Api(client.client(module, "cloudwatch"))
        alarms = ensure_alarms(watch, wanted["alarms"], wanted["absent"], module.check_mode)
        if wanted["dashboard"]:
            dashboard = ensure_dashboard(watch, wanted["dashboard"], wanted["dashboard_body"], module.check_mode)
    except OperationError as error:
        module.fail_json(msg=str(error))
    for warning in dashboard.warnings:
        module.warn(warning)
    before, after = {**alarms.before, **dashboard.before}, {**alarms.after, **dashboard.after}
    differing = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    module.exit_json(
        changed=alarms.changed or dashboard.changed,
        put=[name for name in alarms.after if alarms.before.get(name) != alarms.after[name]],
        deleted=[name for name in alarms.before if name not in alarms.after],
        diff={"before": only(before, differing), "after": only(after, differing)},
    )


def only(everything: Mapping[str, Any], names: list[str]) -> dict[str, Any]:
    return {name: everything[name] for name in names if name in everything}


if __name__ == "__main__":
    main()
