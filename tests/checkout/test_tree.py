# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/development.md explains each entry at the top of the tree."""

from __future__ import annotations

import re

from tests.checkout.support import CHECKOUT, paths


def test_development_explains_every_entry_of_the_tree() -> None:
    page = (CHECKOUT / "docs" / "development.md").read_text()
    section = page.partition("\n## The tree\n")[2].partition("\n## ")[0]
    explained = re.findall(r"^\| `([^`]+)` \| \S.*\|$", section, re.MULTILINE)
    parts = [path.relative_to(CHECKOUT).parts for path in paths()]
    there = {top[0] if len(top) == 1 else f"{top[0]}/" for top in parts}
    assert explained == sorted(explained), "keep the entries in order"
    assert set(explained) == there
