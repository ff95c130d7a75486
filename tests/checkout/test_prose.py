# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The prose check finds words in prose, and not in code."""

from __future__ import annotations

import pytest
import yaml

from tools.prose import RULES, checked, problems, rules

DATA = yaml.safe_load(RULES.read_text())
KNOWN = rules(DATA)


def lines(path: str, text: str) -> list[int]:
    return [int(problem.split(":")[1]) for problem in problems(path, text, KNOWN)]


@pytest.mark.parametrize(
    ("path", "text", "found"),
    [
        ("a.md", "One.\n\nIt tells whoever\nasks.\n", [3, 3]),
        ("a.md", "`whoever`\n\n```\nwhoever\n```\n\n[a](whoever.md)\n\nThe host\nwho leads.", [9, 10]),
        ("a.md", "It tells hosts apart by their address.", []),
        ("a.md", "Nobody leads.\nIt is somebody else's lock.\nEverybody reads it, as `nobody`.", [1, 2, 3]),
        (
            "a.yml",
            "- name: Know the hosts\n  ansible.builtin.debug:\n    msg: The listeners are not of one mind.\n",
            [1, 3],
        ),
        ("a.yml", "- name: Configure what hosts Know\n  ansible.builtin.shell: echo whoever asks\n", []),
        ("a.yml", "options:\n  name: Know the name\n  description:\n    - The gateway wants it.\n", [4]),
        ("a.yml", "# Whoever reads this.\na: '{{ whoever is there }}'\n", [1]),
        ("a.py", '"""It tells a lot."""\n\nwhoever = "whoever"\nprint(f"{whoever} broke off at")  # anew\n', [1, 4, 4]),
    ],
)
def test_it_reads_what_people_read(path: str, text: str, found: list[int]) -> None:
    assert sorted(lines(path, text)) == found


def test_it_says_what_to_write() -> None:
    (problem,) = problems("a.md", "The target group obeys.", KNOWN)
    assert problem == "a.md:1: “obeys”: write “answer”, “apply” or “follow”"


def test_it_covers_the_tree() -> None:
    names = checked(DATA)
    assert {"README.md", "docs/explanation/design.md", "testbed/up.yml", "tools/prose.py"} <= set(names)
