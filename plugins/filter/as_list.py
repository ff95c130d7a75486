# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: as_list
short_description: The list that a text stands for
version_added: 0.1.0
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
from ansible.module_utils.common.yaml import yaml_load
from yaml import YAMLError


def as_list(value: Any) -> list[Any]:
    if isinstance(value, str):
        return _of_text(value.strip())
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _of_text(text: str) -> list[Any]:
    if not text.startswith("["):
        return [entry.strip() for entry in text.split(",") if entry.strip()]
    try:
        found = yaml_load(text)
    except YAMLError as error:
        raise AnsibleFilterError(f"{text} begins as a JSON list does, but is none: {error}") from error
    if not isinstance(found, list):
        raise AnsibleFilterError(f"{text} begins as a JSON list does, but is none.")
    return found


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"as_list": as_list}
