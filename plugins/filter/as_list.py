# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: as_list
short_description: The list that a text stands for
version_added: 0.2.0
author: Contributors to evenkeel.fleet (@evenkeel)
description:
  - Makes a list of a text, as C(-e name=value) gives it.
  - A text that begins with C([) is read as JSON or YAML. Any other is split at its commas.
  - A list stays as it is.
options:
  _input:
    description: The list or the text.
    type: raw
    required: true
"""

EXAMPLES = r"""
- name: Show each name
  ansible.builtin.debug:
    var: item
  loop: "{{ 'blue, green' | evenkeel.fleet.as_list }}"
"""

RETURN = r"""
_value:
  description: The list.
  type: list
  elements: raw
"""

from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.evenkeel.fleet.plugins.plugin_utils import _variables


def as_list(value: Any) -> list[Any]:
    try:
        return _variables.as_list(value)
    except ValueError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"as_list": as_list}
