# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: cloudwatch_config_problems
short_description: What in a CloudWatch agent's configuration the agent does not know
version_added: 0.1.0
author: Contributors to evenkeel.fleet (@evenkeel)
description:
  - Finds unknown keys and measurements, such as typing errors, in a configuration of the CloudWatch agent, before
    the agent refuses it or, worse, goes on without them.
options:
  _input:
    description: The configuration.
    type: dict
    required: true
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

from ansible_collections.evenkeel.fleet.plugins.module_utils._cloudwatch import config_problems


def cloudwatch_config_problems(config: Any) -> list[str]:
    if not isinstance(config, Mapping):
        raise AnsibleFilterError("cloudwatch_config_problems takes a mapping, the agent's configuration")
    return config_problems(config)


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"cloudwatch_config_problems": cloudwatch_config_problems}
