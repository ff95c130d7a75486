# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Imports between the packages of plugins/ point one way, and no two files import each other.

Read from the source, so that imports inside functions and under TYPE_CHECKING count too.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PLUGINS = Path(__file__).parents[3] / "plugins"
COLLECTION = "ansible_collections.evenkeel.fleet.plugins."
# What a package of module_utils may import besides itself.
MAY_IMPORT: dict[str, set[str]] = {
    "_common": set(),
    "_host": {"_common"},
    "_aws": {"_common"},
    "_cloudwatch": {"_common"},
    "_fleetdb": {"_common"},
    "_balancer": {"_common", "_aws"},
    "_ecs": {"_common", "_aws"},
    "_kubernetes": {"_common"},
    "_rollout": {"_common", "_fleetdb"},
    "_user_data": {"_common"},
}

# What other kinds of plugins may import besides their own. An action plugin runs its module in Ansible's process.
KINDS: dict[str, set[str]] = {
    "modules": {"module_utils"},
    "plugin_utils": {"module_utils"},
    "action": {"module_utils", "plugin_utils", "modules"},
}
OTHER_KINDS = {"module_utils", "plugin_utils"}


def module_name(file: Path, root: Path = PLUGINS) -> str:
    return ".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


def imported(file: Path, root: Path = PLUGINS) -> Iterator[str]:
    """Modules of plugins/ that a file imports, by their name below plugins/."""
    package = [*file.relative_to(root).parent.parts]
    for node in ast.walk(ast.parse(file.read_text())):
        if not isinstance(node, ast.ImportFrom):
            continue
        if node.level:
            base = package[: len(package) - node.level + 1]
            source = ".".join([*base, *([node.module] if node.module else [])])
        elif (node.module or "").startswith(COLLECTION):
            source = (node.module or "").removeprefix(COLLECTION)
        else:
            continue
        for alias in node.names:
            name = f"{source}.{alias.name}"
            path = root.joinpath(*name.split("."))
            yield name if path.with_suffix(".py").exists() or path.is_dir() else source


def graph(root: Path = PLUGINS) -> dict[str, set[str]]:
    return {module_name(file, root): set(imported(file, root)) for file in root.rglob("*.py")}


def violations(edges: dict[str, set[str]]) -> list[str]:
    found = []
    for module, targets in edges.items():
        kind, _dot, rest = module.partition(".")
        package = rest.partition(".")[0]
        for target in targets:
            target_kind, _dot, target_rest = target.partition(".")
            target_package = target_rest.partition(".")[0]
            if kind == "module_utils":
                wrong = target_kind != kind or (
                    target_package != package and target_package not in MAY_IMPORT.get(package, set())
                )
            else:
                wrong = target_kind != kind and target_kind not in KINDS.get(kind, OTHER_KINDS)
            if wrong:
                found.append(f"{module} imports {target}")
    return sorted(found)


def circle(edges: dict[str, set[str]]) -> list[str]:
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_every_package_states_what_it_may_import() -> None:
    packages = {path.name.removesuffix(".py") for path in (PLUGINS / "module_utils").iterdir() if path.name[0] == "_"}
    assert packages - {"__pycache__"} == set(MAY_IMPORT)


def test_imports_point_one_way() -> None:
    assert violations(graph()) == []


def test_no_files_import_each_other() -> None:
    assert circle(graph()) == []


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("from .._aws.api import Api", "module_utils._host.a imports module_utils._aws.api"),
        (
            "def late():\n    from ansible_collections.evenkeel.fleet.plugins.module_utils._aws import api",
            "module_utils._host.a imports module_utils._aws.api",
        ),
    ],
)
def test_a_wrong_import_is_found(tmp_path: Path, source: str, expected: str) -> None:
    for file, text in {"_host/a.py": source, "_aws/api.py": ""}.items():
        (tmp_path / "module_utils" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "module_utils" / file).write_text(text)
    assert violations(graph(tmp_path)) == [expected]


def test_a_circle_is_found(tmp_path: Path) -> None:
    folder = tmp_path / "module_utils" / "_host"
    folder.mkdir(parents=True)
    (folder / "a.py").write_text("if TYPE_CHECKING:\n    from .b import B")
    (folder / "b.py").write_text("from .a import A")
    assert set(circle(graph(tmp_path))) == {"module_utils._host.a", "module_utils._host.b"}
