# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What plugins/ imports from ansible-core is there. `make ansibles` runs this with each release that is supported."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

PLUGINS = Path(__file__).parents[3] / "plugins"


def imported(file: Path) -> Iterator[tuple[str, str]]:
    """The modules of ansible-core that a file imports, also inside functions, and the name from each; empty for all."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and not node.level and (node.module or "").partition(".")[0] == "ansible":
            yield from ((node.module or "", alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names if alias.name.partition(".")[0] == "ansible")


def all_imported(root: Path = PLUGINS) -> set[tuple[str, str]]:
    return {found for file in root.rglob("*.py") for found in imported(file)}


def exists(module: str, name: str) -> bool:
    try:
        loaded = importlib.import_module(module)
        if name and not hasattr(loaded, name):
            importlib.import_module(f"{module}.{name}")
    except ImportError:
        return False
    return True


def private(module: str, name: str) -> bool:
    return any(part.startswith("_") for part in (*module.split("."), name))


def test_each_name_is_in_this_release() -> None:
    names = all_imported()
    assert ("ansible.module_utils.basic", "AnsibleModule") in names
    assert [f"{module}: {name}" for module, name in sorted(names) if not exists(module, name)] == []


def test_no_name_is_private() -> None:
    """Such names come and go with a release."""
    assert [f"{module}: {name}" for module, name in sorted(all_imported()) if private(module, name)] == []


@pytest.mark.parametrize(
    ("source", "there", "own"),
    [
        ("def late():\n    from ansible.template import a_later_name", False, False),
        ("import ansible.a_later_module", False, False),
        ("from ansible.module_utils import basic", True, False),
        ("from ansible.module_utils._internal import basic", False, True),
    ],
)
def test_a_name_that_is_not_there_and_a_private_one_are_found(
    source: str, there: bool, own: bool, tmp_path: Path
) -> None:
    (tmp_path / "plugin.py").write_text(source)
    ((module, name),) = all_imported(tmp_path)
    assert private(module, name) == own
    assert own or exists(module, name) == there
