# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reloads the configuration when its files change, on SIGHUP and on the `reload` command."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from evenkeel_gateway import metrics
from evenkeel_gateway.haproxy.lifecycle import HaproxyError
from evenkeel_gateway.settings import ConfigurationError, load
from evenkeel_gateway.settings.database import DatabaseSettings
from evenkeel_gateway.settings.election import ElectionSettings
from evenkeel_gateway.settings.pod import PodSettings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from pathlib import Path

    from evenkeel_gateway.haproxy.lifecycle import Haproxy
    from evenkeel_gateway.health import GatewayState
    from evenkeel_gateway.settings import Settings

log = logging.getLogger(__name__)

# Only read at the start: the identity and the election are set up once.
_AT_THE_START = {
    *DatabaseSettings.model_fields,
    *ElectionSettings.model_fields,
    *("node_env", "is_local", "config_dir", "config_watch_seconds", "runtime_dir", "service_name", "gateway_version"),
    *PodSettings.model_fields,
    *("instance_id", "private_ip", "public_ip", "launched_at"),
    *("aws_ec2_metadata_disabled", "aws_ec2_metadata_service_endpoint"),
} - {"layers", "database_url", "db_host", "db_port", "db_username", "db_password", "db_name"}


class ConfigurationReloader:
    def __init__(self, haproxy: Haproxy, state: GatewayState, changed: Callable[[Settings], Awaitable[None]]) -> None:
        self._haproxy = haproxy
        self._state = state
        self._changed = changed
        self._started_with = haproxy.current.settings

    async def run(self) -> None:
        """Watch the files until cancelled."""
        seconds = self._started_with.config_watch_seconds
        if not seconds:
            await asyncio.Event().wait()
        # The files may have changed since the start read them.
        seen: object = None
        read: object = _look(self._started_with.layers.watched)
        while True:
            await asyncio.sleep(seconds)
            now = _look(self._haproxy.current.settings.layers.watched)
            # Two polls must agree: a file may be half written.
            if now == read or now != seen:
                seen = now
                continue
            read = now
            await self.refresh()

    async def refresh(self) -> str | None:
        """Read everything again; returns why it was refused."""
        problem: str | None
        try:
            settings = load()
            await self._apply(settings)
        except ConfigurationError as error:
            problem = "; ".join(error.problems)
            metrics.RELOADS.labels("refused").inc()
            log.error("configuration refused, the previous one stays in force", extra={"fields": {"error": problem}})  # noqa: TRY400
        except HaproxyError as error:
            problem = str(error)
        else:
            problem = self._needs_restart(settings)
        self._state.configuration = problem
        return problem

    async def _apply(self, settings: Settings) -> None:
        before = self._haproxy.current.settings
        if settings.model_dump() == before.model_dump() and settings.layers.values == before.layers.values:
            log.info("configuration unchanged")
            return
        changed = sorted(name for name in _changed(before, settings) if name not in _AT_THE_START)
        await self._haproxy.reload(settings=settings)
        log.info("configuration changed", extra={"fields": {"changed": changed}})
        await self._changed(settings)

    def _needs_restart(self, settings: Settings) -> str | None:
        names = sorted(name.upper() for name in _changed(self._started_with, settings) if name in _AT_THE_START)
        if not names:
            return None
        log.warning("changed, but only read at the start", extra={"fields": {"variables": names}})
        return f"{', '.join(names)}: changed, but only read at the start; restart this instance"


def _changed(before: Settings, after: Settings) -> Iterable[str]:
    return (
        name for name in type(after).model_fields if name != "layers" and getattr(before, name) != getattr(after, name)
    )


def _look(paths: tuple[Path, ...]) -> tuple[object, ...]:
    looks: list[object] = []
    for path in paths:
        try:
            status = path.stat()
        except OSError:
            looks.append(None)
        else:
            looks.append((status.st_ino, status.st_mtime_ns, status.st_size))
    return tuple(looks)
