# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests share code in modules beside them: no test imports another test, nor a conftest."""

from __future__ import annotations

import ast
from pathlib import Path

from tests.checkout.support import CHECKOUT, tracked

FILES = [
    name
    for name in tracked()
    if name.endswith(".py") and "tests" in Path(name).parts and not name.startswith(("gateway/", "permissions/"))
]


def imported(source: str) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return {name.rpartition(".")[2] for name in names}


def from_tests(source: str) -> list[str]:
    return sorted(name for name in imported(source) if name == "conftest" or name.startswith("test_"))


def test_no_test_imports_another_one() -> None:
    found = {name: from_tests((CHECKOUT / name).read_text()) for name in FILES}
    assert {name: others for name, others in found.items() if others} == {}


def test_such_an_import_is_found() -> None:
    source = "from tests.system.test_tarball import X\nfrom tests.system.conftest import Y\nimport pytest"
    assert from_tests(source) == ["conftest", "test_tarball"]
