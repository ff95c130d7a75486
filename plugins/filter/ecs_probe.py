# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: ecs_probe
short_description: A one-off task on Amazon ECS that asks URLs from within the network
version_added: 0.3.0
author: Contributors to evenkeel.fleet (@evenkeel)
description:
  - Takes a service as P(evenkeel.fleet.ecs_declarations#filter) returns it. The task stands in its network, has its
    image unless O(image) is set, and writes to its log. The image needs C(sh), and C(python3), C(node), C(curl) or
    C(wget).
options:
  _input:
    description: The service whose place the task takes.
    type: dict
    required: true
  targets:
    description: The services to ask, each with C(name), C(url), and C(other), the URL to compare the time with, or "".
    type: list
    elements: dict
    required: true
  image:
    description: The image of the task.
    type: str
    default: ""
  log:
    description: What the task has logged.
    type: list
    elements: str
    default: []
  slower:
    description: How many times as long as C(other) the URL of a service may take.
    type: float
    default: 3
"""

EXAMPLES = r"""
- name: Show what the task would ask
  ansible.builtin.debug:
    msg: "{{ (service | evenkeel.fleet.ecs_probe(targets=[{'name': 'users', 'url': url, 'other': ''}])).arguments }}"
"""

RETURN = r"""
_value:
  description:
    - C(task) is the task definition, C(container) the name of its container, C(arguments) are those of its command.
      C(problems) are sentences about O(log).
  type: dict
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any


def ecs_probe(
    client: Mapping[str, Any],
    *,
    targets: Sequence[Mapping[str, str]],
    image: str = "",
    log: Sequence[str] = (),
    slower: float = 3,
) -> dict[str, Any]:
    from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs import probe

    asked = [probe.ProbeTarget(one["name"], one["url"], one.get("other", "")) for one in targets]
    return {
        "task": probe.task_of(client, image),
        "container": probe.CONTAINER,
        "arguments": probe.arguments(asked),
        "problems": probe.problems(log, asked, float(slower)),
    }


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"ecs_probe": ecs_probe}
