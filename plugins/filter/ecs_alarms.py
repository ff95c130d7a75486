# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: ecs_alarms
short_description: The CloudWatch alarms of services on Amazon ECS and of their queues
version_added: 0.3.0
author: Contributors to evenkeel.fleet (@evenkeel)
description:
  - Takes services as C(ecs_services) of the role C(ecs), and returns their alarms for
    M(evenkeel.fleet.cloudwatch_alarms).
  - An alarm is unwanted only where the declaration rules it out. What it says nothing of is neither wanted nor
    unwanted.
options:
  _input:
    description: The services.
    type: list
    elements: dict
    required: true
  cluster:
    description: Name of the cluster.
    type: str
    required: true
  queues:
    description: Queues with C(name) and C(dead_letter).
    type: list
    elements: dict
    default: []
  insights:
    description: The declared setting of Container Insights; empty where it is not declared.
    type: str
    default: ""
  load_balancer:
    description: ARN of the Application Load Balancer in front of the services; empty where it is not declared.
    type: str
    default: ""
  internal:
    description: ARN of the internal load balancer; empty where there is none.
    type: str
    default: ""
  balanced:
    description: By service, the ARN of its target group of the internal load balancer.
    type: dict
    default: {}
  actions:
    description: ARNs of what the alarms are sent to.
    type: list
    elements: str
    default: []
  message_age:
    description: Seconds that a message waits above which there is an alarm.
    type: float
    default: 300
  target_5xx_percent:
    description: Percentage of 5xx above which there is an alarm.
    type: float
    default: 1
"""

EXAMPLES = r"""
- name: Create or change the alarms
  evenkeel.fleet.cloudwatch_alarms:
    alarms: "{{ alarms.wanted }}"
    absent: "{{ alarms.unwanted }}"
  vars:
    alarms: "{{ ecs_services | evenkeel.fleet.ecs_alarms('production', insights='enabled') }}"
"""

RETURN = r"""
_value:
  description: The alarms C(wanted), the names of those that are C(unwanted), and of C(all) that there can be.
  type: dict
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any


def ecs_alarms(
    services: Sequence[Mapping[str, Any]],
    cluster: str,
    queues: Sequence[Mapping[str, str]] = (),
    insights: str = "",
    load_balancer: str = "",
    actions: Sequence[str] = (),
    message_age: float = 300,
    target_5xx_percent: float = 1,
    internal: str = "",
    balanced: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.service_alarms import (
        Thresholds,
        Watched,
        all_alarms,
        unwanted_alarms,
        wanted_alarms,
    )

    thresholds = Thresholds(float(message_age), float(target_5xx_percent))
    watched = Watched(cluster, services, queues, insights, load_balancer, thresholds, internal, balanced or {})
    return {
        "wanted": wanted_alarms(watched, actions),
        "unwanted": unwanted_alarms(watched),
        "all": all_alarms(watched),
    }


class FilterModule:
    def filters(self) -> dict[str, Callable[..., dict[str, Any]]]:
        return {"ecs_alarms": ecs_alarms}
