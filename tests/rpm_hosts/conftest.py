# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One fleet for all tests: host-1 is this machine's release, host-2 Debian 13, host-3 and host-4 have RPMs.

The files run in the order of their names: bare hosts, first run, serving fleet.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.system.fixtures import serving  # noqa: F401
from tests.system.fleet import PREFIX, Fleet

OTHERS = ("trixie-host", "rpm-host", "rpm-host")


@pytest.fixture(scope="session")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path_factory.mktemp("inventory"), f"{PREFIX}-rpm", hosts=4, others=OTHERS)
    with fleet.for_tests():
        yield fleet
