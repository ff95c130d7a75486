# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The user data of the role launch_template on a host of another release, and on one with dnf."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.rpm_hosts.packages import HOST, build, installed, repository
from tests.system.user_data import LOG, assert_in_service, boot, launch, make_bare, rendered, variables, wait_until_over

if TYPE_CHECKING:
    from pathlib import Path

    from tests.system.fleet import Fleet

# As the role's README has it for Amazon Linux 2023, whose package has all of Debian's two.
AMAZON: dict[str, Any] = {
    "launch_template_python": "python3.11",
    "launch_template_packages": ["python3.11", "python3.11-venv"],
}


def test_bare_hosts_bring_themselves_up(serving: Fleet, tmp_path: Path) -> None:
    debian, rpm = "host-2", "host-4"
    given = variables(serving, tmp_path)
    scripts = {
        debian: rendered(serving, tmp_path, given),
        rpm: rendered(serving, tmp_path, {**given, **AMAZON}),
    }
    make_bare(serving, tmp_path, *scripts)
    for host, script in scripts.items():
        launch(serving, host)
        boot(serving, host, script)

    wait_until_over(serving, *scripts)
    for host in scripts:
        assert_in_service(serving, host)
    assert serving.on(rpm, "rpm -q docker python3.11-venv | grep -c not.installed", check=False) == "0\n"
    serving.assert_serving()

    # Another host with dnf, and a package that would replace one of it.
    refused = rendered(serving, tmp_path, {**given, "launch_template_packages": ["takes-over"]})
    with installed(serving, "taken-over"):
        build(serving, "takes-over", "Obsoletes: taken-over < 2", version="9")
        with repository(serving), serving.untouched(HOST):
            boot(serving, HOST, refused)
            wait_until_over(serving, HOST)
            assert serving.on(HOST, "rpm -q taken-over").startswith("taken-over-1-1")
    assert "FAILED: Install takes-over: it would remove taken-over" in serving.on(HOST, f"cat {LOG}")
    serving.service("restart", "aws")  # whose account is as it was made
