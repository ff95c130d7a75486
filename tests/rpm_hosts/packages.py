# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packages and repositories that a test makes on an RPM host."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.system.fleet import Fleet

HOST = "host-3"
PACKAGE = """\
Name: {name}
Version: {version}
Release: 1
Summary: of a test
License: none
BuildArch: noarch
{more}
%description
Of a test.
%files
"""
REPOSITORY = """\
[test]
name=of a test
baseurl={url}
gpgcheck={gpgcheck}
gpgkey=file:///srv/packages/RPM-GPG-KEY
"""
BUILT = "/srv/test"


def build(fleet: Fleet, name: str, more: str = "", version: str = "1") -> None:
    fleet.on(
        HOST,
        f"mkdir -p {BUILT} && cat > /run/test.spec && rpmbuild --quiet -bb --define '_topdir /run/rpmbuild'"
        f" /run/test.spec && mv /run/rpmbuild/RPMS/noarch/{name}-*.rpm {BUILT}/",
        stdin=PACKAGE.format(name=name, version=version, more=more),
    )


@contextmanager
def repository(fleet: Fleet, url: str = f"file://{BUILT}", gpgcheck: int = 0) -> Iterator[None]:
    """One repository more, of the packages that were built before."""
    text = REPOSITORY.format(url=url, gpgcheck=gpgcheck)
    fleet.on(HOST, f"mkdir -p {BUILT} && createrepo_c --quiet {BUILT} && cat > /etc/yum.repos.d/test.repo", stdin=text)
    try:
        yield
    finally:
        fleet.on(HOST, f"rm -rf /etc/yum.repos.d/test.repo {BUILT}")


@contextmanager
def installed(fleet: Fleet, name: str, more: str = "") -> Iterator[None]:
    """A package of a test on the host."""
    build(fleet, name, more)
    fleet.on(HOST, f"dnf -q -y install {BUILT}/{name}-1-1.noarch.rpm && rm -r {BUILT}")
    try:
        yield
    finally:
        fleet.on(HOST, f"dnf -q -y remove {name}")
