# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.evenkeel.fleet.plugins.module_utils._aws.private_network.cidrs import derive
from ansible_collections.evenkeel.fleet.plugins.module_utils._common.progress import OperationError


@pytest.mark.parametrize(
    ("blocks", "taken", "prefix", "expected"),
    [
        (["10.0.0.0/16"], [], 24, ["10.0.0.0/24", "10.0.1.0/24"]),
        # A larger and a smaller one are in the way.
        (["10.0.0.0/16"], ["10.0.0.0/22", "10.0.4.128/25"], 24, ["10.0.5.0/24", "10.0.6.0/24"]),
        # A second block of the VPC is used when the first is full.
        (["10.0.0.0/24", "10.1.0.0/16"], ["10.0.0.0/25"], 25, ["10.0.0.128/25", "10.1.0.0/25"]),
        # One that is smaller than the subnets is passed over.
        (["10.0.0.0/26", "10.1.0.0/16"], [], 24, ["10.1.0.0/24", "10.1.1.0/24"]),
    ],
)
def test_the_lowest_free_blocks(blocks: list[str], taken: list[str], prefix: int, expected: list[str]) -> None:
    assert derive(blocks, taken, prefix, len(expected)) == expected


def test_a_vpc_that_is_full() -> None:
    with pytest.raises(OperationError, match=r"2 subnets of /25 .* has free space for 1"):
        derive(["10.0.0.0/24"], ["10.0.0.0/25"], 25, 2)
