# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can go wrong with dnf on a bare host: each is explained, and what is refused changes nothing."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from tests.rpm_hosts.packages import BUILT, HOST, build, installed, repository
from tests.system.fleet import PLAYBOOK

if TYPE_CHECKING:
    from tests.system.fleet import Fleet, Run


def site(fleet: Fleet, *arguments: str, **variables: Any) -> Run:
    return fleet.site("--limit", HOST, *arguments, **variables)


def test_it_is_amazon_linux_for_ansible(fleet: Fleet) -> None:
    said = fleet.run(
        PLAYBOOK.with_name("ansible"),
        "-i",
        fleet.inventory,
        HOST,
        "-m",
        "ansible.builtin.setup",
        "-a",
        "gather_subset=pkg_mgr",
    )
    facts = {
        "ansible_distribution: Amazon",
        "ansible_distribution_version: '2023'",
        "ansible_os_family: RedHat",
        "ansible_pkg_mgr: dnf",
    }
    assert facts <= {line.strip() for line in said.splitlines()}
    assert fleet.on(HOST, "command -v apt-get dpkg cron || true") == ""


@pytest.mark.parametrize("check", [(), ("--check",)], ids=["run", "check"])
def test_an_engine_that_conflicts_is_not_replaced(fleet: Fleet, check: tuple[str, ...]) -> None:
    with installed(fleet, "docker-distro", "Conflicts: docker"), fleet.untouched(HOST):
        run = site(fleet, *check)
        assert fleet.on(HOST, "rpm -q docker-distro").startswith("docker-distro-1-1")
    assert run.code == 2, run.output
    assert run.says("It conflicts with installed packages: nothing was changed", "docker-distro")


def test_a_package_that_another_one_obsoletes_is_not_removed(fleet: Fleet) -> None:
    with installed(fleet, "docker-distro"):
        build(fleet, "nftables", "Obsoletes: docker-distro < 2", version="9")
        with repository(fleet), fleet.untouched(HOST):
            run = site(fleet)
            assert fleet.on(HOST, "rpm -q docker-distro").startswith("docker-distro-1-1")
    assert run.code == 2, run.output
    assert run.says("would remove docker-distro from this host: nothing was changed")


def test_a_missing_package_is_named(fleet: Fleet) -> None:
    with fleet.untouched(HOST):
        run = site(fleet, packages_names={"redhat": ["nowhere"]})
    assert run.code == 2, run.output
    assert run.says("No configured repository offers nowhere: check the name and the enabled repositories.")


def test_an_unsigned_package_is_refused(fleet: Fleet) -> None:
    build(fleet, "unsigned")
    with repository(fleet, gpgcheck=1):
        run = site(fleet, "--tags", "packages", packages_names={"redhat": ["unsigned"]})
    assert run.code == 2, run.output
    assert run.says(
        "The signature of a package is missing or can't be verified: nothing was installed.", "unsigned-1-1"
    )


def test_a_repository_that_does_not_answer(fleet: Fleet) -> None:
    with repository(fleet, url="http://127.0.0.1:9/repository"):
        run = site(fleet, "--tags", "packages", packages_names={"redhat": ["logrotate"]})
    assert run.code == 2, run.output
    assert run.says("The package mirror can't be reached or is inconsistent", "127.0.0.1:9/repository")


def test_a_disk_that_is_too_small(fleet: Fleet) -> None:
    """The file system of the largest package's files; the preflight looks at others."""
    place = "/usr/lib/python3/dist-packages/awscli"
    fleet.on(HOST, f"mkdir -p {place} && mount -t tmpfs -o size=1m tmpfs {place}")
    try:
        run = site(fleet, "--tags", "packages", packages_names={"redhat": ["awscli-2"]})
    finally:
        fleet.on(HOST, f"umount {place} && rmdir {place}")
    assert run.code == 2, run.output
    assert run.says("The disk is full:", f"more space on the {place} filesystem")


def test_another_transaction_is_waited_for(fleet: Fleet) -> None:
    build(fleet, "slow", "%pre\ntouch /run/slow\nsleep 15")
    holder = threading.Thread(target=fleet.on, args=(HOST, f"dnf -q -y install {BUILT}/slow-1-1.noarch.rpm"))
    holder.start()
    fleet.on(HOST, "until [ -e /run/slow ]; do sleep 0.1; done")
    run = site(fleet, "--tags", "packages", packages_names={"redhat": ["logrotate"]})
    holder.join()
    assert run.code == 0, run.output
    assert fleet.on(HOST, "rpm -q logrotate slow | wc -l") == "2\n"
    fleet.on(HOST, f"dnf -q -y remove logrotate slow && rm -rf {BUILT}")
