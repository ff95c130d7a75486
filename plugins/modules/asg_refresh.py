#!/usr/bin/python
# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: asg_refresh
short_description: Replace the instances of an Auto Scaling group by an instance refresh, and wait for its end
version_added: 0.2.0
author: Contributors to evenkeel.fleet (@evenkeel)
description:
  - Starts an instance refresh where instances are not of the wanted launch template, waits until it has ended, and
    fails with AWS's own reason where it did not succeed.
  - A refresh goes on in AWS whatever becomes of the caller. A call with the same launch template, such as after a
    controller was killed, joins the one that runs and waits along. Where another one runs, it is refused and says
    which.
  - It also ends one that runs, with or without putting back what was replaced.
  - It runs where the API can be reached, usually on the controller (C(delegate_to)).
attributes:
  check_mode:
    description: Asks AWS, refuses what it would refuse, shows which instances would be replaced, and changes nothing.
    support: full
  diff_mode:
    description: Shows the launch template of each instance that is replaced.
    support: full
options:
  state:
    description:
      - V(started) replaces the instances.
      - V(awaited) changes nothing. It waits for O(refresh_id), or for the one that runs.
      - V(cancelled) ends the one that runs. What was replaced stays so.
      - V(rolled_back) ends the one that runs and has AWS put back what was replaced. It is refused after the end, and
        for one that AWS can't roll back, because it was started without O(launch_template) or the group's own one has
        no fixed version.
    type: str
    choices: [started, awaited, cancelled, rolled_back]
    default: started
  group:
    description: The name of the Auto Scaling group.
    type: str
    required: true
    aliases: [group_name]
  launch_template:
    description:
      - The launch template of the instances, and of the group once all are replaced. The default is the group's own.
      - A group with a mixed instances policy keeps the policy, with this launch template in it.
    type: dict
    suboptions:
      id:
        description: Its id. One of O(launch_template.id) and O(launch_template.name) is needed.
        type: str
      name:
        description: Its name.
        type: str
      version:
        description:
          - A number, V($Latest) or V($Default). The latter two are taken for the number that they mean now, so that all
            instances become the same, and a way back exists.
        type: str
        default: $Default
  skip_matching:
    description:
      - Leave instances alone that are of the wanted launch template and version. If all are, nothing is started.
      - V(false) replaces all instances, each time.
    type: bool
    default: true
  min_healthy_percentage:
    description:
      - Percentage of the group that stays healthy, 0 to 100. AWS's default is the group's maintenance policy, or 90.
    type: int
  max_healthy_percentage:
    description:
      - Percentage that may be healthy or starting meanwhile, 100 to 200. AWS's default is the group's maintenance
        policy, or 100. It needs O(min_healthy_percentage), at most 100 below.
      - With a O(min_healthy_percentage) of V(100) and more than that here, new instances are launched before old ones
        go.
    type: int
  instance_warmup:
    description: Seconds until a new instance counts as healthy. The default is the group's own.
    type: int
  checkpoints:
    description:
      - Percentages of the group, ascending, after each of which AWS waits for O(checkpoint_delay).
      - Without 100 as the last one, the rest is not replaced.
    type: list
    elements: int
    default: []
  checkpoint_delay:
    description: Seconds to wait at each checkpoint; AWS's default is an hour.
    type: int
  bake_time:
    description: Seconds that AWS watches the alarms after the last instance, before the refresh counts as successful.
    type: int
  alarms:
    description: Up to ten names of CloudWatch alarms. The refresh fails when one of them goes into the ALARM state.
    type: list
    elements: str
    default: []
  auto_rollback:
    description:
      - Have AWS put back what was replaced where the refresh fails. It needs O(launch_template), and a group whose own
        launch template has a number for a version; one that follows V($Latest) or V($Default) is refused.
    type: bool
    default: false
  scale_in_protected:
    description:
      - What becomes of instances that are protected from scale-in. V(refresh) replaces them, V(ignore) leaves them as
        they are, and V(wait), AWS's default, waits up to an hour for the protection to be removed, and then fails.
    type: str
    choices: [refresh, ignore, wait]
  standby:
    description:
      - What becomes of instances in standby. V(terminate) ends them, V(ignore) leaves them as they are, and V(wait),
        AWS's default, waits up to an hour for their return, and then fails.
    type: str
    choices: [terminate, ignore, wait]
  refresh_id:
    description: With O(state=awaited), the id of the refresh.
    type: str
  wait:
    description: Whether to wait until it has ended.
    type: bool
    default: true
  wait_percentage:
    description: Wait only until this percentage is complete, for instance to check the fleet at a checkpoint.
    type: int
  wait_timeout:
    description: Seconds to wait. The refresh goes on after that.
    type: float
    default: 3600
  on_timeout:
    description: Whether the call fails at the end of O(wait_timeout), or returns the progress.
    type: str
    choices: [fail, report]
    default: fail
extends_documentation_fragment:
  - evenkeel.fleet.aws
notes:
  - The IAM actions needed are C(autoscaling:DescribeAutoScalingGroups), C(autoscaling:DescribeInstanceRefreshes),
    C(ec2:DescribeLaunchTemplateVersions), C(autoscaling:StartInstanceRefresh), C(autoscaling:CancelInstanceRefresh) and
    C(autoscaling:RollbackInstanceRefresh); with a launch template also what a launch with it needs, such as
    C(ec2:RunInstances) and C(iam:PassRole).
seealso:
  - module: evenkeel.fleet.asg_refresh_info
"""

EXAMPLES = r"""
- name: Replace the instances that do not have the newest version, a fifth of them first
  evenkeel.fleet.asg_refresh:
    group: gateways
    launch_template: {name: gateways, version: $Latest}
    min_healthy_percentage: 100
    max_healthy_percentage: 110
    checkpoints: [20, 100]
    checkpoint_delay: 600
    bake_time: 300
    alarms: [gateways-5xx]
    auto_rollback: true
    wait_timeout: 7200
    region: eu-central-1
  delegate_to: localhost

- name: Roll the instance refresh back
  evenkeel.fleet.asg_refresh:
    state: rolled_back
    group: gateways
    region: eu-central-1
  delegate_to: localhost
"""

RETURN = r"""
refresh:
  description: The refresh as AWS returns it at the end; none where there is none.
  returned: always
  type: dict
  contains:
    id: {description: Its id., type: str, returned: always, sample: 08b91cf7-8fa6-48af-b6a6-d227f40f1b9b}
    status:
      description:
        - V(Pending), V(InProgress), V(Baking), V(Successful), V(Failed), V(Cancelling), V(Cancelled),
          V(RollbackInProgress), V(RollbackSuccessful) or V(RollbackFailed).
      type: str
      returned: always
      sample: Successful
    active: {description: Whether it has not ended., type: bool, returned: always}
    reason: {description: Why it has this status., type: str, returned: always}
    rollback_reason: {description: Why it is or was rolled back., type: str, returned: always}
    percentage_complete: {description: How much of the group is replaced., type: int, returned: always, sample: 40}
    instances_to_update: {description: How many are left., type: int, returned: always, sample: 3}
    started_at: {description: When it began., type: str, returned: always}
    ended_at: {description: When it ended., type: str, returned: always}
    launch_template: {description: Its launch template; none for the group's own., type: dict, returned: always}
    preferences: {description: Its preferences by their names in the API., type: dict, returned: always}
joined:
  description: Whether one was running already that brings the same.
  returned: always
  type: bool
replaces:
  description: The instances that had to be replaced when the call began, with O(state=started).
  returned: always
  type: list
  elements: str
  sample: [i-0a1b2c3d4e5f60718]
instances:
  description: The instances of the group at the end.
  returned: success
  type: list
  elements: dict
  contains:
    instance_id: {description: Its id., type: str, returned: always, sample: i-0a1b2c3d4e5f60718}
    state: {description: Its lifecycle state., type: str, returned: always, sample: InService}
    health: {description: V(Healthy) or V(Unhealthy)., type: str, returned: always}
    protected: {description: Whether it is protected from scale-in., type: bool, returned: always}
    launch_template: {description: Its launch template., type: dict, returned: always}
    matches: {description: Whether it is of the wanted launch template and version., type: bool, returned: always}
progress:
  description: What was seen while waiting, and after how many seconds.
  returned: always
  type: list
  elements: str
  sample: ["12.1 s: InProgress, 20 % complete, 4 to update"]
seconds:
  description: How many seconds the call took.
  returned: always
  type: float
timeout:
  description: How many seconds the call would have waited.
  returned: always
  type: float
"""

from collections.abc import Callable
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.evenkeel.fleet.plugins.module_utils._aws import client as aws
from ansible_collections.evenkeel.fleet.plugins.module_utils._aws import groups
from ansible_collections.evenkeel.fleet.plugins.module_utils._aws.api import Api
from ansible_collections.evenkeel.fleet.plugins.module_utils._aws.refreshes import (
    Refreshes,
    RefreshReport,
    Wish,
    diff,
    preferences,
)
from ansible_collections.evenkeel.fleet.plugins.module_utils._common.progress import OperationError

ARGUMENTS: dict[str, dict[str, Any]] = {
    "state": {"type": "str", "choices": ["started", "awaited", "cancelled", "rolled_back"], "default": "started"},
    "group": {"type": "str", "required": True, "aliases": ["group_name"]},
    "launch_template": groups.ARGUMENT,
    "skip_matching": {"type": "bool", "default": True},
    "min_healthy_percentage": {"type": "int"},
    "max_healthy_percentage": {"type": "int"},
    "instance_warmup": {"type": "int"},
    "checkpoints": {"type": "list", "elements": "int", "default": []},
    "checkpoint_delay": {"type": "int"},
    "bake_time": {"type": "int"},
    "alarms": {"type": "list", "elements": "str", "default": []},
    "auto_rollback": {"type": "bool", "default": False},
    "scale_in_protected": {"type": "str", "choices": ["refresh", "ignore", "wait"]},
    "standby": {"type": "str", "choices": ["terminate", "ignore", "wait"]},
    "refresh_id": {"type": "str"},
    "wait": {"type": "bool", "default": True},
    "wait_percentage": {"type": "int"},
    "wait_timeout": {"type": "float", "default": 3600},
    "on_timeout": {"type": "str", "choices": ["fail", "report"], "default": "fail"},
    **aws.ARGUMENTS,
}
# What a refresh may have become.
WANTED = {
    "started": ["Successful"],
    "awaited": ["Successful"],
    "cancelled": ["Cancelled"],
    "rolled_back": ["RollbackSuccessful"],
}


def main(make: Callable[..., AnsibleModule] = AnsibleModule) -> None:
    module = aws.make_module(make, ARGUMENTS)
    report = RefreshReport(say=module.log, timeout=module.params["wait_timeout"])
    failure = ""
    more: dict[str, Any] = {}
    try:
        more = act(module, report)
    except OperationError as error:
        failure = str(error)
    for warning in report.warnings:
        module.warn(warning)
    if failure:
        module.fail_json(msg=failure, **report.result())
    module.exit_json(**report.result(), **more)


def act(module: AnsibleModule, report: RefreshReport) -> dict[str, Any]:
    wanted = module.params
    state = wanted["state"]
    wishes = preferences(wanted)
    api = Api(aws.client(module, "autoscaling"))
    before = groups.group(api, wanted["group"])
    template, target = groups.wanted(before, wanted["launch_template"], lambda: Api(aws.client(module, "ec2")))
    refreshes = Refreshes(api, before.name)
    if state == "started":
        refreshes.start(before, Wish(template, target, wishes), report, check_mode=module.check_mode)
    elif state == "awaited":
        report.refresh = refreshes.one(wanted["refresh_id"]) if wanted["refresh_id"] else refreshes.active()
    elif state == "cancelled":
        refreshes.cancel(report, check_mode=module.check_mode)
    else:
        refreshes.roll_back(report, check_mode=module.check_mode)
    in_time = True
    if wanted["wait"] and not module.check_mode:
        in_time = refreshes.wait(report, wanted=WANTED[state], percentage=wanted["wait_percentage"])
    if not in_time and report.refresh and wanted["on_timeout"] == "fail":
        raise OperationError(
            f"Not ended within {report.timeout:g} s, and it goes on: {report.refresh.about}. The same call joins it."
        )
    after = groups.group(api, before.name)
    return {
        "instances": [groups.described(instance, target) for instance in after.instances],
        "diff": diff(before, after, report, target, check_mode=module.check_mode),
    }


if __name__ == "__main__":
    main()
