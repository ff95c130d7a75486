# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.evenkeel.fleet.plugins.filter.text_table import text_table


def test_columns_are_aligned() -> None:
    assert text_table([["host", "up"], ["host-10", True], ["h", 1]]) == ["host     up", "host-10  True", "h        1"]


def test_no_rows_no_lines() -> None:
    assert text_table([]) == []
