# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: ecs_result_words
short_description: What became of the services of a deployment on Amazon ECS, in words
version_added: 0.3.0
author: Contributors to evenkeel.fleet (@evenkeel)
description:
  - Takes the result of each service that was reached. A service without a result was not reached.
options:
  _input:
    description: By service, C(result), V(succeeded) or V(failed), and C(words).
    type: dict
    required: true
  planned:
    description: The names of all services of the deployment, in their order.
    type: list
    elements: str
    required: true
  failures:
    description: Return the failures alone.
    type: bool
    default: false
positional: planned
"""

EXAMPLES = r"""
- name: Show the results
  ansible.builtin.debug:
    msg: "{{ ecs_results | evenkeel.fleet.ecs_result_words(['api', 'worker']) }}"
"""

RETURN = r"""
_value:
  description: The lines.
  type: list
  elements: str
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any


def ecs_result_words(results: Mapping[str, Any], planned: Sequence[str], failures: bool = False) -> list[str]:
    lines = []
    for name in planned:
        one = results.get(name, {"result": "", "words": "was not reached"})
        if not failures or one["result"] == "failed":
            lines.append(f"{name}: {'failed: ' if one['result'] == 'failed' else ''}{one['words']}")
    return lines


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"ecs_result_words": ecs_result_words}
