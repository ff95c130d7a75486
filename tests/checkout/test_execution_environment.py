# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An execution environment has what the plugins and modules import on the controller."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

from tests.checkout.support import CHECKOUT, read

BIN = Path(sys.executable).parent
REQUIREMENTS = "meta/ee-requirements.txt"
# ansible-core brings them.
OF_ANSIBLE = {"ansible", "ansible_collections", "jinja2", "yaml"}


def imported() -> Iterator[str]:
    for path in (CHECKOUT / "plugins").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                yield from (alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                yield node.module.partition(".")[0]


def required(name: str) -> dict[str, str]:
    """The requirements of a file, by package."""
    lines = [line.partition(" #")[0].strip() for line in (CHECKOUT / name).read_text().splitlines()]
    found = [re.match(r"[A-Za-z0-9_-]+", line) for line in lines]
    return {match[0]: line for match, line in zip(found, lines, strict=True) if match}


def test_it_has_every_package_that_is_imported() -> None:
    assert set(imported()) - OF_ANSIBLE - sys.stdlib_module_names == set(required(REQUIREMENTS))


def test_the_versions_are_those_that_are_tested() -> None:
    tested = required("requirements.txt")
    assert {name: tested.get(name) for name in required(REQUIREMENTS)} == required(REQUIREMENTS)


def test_ansible_builder_finds_it_all() -> None:
    command = (BIN / "ansible-builder", "introspect", CHECKOUT / ".collections")
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = yaml.safe_load(text[text.index("---") :])
    ours = [line.partition(" #")[0].strip() for line in found["python"] if "evenkeel.fleet" in line]
    assert sorted(ours) == sorted(required(REQUIREMENTS).values())
    assert [line for line in found["system"] if "openssh-client" in line and "evenkeel.fleet" in line]


def test_the_files_that_it_names_are_published() -> None:
    dependencies = read("meta/execution-environment.yml")["dependencies"]
    for name in dependencies.values():
        assert (CHECKOUT / name).is_file()
        assert name.partition("/")[0] not in read("galaxy.yml")["build_ignore"]
