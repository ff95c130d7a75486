# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The response cache."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field
from pydantic_settings import NoDecode

from evenkeel_gateway.settings.part import Part, words

VARY = ("accept-encoding", "referer")


class CacheSettings(Part):
    cache_enabled: bool = False
    cache_default_ttl: int = Field(default=60, ge=1)
    """Seconds; also the maximum, whatever a response says."""
    cache_vary_headers: Annotated[tuple[str, ...], NoDecode, BeforeValidator(words)] = ("Accept-Encoding",)
    cache_size_mb: int = Field(default=32, ge=1, le=4095)
    cache_max_object_bytes: int = Field(default=256 * 1024, ge=1024)

    def problems(self) -> list[str]:
        problems = [
            f"CACHE_VARY_HEADERS: {name} is not supported: HAProxy's cache varies by Accept-Encoding and Referer only; "
            "responses that vary by other headers are not cached"
            for name in self.cache_vary_headers
            if name.lower() not in VARY
        ]
        if self.cache_max_object_bytes > self.cache_size_mb * 1024 * 1024 // 2:
            problems.append("CACHE_MAX_OBJECT_BYTES: must be at most half of CACHE_SIZE_MB")
        return problems
