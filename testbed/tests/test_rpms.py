# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path

import pytest

from testbed.images.rpm_host import rpms

CONTROL = """\
Package: docker.io
Version: 1:20.10-rc-1+deb12u1
Architecture: amd64
Pre-Depends: libc6 (>= 2.34)
Depends: containerd (>= 1.4~), iptables,
 python3:any, debconf | debconf-2.0
Provides: docker-engine (= 20.10)
Description: Linux container runtime at 100 %
 It runs containers.
"""


def test_a_control_file_becomes_a_part_of_a_specification() -> None:
    package = rpms.Package(rpms.read_control(CONTROL), {"/usr/lib/systemd/system/docker.service": ""})
    assert package.specification(Path("/list")).splitlines() == [
        "%package -n docker",
        "Epoch: 1",
        "Version: 20.10.rc",
        "Release: 1+deb12u1",
        "Summary: Linux container runtime at 100 %%",
        "AutoReqProv: no",
        "Requires: libc6",
        "Requires: containerd",
        "Requires: iptables-nft",
        "Requires: python3",
        "Requires: (debconf or debconf-2.0)",
        "Provides: docker-engine",
        "%description -n docker",
        "Debian's package docker.io.",
        "%pre -n docker",
        "getent group docker >/dev/null || groupadd --system docker",
        "%post -n docker",
        "systemctl daemon-reload || :",
        "%files -n docker -f /list",
    ]


@pytest.mark.parametrize(
    ("version", "parts"),
    [("2.36-9+deb12u14", ("0", "2.36", "9+deb12u14")), ("248", ("0", "248", "1")), ("3:1-2-3", ("3", "1.2", "3"))],
)
def test_a_version_has_three_parts(version: str, parts: tuple[str, str, str]) -> None:
    assert rpms.split_version(version) == parts


def test_a_path_stands_for_itself_in_a_list_of_files() -> None:
    assert rpms.in_file_list("/usr/a b[1]%.py", "%config(noreplace) ") == '%config(noreplace) "/usr/a b\\[1\\]%%.py"'
