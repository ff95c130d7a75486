# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cache of answers. It may be dead, slow or empty at any time: an answer of it is only ever a shortcut."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Protocol

from evenkeel_permissions import metrics

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)

_PAUSE = 1.0


class CacheError(Exception):
    """The cache did not answer; the text is the cause."""


class Backend(Protocol):
    def get(self, key: str) -> str | None:
        """Raise CacheError."""

    def set(self, key: str, value: str, seconds: int) -> None:
        """Raise CacheError."""


class Cache:
    """Never raises. After a failure the backend is left alone for a second, so that it slows few requests."""

    def __init__(
        self, backend: Backend | None, prefix: str, ttl: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._backend = backend
        self._prefix = prefix
        self._ttl = ttl
        self._clock = clock
        self._skip_until = 0.0
        self._cause = ""

    def get(self, key: str) -> str | None:
        if self._backend is None:
            return None
        if self._clock() < self._skip_until:
            metrics.ANSWERS.labels("skipped").inc()
            return None
        try:
            found = self._backend.get(f"{self._prefix}:{key}")
        except CacheError as error:
            self._failed(str(error))
            return None
        self._works()
        metrics.ANSWERS.labels("miss" if found is None else "hit").inc()
        return found

    def set(self, key: str, value: str) -> None:
        if self._backend is None or self._clock() < self._skip_until:
            return
        try:
            self._backend.set(f"{self._prefix}:{key}", value, self._ttl)
        except CacheError as error:
            self._failed(str(error))

    def _failed(self, cause: str) -> None:
        metrics.ANSWERS.labels("failed").inc()
        self._skip_until = self._clock() + _PAUSE
        if not self._cause:
            log.warning("cache does not answer, the database answers instead", extra={"fields": {"cause": cause}})
        self._cause = cause

    def _works(self) -> None:
        if self._cause:
            log.info("cache answers again")
        self._cause = ""
