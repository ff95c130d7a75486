# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What lets the host code do without restorecon where SELinux enforces.

A new file gets the type of its folder, a moved one keeps that of the folder it was made in. A service may start the
programs that packages have installed, whose types the policy knows.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
HOST_CODE = sorted((CHECKOUT / "plugins/module_utils/_host").glob("*.py"))
MOVES = {"os.rename", "os.replace", "shutil.copy2", "shutil.copystat", "shutil.move"}


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def test_temporary_files_are_made_in_the_folder_where_they_stay() -> None:
    made = [
        (path.name, {word.arg for word in call.keywords})
        for path in HOST_CODE
        for name, call in calls(path)
        if name in {"tempfile.mkstemp", "tempfile.NamedTemporaryFile"}
    ]
    assert made
    assert [name for name, words in made if "dir" not in words] == []


def test_no_file_is_moved_from_another_folder() -> None:
    assert [(path.name, name) for path in HOST_CODE for name, _call in calls(path) if name in MOVES] == []


def test_units_start_programs_of_packages_only() -> None:
    sources = [*HOST_CODE, *(CHECKOUT / "roles").glob("*/*/*.yml"), *(CHECKOUT / "roles").glob("*/templates/*")]
    started = [
        program
        for path in sources
        for program in re.findall(
            r"^\s*Exec(?:Start|StartPre|StartPost|Reload|Stop)=[-@:+!]*(\S+)", path.read_text(), re.M
        )
    ]
    assert len(started) >= 4
    assert [program for program in started if not re.match(r"/usr/s?bin/", program)] == []
