# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Redis by its own protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from evenkeel_permissions.cache import CacheError

if TYPE_CHECKING:
    from evenkeel_permissions.settings import ApiSettings


class RespBackend:
    def __init__(self, settings: ApiSettings) -> None:
        seconds = settings.redis_timeout_seconds
        self._client = redis.Redis.from_url(
            settings.redis_url or "",
            decode_responses=True,
            socket_timeout=seconds,
            socket_connect_timeout=seconds,
            # One more attempt, at once: an idle connection may have been closed.
            retry=Retry(NoBackoff(), 1),
            health_check_interval=0,
            protocol=2,
        )

    def get(self, key: str) -> str | None:
        try:
            found = self._client.get(key)
        except (redis.RedisError, OSError, ValueError) as error:
            raise CacheError(str(error)) from None
        return found if isinstance(found, str) else None

    def set(self, key: str, value: str, seconds: int) -> None:
        try:
            self._client.set(key, value, ex=seconds)
        except (redis.RedisError, OSError) as error:
            raise CacheError(str(error)) from None
