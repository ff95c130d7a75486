# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.evenkeel.fleet.plugins.plugin_utils._variables import (
    all_options,
    problem,
    specification,
    typed,
)


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("bool", "Yes", True),
        ("bool", "off", False),
        ("bool", 1, True),
        ("int", "30", 30),
        ("float", "1.5", 1.5),
        ("list", "a, b", ["a", "b"]),
        ("list", '["a"]', ["a"]),
        ("dict", {"a": 1}, {"a": 1}),
        ("str", 5, 5),
    ],
)
def test_what_a_value_stands_for(kind: str, value: Any, expected: Any) -> None:
    assert typed(value, {"type": kind}) == expected
    assert not problem("x", value, {"type": kind})


@pytest.mark.parametrize(
    ("value", "option", "words"),
    [
        ("maybe", {"type": "bool"}, "x is maybe, which is neither true nor false."),
        ("y", {"type": "bool"}, "x is y, which is neither true nor false."),
        ("eighty", {"type": "int"}, "x is eighty, which is not a whole number."),
        ("1.5", {"type": "int"}, "x is 1.5, which is not a whole number."),
        ("1,5", {"type": "float"}, "x is 1,5, which is not a number."),
        ("[a", {"type": "list"}, "x is not a list, nor a comma-separated or JSON text."),
        ("10,many", {"type": "list", "elements": "int"}, "or one of its entries is not a whole number."),
        ('{"a": "secret"}', {"type": "dict"}, "x is not a dictionary. Set it in the inventory's group_vars or with"),
        ("abset", {"choices": ["present", "absent"]}, "x is abset. It can be present, absent."),
        ("a,c", {"type": "list", "choices": ["a", "b"]}, "x is c. It can be a, b."),
    ],
)
def test_what_stands_for_nothing(value: Any, option: dict[str, Any], words: str) -> None:
    said = problem("x", value, option)
    assert words in said
    assert "secret" not in said


def test_all_roles_are_known() -> None:
    assert {"gateway_host_port", "iam_apply", "rollout_unlock_reason", "maintenance_reboot"} <= set(all_options())
    assert "gateway_host_port" in (specification("gateway") or {})
    assert specification("nothing") is None
