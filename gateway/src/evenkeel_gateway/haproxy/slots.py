# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of a route's servers in HAProxy has which address of an upstream."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from evenkeel_gateway.settings import Route
    from evenkeel_gateway.settings.routes import Upstream

Slots = tuple[str | None, ...]
"""A server in HAProxy for each, with this address, or out of service."""

# HAProxy takes no new servers while it runs: some are left over for addresses that are added later.
_FEWEST = 4
_MOST = 64


def allot(host: str, slots: Slots, found: Sequence[str]) -> Slots:
    """Change only what must: an address that stays keeps its server.

    A new one gets a server that was free: the one whose address has gone serves until the new one does.
    """
    before = slots or empty(host)
    wanted = list(dict.fromkeys(found))[:_MOST]
    after = [address if address in wanted else None for address in before]
    new = [address for address in wanted if address not in after]
    while after.count(None) < len(new):
        after += [None] * len(after)
    free = [number for number, address in enumerate(after) if address is None]
    free.sort(key=lambda number: number < len(before) and before[number] is not None)
    for number, address in zip(free, new, strict=False):
        after[number] = address
    return tuple(after)


def empty(host: str) -> Slots:
    return (None,) * (1 if _is_address(host) else _FEWEST)


def servers(route: Route, addresses: Mapping[str, Slots]) -> Iterator[tuple[str, Upstream, str | None]]:
    """Yield the name in HAProxy, the upstream and the address of each server of a route's backend."""
    for upstream in route.upstreams:
        for number, address in enumerate(addresses.get(upstream.host) or empty(upstream.host), 1):
            yield upstream.name if number == 1 else f"{upstream.name}.{number}", upstream, address


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
