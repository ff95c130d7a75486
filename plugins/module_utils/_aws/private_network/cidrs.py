# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""CIDR blocks for subnets, within the free space of a VPC."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Sequence

from ..._common.progress import OperationError


def derive(blocks: Sequence[str], taken: Iterable[str], prefix: int, count: int) -> list[str]:
    """The lowest free blocks of that prefix length, within the VPC's blocks in their order."""
    occupied = [ipaddress.IPv4Network(cidr) for cidr in taken]
    found: list[str] = []
    for candidate in _candidates(blocks, prefix):
        if len(found) == count:
            break
        if not any(candidate.overlaps(other) for other in occupied):
            found.append(str(candidate))
    if len(found) < count:
        raise OperationError(
            f"Nothing was changed: {count} subnets of /{prefix} are to be created, and the VPC ({', '.join(blocks)}) "
            f"has free space for {len(found)}. Set a larger prefix_length, or add a CIDR block to the VPC."
        )
    return found


def within(cidr: str, blocks: Iterable[str]) -> bool:
    subnet = ipaddress.IPv4Network(cidr)
    return any(subnet.subnet_of(ipaddress.IPv4Network(block)) for block in blocks)


def overlap(one: str, other: str) -> bool:
    return ipaddress.IPv4Network(one).overlaps(ipaddress.IPv4Network(other))


def _candidates(blocks: Sequence[str], prefix: int) -> Iterator[ipaddress.IPv4Network]:
    for block in map(ipaddress.IPv4Network, blocks):
        if block.prefixlen <= prefix:
            yield from block.subnets(new_prefix=prefix)
