# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers that were never up at their address: one successful health check puts them in service.

HAProxy requires as many successful checks of every server as take CIRCUIT_OPEN_SECONDS. That is meant for a server that
failed, not for one that starts after the gateway.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from evenkeel_gateway import polling
from evenkeel_gateway.haproxy.runtime_api import RuntimeApiError

if TYPE_CHECKING:
    from collections.abc import Collection

    from evenkeel_gateway.haproxy.runtime_api import RuntimeApi, ServerKey, ServerState

log = logging.getLogger(__name__)

CHECK_SECONDS = 1.0


class NewServers:
    def __init__(self, api: RuntimeApi) -> None:
        self._api = api
        self._reached: dict[ServerKey, int | None] = {}
        """The server's number of requests when it was added; None: not read yet."""
        self._some = asyncio.Event()

    def begin(self, keys: Collection[ServerKey], inherited: Collection[ServerKey]) -> None:
        """A new process has these servers; it inherited the state of `inherited` from its predecessor."""
        self._reached = {key: 0 for key in keys if key in self._reached or key not in inherited}
        self._some.set()

    def add(self, key: ServerKey) -> None:
        """The server has a new address."""
        self._reached[key] = None
        self._some.set()

    async def run(self) -> None:
        while True:
            await self._some.wait()
            await polling.sleep(CHECK_SECONDS)
            try:
                await self._look(await self._api.servers())
            except RuntimeApiError as error:
                log.debug("could not read the servers: %s", error)
            if not self._reached:
                self._some.clear()

    async def _look(self, servers: dict[ServerKey, ServerState]) -> None:
        for key, reached in tuple(self._reached.items()):
            server = servers.get(key)
            if server is None:
                del self._reached[key]
            elif reached is None:
                self._reached[key] = server.reached
            elif server.reached != reached or server.proven:
                # From now on it has a circuit like every server.
                del self._reached[key]
            elif server.successful_checks:
                await self._api.close_circuit(*key)
                self._reached.pop(key, None)
                log.info("the server passes its health check", extra={"fields": {"route": key[0], "server": key[1]}})
