# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: text_table
short_description: Rows as lines with aligned columns
version_added: 0.1.0
author: Contributors to evenkeel.fleet (@evenkeel)
description:
  - Takes a list of rows, the first of which is the head, and returns a list of lines whose columns are aligned.
options:
  _input:
    description: The rows, each a list of the same length.
    type: list
    elements: list
    required: true
"""

EXAMPLES = r"""
- name: Show a table
  ansible.builtin.debug:
    msg: "{{ [['host', 'health'], ['host-1', 'healthy']] | evenkeel.fleet.text_table }}"
"""

RETURN = r"""
_value:
  description: The lines.
  type: list
  elements: str
"""

from collections.abc import Callable, Sequence
from typing import Any


def text_table(rows: Sequence[Sequence[Any]]) -> list[str]:
    widths = [max(len(str(cell)) for cell in column) for column in zip(*rows)]
    return ["  ".join(f"{cell!s:<{width}}" for cell, width in zip(row, widths)).rstrip() for row in rows]


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"text_table": text_table}
