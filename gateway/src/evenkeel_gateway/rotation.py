# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Refreshes the secrets while the gateway runs."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from evenkeel_gateway import metrics, polling, secret_sources
from evenkeel_gateway.secrets import SecretError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from evenkeel_gateway.current import Current
    from evenkeel_gateway.health import GatewayState
    from evenkeel_gateway.redaction import Redactor
    from evenkeel_gateway.secrets import Secrets

log = logging.getLogger(__name__)

LOOK_SECONDS = 3 * polling.SECONDS
# A password that the database refuses was most likely rotated; more frequent requests cost money.
EARLY_SECONDS = 5.0
_REFUSED = ("password authentication failed", "SASL authentication failed")


class Rotation:
    def __init__(
        self,
        current: Current,
        state: GatewayState,
        redactor: Redactor,
        changed: Callable[[Secrets], Awaitable[None]],
    ) -> None:
        self._current = current
        self._state = state
        self._redactor = redactor
        self._changed = changed
        self._turn = asyncio.Lock()

    async def run(self) -> None:
        """Refresh at an interval, and early when the database refuses the password, until cancelled."""
        loop = asyncio.get_running_loop()
        last = loop.time()
        while True:
            await polling.sleep(LOOK_SECONDS)
            if self._state.secrets is None:
                continue  # the start retries until it has them
            seconds = self._current.settings.secrets_refresh_seconds
            due = bool(seconds) and loop.time() - last >= seconds
            early = loop.time() - last >= EARLY_SECONDS and self._wanting()
            if due or early:
                await self.refresh()
                last = loop.time()

    def _wanting(self) -> bool:
        state = self._state
        problem = state.problems.get("database") or (state.election.problem if state.election else None) or ""
        return bool(state.missing_secrets) or any(text in problem for text in _REFUSED)

    async def refresh(self) -> str | None:
        """Read the secrets; when the source does not answer, keep the known ones and return why."""
        async with self._turn:
            state = self._state
            try:
                found = await asyncio.to_thread(secret_sources.load, self._current.settings, self._redactor)
            except SecretError as error:
                metrics.SECRET_REFRESHES.labels("failed").inc()
                if state.stale != str(error):
                    log.warning(
                        "secrets not refreshed, the known ones stay in use", extra={"fields": {"error": str(error)}}
                    )
                state.stale = str(error)
                return state.stale
            state.stale = None
            metrics.SECRET_REFRESHES.labels("done").inc()
            before, state.secrets = state.secrets, found
            if before != found:
                log.info("secrets changed", extra={"fields": {"changed": _names(before, found)}})
                await self._changed(found)
            return None


def _names(before: Secrets | None, after: Secrets) -> list[str]:
    old = before.values if before else {}
    names = {name for name in old.keys() | after.values.keys() if old.get(name) != after.values.get(name)}
    if before and before.conninfo != after.conninfo:
        names.add("database")
    return sorted(names)
