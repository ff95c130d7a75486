# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ansible.plugins.action import ActionBase

from ansible_collections.evenkeel.fleet.plugins.action.preflight import ActionModule


def looked(monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any]) -> dict[str, Any]:
    monkeypatch.setattr(ActionBase, "run", lambda *_: {})
    monkeypatch.setattr(ActionBase, "_execute_module", lambda *_, **__: dict(answer))
    action = object.__new__(ActionModule)
    action._task = SimpleNamespace(args={})
    return action.run()


def test_requiretty_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    said = "sudo: sorry, you must have a tty to run sudo\n"
    result = looked(monkeypatch, {"failed": True, "msg": "MODULE FAILURE", "module_stderr": said, "rc": 1})
    (problem,) = result["problems"]
    assert "requires a terminal (requiretty in /etc/sudoers)" in problem
    assert "!requiretty" in problem
    assert "ANSIBLE_PIPELINING=false" in problem
    assert "failed" not in result
    assert result["settled"] is False


def test_another_failure_stays_one(monkeypatch: pytest.MonkeyPatch) -> None:
    result = looked(monkeypatch, {"failed": True, "msg": "MODULE FAILURE", "module_stderr": "python3: not found"})
    assert result["failed"] is True
    assert result["problems"] == []
