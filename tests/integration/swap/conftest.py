# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.swap.little_host import LittleHost
from tests.integration.swap.swaps import Swaps


@pytest.fixture(scope="session")
def host() -> Iterator[LittleHost]:
    folder = Path(tempfile.mkdtemp(prefix="evenkeel-swap-", dir="/var/tmp"))
    little = LittleHost(folder)
    try:
        little.start()
        yield little
    finally:
        little.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def swap(host: LittleHost) -> Iterator[Swaps]:
    yield Swaps(host)
    host.remove_containers()
