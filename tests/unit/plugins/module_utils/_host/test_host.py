# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import time

import pytest

from ansible_collections.evenkeel.fleet.plugins.module_utils._host import host
from ansible_collections.evenkeel.fleet.plugins.module_utils._host.host import Host, HostError, os_families, run_command
from ansible_collections.evenkeel.fleet.tests.unit.plugins.module_utils._host.doubles import Runner


@pytest.mark.parametrize(
    ("release", "families"),
    [
        ("ID=debian\n", ("debian",)),
        ("ID=ubuntu\nID_LIKE=debian\n", ("debian",)),
        ('ID="amzn"\nID_LIKE="fedora"\n', ("amazon", "redhat")),
        ('ID="rocky"\nID_LIKE="rhel centos fedora"\n', ("redhat",)),
    ],
)
def test_os_families(release: str, families: tuple[str, ...]) -> None:
    assert os_families(release) == families


def test_an_unknown_system_is_named() -> None:
    with pytest.raises(HostError, match=r"Alpine Linux v3 is not supported"):
        os_families('ID=alpine\nPRETTY_NAME="Alpine Linux v3"\n')


def test_amazon_falls_back_to_redhat(target: Host) -> None:
    host.OS_RELEASE.write_text("ID=amzn\n")
    assert target.for_os({"debian": "d", "redhat": "r"}) == "r"
    assert target.for_os({"debian": "d", "redhat": "r", "amazon": "a"}) == "a"
    assert target.for_os(None) is None


def test_a_change_is_recorded_when_it_worked(target: Host) -> None:
    with pytest.raises(OSError, match="broken"), target.change("thing", "create"):
        raise OSError("broken")
    assert target.changes == []
    with target.change("thing", "create", "old", "new") as apply:
        assert apply
    assert target.changes == [{"declaration": "role", "resource": "thing", "action": "create"}]
    assert target.diff[0] == {
        "before_header": "role: thing",
        "after_header": "role: thing",
        "before": "old",
        "after": "new",
    }


def test_check_mode_records_and_does_not_apply(checked: Host) -> None:
    with checked.change("thing", "create") as apply:
        assert not apply
    assert len(checked.changes) == 1


def test_a_change_made_of_others_stands_before_them(target: Host) -> None:
    with target.change("outer", "update"), target.change("inner", "restart"):
        pass
    assert [change["resource"] for change in target.changes] == ["outer", "inner"]


def test_commands_get_a_known_locale_and_path(target: Host, runner: Runner) -> None:
    target.run(["true"], environment={"HOME": "/somewhere"})
    assert runner.environments[0]["LC_ALL"] == "C.UTF-8"
    assert "/usr/sbin" in runner.environments[0]["PATH"]
    assert runner.environments[0]["HOME"] == "/somewhere"


def test_a_command_that_hangs_is_ended_with_its_children() -> None:
    started = time.monotonic()
    result = run_command(["sh", "-c", "sleep 30 & sleep 30"], 0.3, None, {"PATH": "/usr/bin:/bin"})
    assert result.code == 124
    assert "timed out after 0.3 s" in result.stderr
    assert time.monotonic() - started < 10


def test_a_command_that_is_not_there() -> None:
    assert run_command(["/nonexistent/tool"], 5, None, {}).code == 127


def test_a_warning_is_said_once(target: Host) -> None:
    target.warn("careful")
    target.warn("careful")
    assert target.warnings == ["role: careful"]
