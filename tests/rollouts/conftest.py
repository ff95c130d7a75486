# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One fleet for all tests, beside that of tests/system."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.system.fixtures import images, left_serving, serving  # noqa: F401
from tests.system.fleet import PREFIX, Fleet


@pytest.fixture(scope="session")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path_factory.mktemp("inventory"), f"{PREFIX}-rollouts", warm=True)
    with fleet.for_tests():
        yield fleet
