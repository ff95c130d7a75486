# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.evenkeel.fleet.plugins.filter.as_list import as_list


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (["a", 1], ["a", 1]),
        ("a", ["a"]),
        (" a, b,", ["a", "b"]),
        ('["a", 1]', ["a", 1]),
        ("[1, 10%]", [1, "10%"]),
        ("[]", []),
        ("", []),
        (None, []),
        (5, [5]),
    ],
)
def test_what_a_text_stands_for(value: Any, expected: list[Any]) -> None:
    assert as_list(value) == expected


@pytest.mark.parametrize("value", ["[a", "[a] b"])
def test_half_a_list_is_refused(value: str) -> None:
    with pytest.raises(AnsibleFilterError, match="begins like a JSON list"):
        as_list(value)
