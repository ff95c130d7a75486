# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Assigns the addresses of an upstream to servers in HAProxy."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from evenkeel_gateway.settings import Route
    from evenkeel_gateway.settings.routes import Upstream

Slots = tuple[str | None, ...]
"""One entry for each server in HAProxy: its address, or None for a server in maintenance."""

# HAProxy gets no new servers at run time: spare ones are for addresses that are added later.
_FEWEST = 4
_MOST = 64


def allot(host: str, slots: Slots, found: Sequence[str]) -> Slots:
    """Assign the found addresses with the fewest changes: a known address keeps its server.

    A new one preferably gets a server that was free, so that the server of a removed address serves until then.
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
