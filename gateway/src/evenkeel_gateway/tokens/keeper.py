# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The keys kept current: read at the start, on a schedule, when a token names a key that is not known, and when the
secrets change. What can't be read leaves the keys as they are."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from typing import TYPE_CHECKING, Protocol

from evenkeel_gateway import metrics
from evenkeel_gateway.haproxy.process import HaproxyError
from evenkeel_gateway.tokens.jwks import Jwks
from evenkeel_gateway.tokens.keys import MIN_SECRET, Keys, TokenKeyError, bounded, known_keys, secret_values

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from evenkeel_gateway.logs import Redactor
    from evenkeel_gateway.settings import Settings

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
"""How often it looks whether an unknown key was named, or the file is another one."""
RETRY_SECONDS = 5.0


class Install(Protocol):
    """Have HAProxy check tokens with these; raises HaproxyError where it can't."""

    def __call__(self, keys: Keys) -> Awaitable[None]: ...


class KeyKeeper:
    def __init__(
        self, settings: Settings, redactor: Redactor, install: Install, unknown: Callable[[], Awaitable[str]]
    ) -> None:
        """`unknown` returns a text that changes when a token has named a key that HAProxy does not know."""
        self._settings = settings
        self._redactor = redactor
        self._install = install
        self._unknown = unknown
        self._jwks = Jwks(settings)
        self._listed = Keys()
        self._fetched = Keys()
        self._skipped: list[str] = []
        self._installed = Keys()
        self._turn = asyncio.Lock()
        self.problem: str | None = None
        """Why the JWK set could not be read the last time."""

    async def start(self, secrets: Mapping[str, str]) -> None:
        """Raise TokenKeyError where routes ask for tokens and there is no key to check one with."""
        if not self._settings.uses_tokens:
            return
        await self.use(secrets, install=False)
        if self._jwks:
            await self._fetch()
        await self._put()
        if not self._installed:
            raise TokenKeyError(
                self.problem or "no key to check tokens with: set JWT_SECRET, JWT_PUBLIC_KEY, JWKS_URL or JWKS_FILE"
            )

    async def use(self, secrets: Mapping[str, str], *, install: bool = True) -> None:
        """Take what the secrets say now; raises TokenKeyError, and keeps the keys before, where that can't be used."""
        self._redactor.learn(*secret_values(secrets))
        self._listed = known_keys(self._settings.public_keys) + known_keys(secrets)
        for key in self._listed.keys:
            if key.secret and len(key.material) < MIN_SECRET:
                log.warning(
                    "a secret for tokens is short, it could be guessed",
                    extra={"fields": {"bytes": len(key.material), "better": MIN_SECRET, "kid": key.kid}},
                )
        if install:
            await self._put()

    async def run(self) -> None:
        """Follow the JWK set; returns at once where there is none."""
        if not (self._settings.uses_tokens and self._jwks):
            return
        seen, stamp = await self._unknown(), self._jwks.stamp()
        while True:
            read = time.monotonic()
            pause = self._pause()
            while (waited := time.monotonic() - read) < pause:
                await asyncio.sleep(LOOK_SECONDS)
                asked, now = await self._unknown(), self._jwks.stamp()
                if now != stamp:
                    stamp = now
                    break
                # Whoever makes up key ids must not make us ask more often than this.
                if asked and asked != seen and waited >= self._settings.jwks_cooldown_seconds:
                    seen = asked
                    log.info("a token names a key that is not known, reading the keys again")
                    break
            await self._fetch()
            try:
                await self._put()
            except (TokenKeyError, HaproxyError) as error:
                log.error("the keys before stay in use", extra={"fields": {"error": str(error)}})  # noqa: TRY400

    def _pause(self) -> float:
        """Not all of a fleet at the same time."""
        usual = self._settings.jwks_refresh_seconds
        return random.uniform(0.9, 1.1) * (min(RETRY_SECONDS, usual) if self.problem else usual)  # noqa: S311

    async def _fetch(self) -> None:
        try:
            self._fetched, skipped = await asyncio.to_thread(self._jwks.read)
        except TokenKeyError as problem:
            metrics.JWKS_READS.labels("failed").inc()
            if self.problem != str(problem):
                log.warning("the keys before stay in use", extra={"fields": {"error": str(problem)}})
            self.problem = str(problem)
            return
        metrics.JWKS_READS.labels("done").inc()
        metrics.JWKS_READ_TIME.set_to_current_time()
        self.problem = None
        if skipped != self._skipped:
            self._skipped = skipped
            log.warning("keys that can't be used are left out", extra={"fields": {"keys": skipped[:5]}})

    async def _put(self) -> None:
        async with self._turn:
            keys = bounded(
                "all keys together", (self._listed + self._fetched).only(self._settings.auth_algorithms).keys
            )
            if keys == self._installed:
                return
            await self._install(keys)
            self._installed = keys
            metrics.TOKEN_KEYS.set(len(keys.keys))
            log.info("keys for tokens", extra={"fields": {"count": len(keys.keys), "ids": keys.kids}})
