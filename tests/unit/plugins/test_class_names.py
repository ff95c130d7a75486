# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each class name of plugins/ is defined once, so that it has one meaning."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

PLUGINS = Path(__file__).parents[3] / "plugins"
# Ansible looks for these names in each plugin file.
OF_ANSIBLE = {"ActionModule", "CallbackModule", "FilterModule", "LookupModule", "ModuleDocFragment"}
# Names that packages which do not import each other give to their own thing of that kind.
SHARED = {
    "Outcome": "what each AWS resource's own module returns",
    "Wanted": "what each AWS resource's own module is asked for",
}


def classes(root: Path = PLUGINS) -> dict[str, list[str]]:
    """The files below a folder that define a class, by its name."""
    found: dict[str, list[str]] = defaultdict(list)
    for file in sorted(root.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ClassDef):
                found[node.name].append(str(file.relative_to(root)))
    return found


def duplicates(root: Path = PLUGINS) -> dict[str, list[str]]:
    return {name: files for name, files in classes(root).items() if len(files) > 1 and name not in OF_ANSIBLE}


def test_class_names_are_unique() -> None:
    assert {name: files for name, files in duplicates().items() if name not in SHARED} == {}


def test_a_second_class_of_a_name_is_found(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text("class Proxy: ...\nclass ActionModule: ...\n")
    (tmp_path / "two.py").write_text("def late():\n    class Proxy: ...\nclass ActionModule: ...\n")
    assert duplicates(tmp_path) == {"Proxy": ["one.py", "two.py"]}
