# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from ansible_collections.evenkeel.fleet.plugins.module_utils._host.host import Host, HostError
from ansible_collections.evenkeel.fleet.plugins.module_utils._host.units import Units, ensure_unit
from ansible_collections.evenkeel.fleet.tests.unit.plugins.module_utils._host.doubles import Runner, unit_block


def shown(runner: Runner, **values: object) -> None:
    runner.answer("systemctl show", unit_block(**values))


def started(seconds_ago: float) -> int:
    return int((time.monotonic() - seconds_ago) * 1e6)


def test_all_units_in_one_look(target: Host, runner: Runner) -> None:
    runner.answer("systemctl show", unit_block() + "\n\n" + unit_block(ActiveState="failed", UnitFileState="disabled"))
    units = Units(target)
    units.prefetch(["b.service", "a.service", "b.service"])
    assert units.state("a.service").active
    assert units.state("b.service").failed
    assert not units.state("b.service").enabled
    assert len(runner.lines) == 1


def test_a_right_unit_is_left_alone(target: Host, runner: Runner, root: Path) -> None:
    shown(runner, InactiveExitTimestampMonotonic=started(0))
    path = root / "app.conf"
    path.write_text("")
    os.utime(path, (1, 1))
    spec = {"name": "a.service", "enabled": True, "state": "started", "restart_when_changed": [str(path)]}
    ensure_unit(target, Units(target), spec)
    assert target.changes == []
    assert len(runner.lines) == 1


def test_a_stopped_unit_is_enabled_and_started(target: Host, runner: Runner) -> None:
    shown(runner, ActiveState="inactive", UnitFileState="disabled")
    ensure_unit(target, Units(target), {"name": "a.service", "enabled": True, "state": "started"})
    assert [line for line in runner.lines if "show" not in line] == [
        "systemctl enable a.service",
        "systemctl start a.service",
    ]
    assert [change["action"] for change in target.changes] == ["enable", "start"]


def test_a_changed_file_restarts_it(target: Host, runner: Runner) -> None:
    shown(runner, InactiveExitTimestampMonotonic=started(0))
    target.changed_paths.add("/etc/app.conf")
    ensure_unit(target, Units(target), {"name": "a.service", "restart_when_changed": ["/etc/app.conf"]})
    assert "systemctl restart a.service" in runner.lines
    assert target.restarted == ["a.service"]


def test_a_file_written_by_a_call_that_died_restarts_it(target: Host, runner: Runner, root: Path) -> None:
    shown(runner, InactiveExitTimestampMonotonic=started(60))
    (root / "app.conf").write_text("")
    ensure_unit(target, Units(target), {"name": "a.service", "restart_when_changed": [str(root / "app.conf")]})
    assert "systemctl restart a.service" in runner.lines


def test_its_own_file_is_written_and_reloaded(target: Host, runner: Runner, root: Path) -> None:
    shown(runner, ActiveState="inactive")
    spec = {"name": "a.service", "content": "[Service]\n", "enabled": True, "state": "started"}
    ensure_unit(target, Units(target), spec)
    assert (root / "units/a.service").read_text() == "[Service]\n"
    verbs = [line.split()[1] for line in runner.lines]
    assert verbs.index("daemon-reload") < verbs.index("start")


def test_a_forgotten_daemon_reload_is_made_up_for(target: Host, runner: Runner) -> None:
    shown(runner, NeedDaemonReload="yes")
    ensure_unit(target, Units(target), {"name": "a.service", "state": "started"})
    assert "systemctl daemon-reload" in runner.lines


def test_check_mode_only_looks(checked: Host, runner: Runner, root: Path) -> None:
    shown(runner, LoadState="not-found", ActiveState="inactive", UnitFileState="")
    spec = {"name": "a.service", "content": "[Service]\n", "enabled": True, "state": "started"}
    ensure_unit(checked, Units(checked), spec)
    assert [line.split()[1] for line in runner.lines] == ["show"]
    assert not (root / "units").exists()
    assert [change["action"] for change in checked.changes] == ["create", "enable", "start"]


def test_a_failing_start_shows_the_journal(target: Host, runner: Runner) -> None:
    shown(runner, ActiveState="failed")
    runner.answer("systemctl start", code=1, stderr="Job for a.service failed")
    runner.answer("journalctl", "level=info msg=hello\nconfig line 3 is wrong\n")
    with pytest.raises(HostError, match="config line 3 is wrong") as caught:
        ensure_unit(target, Units(target), {"name": "a.service", "state": "started"})
    assert "systemctl reset-failed a.service" in runner.lines
    assert "level=info" not in caught.value.message
    assert target.changes == []


def test_a_masked_or_unknown_unit_is_said(target: Host, runner: Runner) -> None:
    shown(runner, LoadState="masked")
    with pytest.raises(HostError, match="systemctl unmask"):
        ensure_unit(target, Units(target), {"name": "a.service", "state": "started"})
    runner.answers.clear()
    shown(runner, LoadState="not-found")
    with pytest.raises(HostError, match="There is no unit a"):
        ensure_unit(target, Units(target), {"name": "a.service", "state": "started"})
