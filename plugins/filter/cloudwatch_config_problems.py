# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: cloudwatch_config_problems
short_description: What in a CloudWatch agent's configuration the agent would refuse or ignore
version_added: 0.1.0
author: Contributors to evenkeel.fleet (@evenkeel)
description:
  - Finds unknown keys and measurements, such as typing errors, missing keys, and values of the wrong kind in a
    configuration of the CloudWatch agent, before the agent refuses it or, worse, goes on without them.
options:
  _input:
    description: The configuration.
    type: dict
    required: true
  unknown_keys:
    description: Let keys and measurements pass that are not known here, for an agent that is newer.
    type: bool
    default: false
    version_added: 0.2.0
"""

EXAMPLES = r"""
- name: Check the configuration
  ansible.builtin.assert:
    that: (config | evenkeel.fleet.cloudwatch_config_problems) == []
"""

RETURN = r"""
_value:
  description: One sentence for each finding.
  type: list
  elements: str
"""

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError


def cloudwatch_config_problems(config: Any, *, unknown_keys: bool = False) -> list[str]:
    from ansible_collections.evenkeel.fleet.plugins.module_utils._cloudwatch import config_problems

    if not isinstance(config, Mapping):
        raise AnsibleFilterError("cloudwatch_config_problems takes a mapping, the agent's configuration")
    return config_problems(config, unknown_keys=unknown_keys)


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"cloudwatch_config_problems": cloudwatch_config_problems}
