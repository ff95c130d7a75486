# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Redis by Upstash's REST API: a command is a JSON array, posted with a token."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import urllib3

from evenkeel_permissions.cache import CacheError

if TYPE_CHECKING:
    from evenkeel_permissions.settings import ApiSettings

_OK = 200


class RestBackend:
    def __init__(self, settings: ApiSettings) -> None:
        self._url = (settings.redis_url or "").rstrip("/") + "/"
        seconds = settings.redis_timeout_seconds
        self._http = urllib3.PoolManager(
            maxsize=16,
            retries=urllib3.Retry(1, backoff_factor=0, redirect=0, read=False, allowed_methods=None),
            timeout=urllib3.Timeout(total=seconds),
        )
        self._headers = {"Authorization": f"Bearer {settings.redis_token}", "Content-Type": "application/json"}

    def get(self, key: str) -> str | None:
        found = self._do("GET", key)
        return found if isinstance(found, str) else None

    def set(self, key: str, value: str, seconds: int) -> None:
        self._do("SET", key, value, "EX", str(seconds))

    def _do(self, *command: str) -> object:
        try:
            answer = self._http.request("POST", self._url, body=json.dumps(command), headers=self._headers)
            parsed = json.loads(answer.data)
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise CacheError(f"{type(error).__name__}: {error}") from None
        if answer.status != _OK or not isinstance(parsed, dict) or "result" not in parsed:
            reason = parsed.get("error", "") if isinstance(parsed, dict) else ""
            raise CacheError(f"HTTP {answer.status} {reason}")
        return parsed["result"]
