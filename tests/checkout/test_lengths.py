# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A file of more than 450 lines has more than one job. The documentation of a plugin does not count."""

from __future__ import annotations

import ast
import re

from tests.checkout.support import CHECKOUT, tracked

LONGEST = 450
DOCUMENTATION = {"DOCUMENTATION", "EXAMPLES", "RETURN"}


def length(source: str) -> int:
    lines = len(source.splitlines())
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and {getattr(target, "id", "") for target in node.targets} & DOCUMENTATION:
            lines -= (node.end_lineno or node.lineno) - node.lineno + 1
    return lines


def test_no_file_has_two_jobs() -> None:
    covered = re.compile(r"(plugins/(?!doc_fragments/)|gateway/src/|permissions/src/).*\.py")
    files = [name for name in tracked() if covered.fullmatch(name)]
    assert files
    lengths = {name: length((CHECKOUT / name).read_text()) for name in files}
    assert {name: lines for name, lines in lengths.items() if lines > LONGEST} == {}


def test_documentation_does_not_count() -> None:
    assert length('DOCUMENTATION = r"""\n' + "text\n" * 500 + '"""\nx = 1\n') == 1
