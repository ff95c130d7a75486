# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Jinja in YAML is short enough to read; longer code is a filter with a test."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[3]
LINES = 8
FILES = sorted([*(ROOT / "roles").rglob("*.yml"), *(ROOT / "playbooks").rglob("*.yml")])


def scalars(node: yaml.Node) -> Iterator[yaml.ScalarNode]:
    if isinstance(node, yaml.ScalarNode):
        yield node
    elif isinstance(node, yaml.SequenceNode):
        for entry in node.value:
            yield from scalars(entry)
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from scalars(key)
            yield from scalars(value)


def expressions(text: str) -> Iterator[re.Match[str]]:
    """Each ``{{ … }}``; where there are statements as well, all of it from the first to the last brace."""
    pattern = r"\{[{%].*[}%]\}" if "{%" in text else r"\{\{.*?\}\}"
    return re.finditer(pattern, text, re.S)


def too_long(text: str) -> list[str]:
    """The lines at which an expression of more than LINES lines begins, with its length."""
    found = set()
    for scalar in scalars(yaml.compose(text) or yaml.ScalarNode("", "")):
        source = text[scalar.start_mark.index : scalar.end_mark.index]
        for match in expressions(source):
            lines = match.group().count("\n") + 1
            if lines > LINES:
                line = scalar.start_mark.line + source[: match.start()].count("\n") + 1
                found.add(f"line {line}: {lines} lines")
    return sorted(found)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_longer_expression_is_a_filter(path: Path) -> None:
    assert too_long(path.read_text()) == [], f"make it a filter with a unit test: {path.relative_to(ROOT)}"


def test_the_length_is_that_of_the_expression() -> None:
    script = "- shell: |\n" + "    step\n" * 12 + "    {{ name }}\n"
    loop = "- msg: >-\n    {%- for host in hosts -%}\n" + "    {{ host }}\n" * 7 + "    {%- endfor -%}\n"
    assert too_long(script) == []
    assert too_long(loop) == ["line 2: 9 lines"]
    assert too_long(loop.replace("    {{ host }}\n", "", 1)) == []
