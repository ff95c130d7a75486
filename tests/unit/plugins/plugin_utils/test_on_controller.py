# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from copy import copy
from typing import Any

import pytest

from ansible_collections.evenkeel.fleet.plugins.plugin_utils._on_controller import InProcessModule, ModuleExit, plain

SPECIFICATION: dict[str, Any] = {
    "argument_spec": {
        "count": {"type": "int", "required": True},
        "database": {"type": "dict", "options": {"password": {"type": "str", "no_log": True}}},
    },
    "supports_check_mode": True,
}


def here(**arguments: Any) -> InProcessModule:
    return InProcessModule("evenkeel.fleet.leader_info", arguments, dict(SPECIFICATION), check_mode=True)


def test_arguments_are_checked_and_get_their_types() -> None:
    assert here(count="3").params == {"count": 3, "database": None}
    for wrong in ({}, {"count": "three"}, {"count": 1, "cuont": 2}):
        with pytest.raises(ModuleExit) as ended:
            here(**wrong)
        assert ended.value.result["failed"]
        assert "count" in ended.value.result["msg"]


def test_no_result_tells_a_secret() -> None:
    module = here(count=1, database={"password": "hunter2"})
    module.no_log_values.add("found-elsewhere")
    module.warn("it is hunter2")
    with pytest.raises(ModuleExit) as ended:
        module.fail_json(msg="hunter2 was refused", facts=[{"why": "found-elsewhere"}])
    assert ended.value.result["msg"] == "******** was refused"
    assert "hunter2" not in str(ended.value.result)
    assert "found-elsewhere" not in str(ended.value.result)


def test_what_ends_well_has_not_failed() -> None:
    module = here(count=1)
    with pytest.raises(ModuleExit) as ended:
        module.exit_json(changed=True, leader="i-1")
    assert ended.value.result == {
        "changed": True,
        "leader": "i-1",
        "invocation": {"module_args": {"count": 1, "database": None}},
    }


def test_arguments_are_plain() -> None:
    class Noted(str):
        """As Ansible's own, which remember where they came from."""

    class NotedNumber(int):
        """The same."""

    class Unsafe(str):
        """As Ansible's own before ansible-core 2.19, whose copies are of its own class."""

        def __str__(self) -> str:
            return copy(self)

    value = plain({Noted("a"): [Noted("b"), NotedNumber(1), 0.5, None, True, [Noted("c")]], Unsafe("u"): Unsafe("d")})
    assert value == {"a": ["b", 1, 0.5, None, True, ["c"]], "u": "d"}
    assert not any(isinstance(text, (Noted, NotedNumber, Unsafe)) for text in (*value, *value["a"], value["u"]))
