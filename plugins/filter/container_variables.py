# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: container_variables
short_description: Variables as environment and secrets of a container definition
version_added: 0.3.0
author: Contributors to evenkeel.fleet (@evenkeel)
description:
  - Returns variables in the shapes of a container definition of Amazon ECS. A value that is the ARN of a secret in
    Secrets Manager or of a parameter in Systems Manager becomes a secret, every other one a variable.
options:
  _input:
    description: The values, by the names of the variables.
    type: dict
    required: true
  prefix:
    description: Only variables that begin with it.
    type: str
    default: ""
seealso:
  - plugin: evenkeel.fleet.exported
    plugin_type: lookup
"""

EXAMPLES = r"""
- name: Show them
  ansible.builtin.debug:
    msg: "{{ {'EPR_LOG_LEVEL': 'INFO'} | evenkeel.fleet.container_variables('EPR_') }}"
"""

RETURN = r"""
_value:
  description: C(environment) and C(secrets), each a list in the order of the names.
  type: dict
  sample: {"environment": [{"name": "EPR_LOG_LEVEL", "value": "INFO"}], "secrets": []}
"""

from collections.abc import Callable, Mapping
from typing import Any


def container_variables(variables: Mapping[str, str], prefix: str = "") -> dict[str, list[dict[str, Any]]]:
    from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.exported import container_variables as of

    return of(variables, prefix)


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"container_variables": container_variables}
