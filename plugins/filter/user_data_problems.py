# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: user_data_problems
short_description: What stands against user data of an instance
version_added: 0.2.0
author: Contributors to evenkeel.fleet (@evenkeel)
description:
  - Takes the user data and returns a list of what is wrong with them, for a message.
  - Secrets by their form or name in the variables and the environment, names that no environment variable can have, and
    more bytes than EC2 takes.
  - It never returns a value of a variable.
options:
  _input:
    description: The user data, as EC2 gets them before they are encoded.
    type: str
    required: true
  variables:
    description: The host's variables in the user data.
    type: dict
    required: true
  environment:
    description: The environment variables in them.
    type: dict
    required: true
  no_secrets:
    description: Names whose values look like secrets and are none.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Check the user data
  ansible.builtin.assert:
    that: "{{ user_data | evenkeel.fleet.user_data_problems(variables, {}) | length == 0 }}"
"""

RETURN = r"""
_value:
  description: A text for each problem.
  type: list
  elements: str
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any


def user_data_problems(
    user_data: str, variables: Mapping[str, Any], environment: Mapping[str, Any], no_secrets: Sequence[str] = ()
) -> list[str]:
    from ansible_collections.evenkeel.fleet.plugins.module_utils._user_data import problems

    return problems(user_data, variables, environment, no_secrets)


class FilterModule:
    def filters(self) -> dict[str, Callable[..., list[str]]]:
        return {"user_data_problems": user_data_problems}
