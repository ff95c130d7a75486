# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Resolves the names of the upstreams, and sets their addresses in HAProxy."""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import TYPE_CHECKING

from evenkeel_gateway.haproxy.runtime_api import RuntimeApiError
from evenkeel_gateway.haproxy.slots import allot, empty, servers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from evenkeel_gateway.haproxy.new_servers import NewServers
    from evenkeel_gateway.haproxy.runtime_api import RuntimeApi
    from evenkeel_gateway.haproxy.slots import Slots
    from evenkeel_gateway.settings import Route

log = logging.getLogger(__name__)

RESOLVE_SECONDS = 10.0
UNRESOLVED_SECONDS = 1.0


def resolve(hosts: set[str]) -> dict[str, list[str]]:
    """Return the IPv4 addresses of each name, or the IPv6 ones of a name that has no others.

    A container often has no route for IPv6. Blocks; resolves like every program of the machine (/etc/hosts, then DNS).
    """
    addresses = {}
    for host in hosts:
        try:
            found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except OSError:
            continue
        family = min((entry[0] for entry in found), key=lambda family: family != socket.AF_INET)
        addresses[host] = [str(entry[4][0]) for entry in found if entry[0] == family]
    return addresses


def hosts(routes: tuple[Route, ...]) -> set[str]:
    return {upstream.host for route in routes for upstream in route.upstreams}


class Addresses:
    def __init__(self, api: RuntimeApi, new_servers: NewServers) -> None:
        self._api = api
        self._new_servers = new_servers
        self._found: dict[str, Slots] = {}
        self._set: dict[str, Slots] = {}
        """The addresses that the current HAProxy process has."""

    @property
    def found(self) -> dict[str, Slots]:
        """The last known addresses of each name."""
        return dict(self._found)

    def started_with(self, addresses: Mapping[str, Slots]) -> None:
        """Record what a new HAProxy process read from its configuration."""
        self._set = dict(addresses)

    def unresolved(self, routes: tuple[Route, ...]) -> list[str]:
        return sorted(hosts(routes) - self._found.keys())

    def pause(self, routes: tuple[Route, ...]) -> float:
        """Return the seconds until the next resolution."""
        return UNRESOLVED_SECONDS if self.unresolved(routes) else RESOLVE_SECONDS

    async def resolve(self, routes: tuple[Route, ...]) -> None:
        """Resolve all names; one without an address keeps its last ones, as DNS may be down."""
        for host, found in (await asyncio.to_thread(resolve, hosts(routes))).items():
            if found:
                self._found[host] = allot(host, self._found.get(host, ()), found)

    async def update(self, routes: tuple[Route, ...]) -> bool:
        """Set changed addresses in HAProxy; returns False when it has too few servers and needs a reload."""
        changes = {
            host: (before, slots)
            for host, slots in self._found.items()
            if (before := self._set.get(host) or empty(host)) != slots
        }
        if any(len(before) != len(slots) for before, slots in changes.values()):
            return False
        for host, (before, slots) in changes.items():
            await self._update(routes, host, before, slots)
        return True

    async def _update(self, routes: tuple[Route, ...], host: str, before: Slots, slots: Slots) -> None:
        """Add before removing: one is always in service. A new one beside others must pass a health check first."""
        checked = any(address and address in before for address in slots)
        try:
            for wanted in (True, False):
                for route in routes:
                    pairs = zip(servers(route, {host: before}), servers(route, {host: slots}), strict=True)
                    for (name, upstream, old), (_, _, new) in pairs:
                        if old == new or bool(new) is not wanted:
                            continue
                        if new:
                            await self._api.set_address(route.name, name, upstream.port, new, checked=checked)
                            self._new_servers.add((route.name, name))
                        else:
                            await self._api.take_out(route.name, name)
        except RuntimeApiError as error:
            fields = {"upstream": host, "error": str(error)}
            log.warning("could not set the upstream's addresses", extra={"fields": fields})  # retried
        else:
            self._set[host] = slots
            addresses = [address for address in slots if address]
            log.info("upstream's addresses changed", extra={"fields": {"upstream": host, "addresses": addresses}})
