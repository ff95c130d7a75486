# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests share code in modules beside them: no test imports another test, nor a conftest.

Cases that `make test` leaves out are further ones: of each list of cases it runs some, and of each file but those named
here.
"""

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


MARK = "pytest.mark.weekly"
# What they test is also tested in parts, elsewhere.
WEEKLY = ["tests/rollouts/test_rollout_cutover.py"]


def left_out(source: str) -> list[str]:
    """What `make test` would run nothing of: the file, and the lists of cases by line."""
    tree = ast.parse(source)
    tests = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]
    of_file = [node for node in tree.body if ast.unparse(node) == f"pytestmark = {MARK}"]
    marked = [bool(of_file) or any(ast.unparse(mark) == MARK for mark in test.decorator_list) for test in tests]
    lists = [
        node.args[1]
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.parametrize"
    ]
    further = [
        f"line {cases.lineno}"
        for cases in lists
        if MARK in ast.unparse(cases)
        and not (isinstance(cases, ast.List) and any(MARK not in ast.unparse(case) for case in cases.elts))
    ]
    return [*(["all"] if marked and all(marked) else []), *further]


def test_no_file_and_no_list_of_cases_is_left_out() -> None:
    found = {name: left_out((CHECKOUT / name).read_text()) for name in FILES if Path(name).name.startswith("test_")}
    assert {name: what for name, what in found.items() if what} == {name: ["all"] for name in WEEKLY}


def test_what_is_left_out_is_found() -> None:
    assert left_out("@pytest.mark.weekly\ndef test_a(): pass") == ["all"]
    assert left_out("pytestmark = pytest.mark.weekly\ndef test_a(): pass") == ["all"]
    assert left_out("@pytest.mark.weekly\ndef test_a(): pass\ndef test_b(): pass") == []
    some = "@pytest.mark.parametrize('x', [{}])\ndef test_a(x): pass"
    one = "pytest.param(1, marks=pytest.mark.weekly)"
    assert left_out(some.format(one)) == ["line 1"]
    assert left_out(some.format(f"{one}, 2")) == []
