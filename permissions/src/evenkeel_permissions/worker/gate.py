# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stops all pollers while the database is away: a receive without a store only raises the receive counts."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from evenkeel_permissions import metrics
from evenkeel_permissions.worker.store import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)

_SHORTEST, _LONGEST = 0.5, 15.0
_POLL = 0.2


class Gate:
    """Closed at first. The pause between probes doubles until a batch is stored, not merely a probe."""

    def __init__(self, probe: Callable[[], None], stop: threading.Event) -> None:
        self._probe = probe
        self._stop = stop
        self._open = threading.Event()
        self._closing = threading.Lock()
        self._pause = 0.0
        self.reason = "not connected yet"
        self.thread = threading.Thread(target=self._run, name="gate", daemon=True)

    @property
    def is_open(self) -> bool:
        return self._open.is_set()

    def wait(self) -> bool:
        """Return when it is open; False: the worker stops."""
        while not self._stop.is_set():
            if self._open.wait(_POLL):
                return not self._stop.is_set()
        return False

    def close(self, reason: str) -> None:
        with self._closing:
            if not self._open.is_set():
                return
            self.reason = reason
            self._open.clear()
        metrics.DATABASE_UP.set(0)
        log.error("database is away, receiving stops", extra={"fields": {"cause": reason}})

    def stored(self) -> None:
        self._pause = 0.0

    def _run(self) -> None:
        while not self._stop.is_set():
            if self._open.is_set():
                self._stop.wait(_POLL)
                continue
            if self._stop.wait(self._pause):
                return
            self._pause = min(max(_SHORTEST, self._pause * 2), _LONGEST)
            try:
                self._probe()
            except UnavailableError as error:
                if str(error) != self.reason:
                    log.error("database is away", extra={"fields": {"cause": str(error)}})  # noqa: TRY400  one line
                self.reason = str(error)
                continue
            self.reason = ""
            metrics.DATABASE_UP.set(1)
            self._open.set()
            log.info("database answers, receiving starts")
