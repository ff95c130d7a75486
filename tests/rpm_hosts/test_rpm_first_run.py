# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A bare fleet of all kinds of hosts is bootstrapped; check mode has said before what happens."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.system.fleet import Fleet, Run


def packages(run: Run) -> list[str]:
    """What the diffs of a run name as new packages, once for each host."""
    return sorted(re.findall(r"^\+\+\+ after: (\S+: package \S+)$", run.output, re.M))


def test_the_hosts_are_of_three_distributions(fleet: Fleet) -> None:
    names = [fleet.on(host, ". /etc/os-release && echo $ID $VERSION_ID").strip() for host in fleet.hosts]
    assert names[1:] == ["debian 13", "amzn 2023", "amzn 2023"]
    assert names[0] not in names[1:]


def test_the_first_run_does_what_check_mode_foresaw(fleet: Fleet) -> None:
    fleet.make_bare(*(host for host in fleet.hosts if fleet.on(host, "command -v dockerd || true")))
    with fleet.untouched(*fleet.hosts):
        checked = fleet.site("--check", "--diff")
    assert checked.code == 0, checked.output
    assert checked.changed() == set(fleet.hosts)
    assert "docker: package docker" in packages(checked)

    run = fleet.site("--diff")
    assert run.code == 0, run.output
    assert packages(run) == packages(checked)
    fleet.assert_serving()
    for host in fleet.rpm_hosts:
        assert (
            fleet.on(host, "rpm -q docker nftables awscli-2 postgresql16 | grep -c not.installed", check=False) == "0\n"
        )
        assert fleet.on(host, "rpm -qf $(command -v dockerd)").startswith("docker-")
        assert (
            fleet.on(host, "docker run --rm --entrypoint true $(docker images -q | head -1) && echo runs") == "runs\n"
        )
        assert fleet.on(host, "systemctl is-enabled docker") == "enabled\n"


def test_a_second_run_changes_nothing_on_any(serving: Fleet) -> None:
    with serving.untouched(*serving.hosts):
        run = serving.site()
    assert run.code == 0, run.output
    assert run.changed() == set(), run.output


def test_a_rebooted_rpm_host_serves_again(serving: Fleet) -> None:
    serving.service("restart", serving.rpm_hosts[0])
    serving.assert_serving()
    assert serving.site().changed() == set()
