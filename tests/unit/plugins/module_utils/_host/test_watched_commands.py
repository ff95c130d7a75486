# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ansible_collections.evenkeel.fleet.plugins.module_utils._host.host import Host, HostError
from ansible_collections.evenkeel.fleet.plugins.module_utils._host.watched_commands import ensure_command
from ansible_collections.evenkeel.fleet.tests.unit.plugins.module_utils._host.doubles import Runner


def test_it_runs_when_a_file_changed_and_then_no_more(target: Host, runner: Runner, root: Path) -> None:
    path = root / "agent.json"
    path.write_text("{}")
    spec = {"argv": ["agentctl", "reload"], "when_changed": [str(path)]}
    ensure_command(target, spec)
    ensure_command(target, spec)
    assert runner.lines == ["agentctl reload"]
    target.changed_paths.add(str(path))
    ensure_command(target, spec)
    assert len(runner.lines) == 2


def test_a_failed_one_runs_again_in_the_next_call(target: Host, runner: Runner, root: Path) -> None:
    path = root / "agent.json"
    path.write_text("{}")
    spec = {"argv": ["agentctl", "reload"], "when_changed": [str(path)]}
    runner.answer("agentctl", code=4, stderr="no such key: dsik")
    with pytest.raises(HostError, match=r"'agentctl reload' failed with exit code 4.\nno such key: dsik"):
        ensure_command(target, spec)
    assert target.changes == []
    later = Host(runner=runner)
    runner.answers.clear()
    ensure_command(later, spec)
    assert len(runner.lines) == 2


def test_a_file_from_the_future_does_not_run_it_for_ever(target: Host, runner: Runner, root: Path) -> None:
    path = root / "agent.json"
    path.write_text("{}")
    spec = {"argv": ["agentctl"], "when_changed": [str(path)]}
    ensure_command(target, spec)
    os.utime(path, (4e9, 4e9))
    ensure_command(target, spec)
    assert len(runner.lines) == 1


def test_it_runs_for_what_it_creates(target: Host, runner: Runner, root: Path) -> None:
    spec = {"argv": ["make-it"], "creates": str(root / "made")}
    ensure_command(target, spec)
    (root / "made").write_text("")
    ensure_command(target, spec)
    assert runner.lines == ["make-it"]


def test_check_mode_runs_nothing(checked: Host, runner: Runner, root: Path) -> None:
    ensure_command(checked, {"argv": ["make-it"], "creates": str(root / "made")})
    assert runner.lines == []
    assert checked.changes[0]["action"] == "run"


def test_a_command_for_every_call_is_refused(target: Host) -> None:
    with pytest.raises(HostError, match="needs when_changed or creates"):
        ensure_command(target, {"argv": ["true"]})
