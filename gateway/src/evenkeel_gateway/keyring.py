# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The token keys: read at the start, when secrets or settings change, at an interval, and when a token names an unknown
key. When a read fails, the previous keys stay in use."""

from __future__ import annotations

import asyncio
import logging
import random
import re
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from evenkeel_gateway import metrics, polling
from evenkeel_gateway.haproxy.lifecycle import CURRENT, HaproxyError
from evenkeel_gateway.haproxy.render import KEYS
from evenkeel_gateway.haproxy.runtime_api import RuntimeApiError
from evenkeel_gateway.tokens.keys import KEY_NAMES, MIN_SECRET, Keys, TokenKeyError, bounded, known_keys, secret_values

if TYPE_CHECKING:
    from collections.abc import Mapping

    from evenkeel_gateway.haproxy.lifecycle import Haproxy
    from evenkeel_gateway.health import GatewayState
    from evenkeel_gateway.redaction import Redactor
    from evenkeel_gateway.settings import Settings
    from evenkeel_gateway.tokens.jwks import Jwks

log = logging.getLogger(__name__)

LOOK_SECONDS = 3 * polling.SECONDS
"""The interval at which it checks for a reason to read the JWK set."""
RETRY_SECONDS = 5.0
# "BUG/MEDIUM: jwt: Clear SSL error queue on error when checking the signature"; some later 2.x have it too.
_MENDED = (3, 0, 4)
_VERSION = re.compile(r"version (\d+)\.(\d+)\.(\d+)")
_TIME = re.compile(r"value=<(\d+)>")


class Keyring:
    def __init__(self, haproxy: Haproxy, state: GatewayState, redactor: Redactor) -> None:
        self._haproxy = haproxy
        self._state = state
        self._redactor = redactor
        self._jwks = self._settings.jwks
        self._secrets: Mapping[str, str] = {}
        self._listed = Keys()
        self._fetched = Keys()
        self._skipped: list[str] = []
        self._turn = asyncio.Lock()
        self._changed = asyncio.Event()
        self._read = 0.0
        self._unknown: str | None = None
        self._stamp: object = None
        self._warned = False

    @property
    def _settings(self) -> Settings:
        return self._haproxy.current.settings

    def prepare(self) -> Keys:
        """Return the keys that are known without a network request, for HAProxy's first configuration."""
        settings = self._settings
        if not settings.uses_tokens:
            return Keys()
        before = _left_behind(self._haproxy.runtime)
        if self._jwks:
            self._fetched = before.public
        if settings.aws_secret_arn or settings.aws_ssm_prefix:
            self._listed = before
        else:
            self._secrets = settings.layers.values
            self._list()
        return self._listed + self._fetched

    async def start(self, secrets: Mapping[str, str]) -> None:
        """Raise TokenKeyError where a route verifies tokens and there is no key."""
        self._secrets = secrets
        await self._refresh()
        if self._settings.uses_tokens and not self._haproxy.current.keys:
            raise TokenKeyError(
                self._state.keys or "no key to verify tokens: set JWT_SECRET, JWT_PUBLIC_KEY, JWKS_URL or JWKS_FILE"
            )

    async def secrets_changed(self, secrets: Mapping[str, str]) -> None:
        """Use the keys among the new secrets; on an error the previous keys stay in use."""
        before, self._secrets = self._secrets, secrets
        try:
            self._list()
            await self._put()
        except TokenKeyError as error:
            self._secrets = before
            self._keeps(error)
        except HaproxyError as error:
            self._keeps(error)

    def settings_changed(self) -> None:
        self._changed.set()

    async def run(self) -> None:
        """Refresh the JWK set until cancelled."""
        settings = self._settings
        if not settings.uses_tokens and any(self._secrets.get(name) for name in KEY_NAMES):
            log.info("token keys are configured, but no route verifies tokens: see AUTH_DEFAULT")
        if settings.uses_tokens and (settings.jwks_url or "").startswith("http:"):
            log.warning("JWKS_URL is not https: an attacker on the network path could supply keys of their own")
        while True:
            await self._due()
            try:
                await self._refresh()
            except (TokenKeyError, HaproxyError) as error:
                self._keeps(error)

    def _list(self) -> None:
        """Read the keys of settings and secrets; they are not validated when no route verifies tokens."""
        self._redactor.learn(*secret_values(self._secrets))
        if not self._settings.uses_tokens:
            return
        listed = known_keys(self._settings.public_keys) + known_keys(self._secrets)
        for key in listed.keys:
            if key.secret and len(key.material) < MIN_SECRET and key not in self._listed.keys:
                fields = {"bytes": len(key.material), "atLeast": MIN_SECRET, "kid": key.kid}
                log.warning("a token secret is short enough to be guessed", extra={"fields": fields})
        self._listed = listed

    async def _due(self) -> None:
        """Wait for a reason to read the JWK set."""
        settings = self._settings
        usual = settings.jwks_refresh_seconds
        # Not all gateways at the same time.
        pause = random.uniform(0.9, 1.1) * (min(RETRY_SECONDS, usual) if self._state.keys else usual)  # noqa: S311
        while True:
            if await polling.wait(self._changed, LOOK_SECONDS):
                self._changed.clear()
                return
            if not (settings.uses_tokens and self._jwks):
                continue
            waited = time.monotonic() - self._read
            if waited >= pause or self._jwks.stamp() != self._stamp:
                return
            # Invented key ids must not cause more reads than this.
            if waited >= settings.jwks_cooldown_seconds and await self._named_unknown():
                log.info("a token names an unknown key, reading the JWK set again")
                return

    async def _named_unknown(self) -> bool:
        """Return whether HAProxy has met a token since the last call that its keys could not verify."""
        try:
            found = _TIME.search(await self._haproxy.api.ask("get var proc.unknown_key"))
        except RuntimeApiError:
            return False
        if found is None or found[1] == self._unknown:
            return False
        self._unknown = found[1]
        return True

    async def _refresh(self) -> None:
        self._read = time.monotonic()
        self._list()
        settings = self._settings
        jwks = settings.jwks
        if jwks != self._jwks:
            self._jwks, self._state.keys = jwks, None
        if not jwks:
            self._fetched = Keys()
        elif settings.uses_tokens:
            await self._fetch(jwks)
        await self._put()
        await self._warn_of_old_haproxy()

    async def _fetch(self, jwks: Jwks) -> None:
        self._stamp = jwks.stamp()
        try:
            self._fetched, skipped = await asyncio.to_thread(jwks.read)
        except TokenKeyError as error:
            metrics.JWKS_READS.labels("failed").inc()
            if self._state.keys != str(error):
                self._keeps(error)
            self._state.keys = str(error)
        else:
            metrics.JWKS_READS.labels("done").inc()
            metrics.JWKS_READ_TIME.set_to_current_time()
            self._state.keys = None
            if skipped != self._skipped:
                log.warning("unusable keys in the JWK set are ignored", extra={"fields": {"keys": skipped[:5]}})
            self._skipped = skipped
        finally:
            self._read = time.monotonic()

    async def _put(self) -> None:
        async with self._turn:
            keys = bounded("all keys together", (self._listed + self._fetched).keys)
            metrics.TOKEN_KEYS.set(len(keys.keys))
            if keys == self._haproxy.current.keys or not self._settings.uses_tokens:
                return
            await self._haproxy.reload(keys=keys)
            log.info("token keys changed", extra={"fields": {"count": len(keys.keys), "ids": keys.kids}})

    async def _warn_of_old_haproxy(self) -> None:
        """Warn once, where public keys and https upstreams are both in use."""
        settings, keys = self._settings, self._haproxy.current.keys
        https = any(upstream.tls for route in settings.routes for upstream in route.upstreams)
        if self._warned or not (keys.files and https and settings.uses_tokens):
            return
        self._warned = True
        command = [settings.haproxy_binary, "-v"]
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
        found = _VERSION.search(done.stdout)
        if found and tuple(map(int, found.groups())) < _MENDED:
            fields = {"version": ".".join(found.groups()), "mended": ".".join(map(str, _MENDED))}
            log.warning(
                "bug in this HAProxy version: a token with an invalid RSA or EC signature can break another request's "
                "answer from an https upstream; upgrade HAProxy, or use http upstreams or a shared secret",
                extra={"fields": fields},
            )

    def _keeps(self, error: Exception) -> None:
        log.warning("the previous token keys stay in use", extra={"fields": {"error": str(error)}})


def _left_behind(runtime: Path) -> Keys:
    """Return the keys of the HAProxy that a previous control plane left running."""
    try:
        folder = runtime / (runtime / CURRENT).readlink()
        command = Path(f"/proc/{int((folder / 'pid').read_text())}/cmdline").read_bytes()
        return Keys.loads((folder / KEYS).read_text()) if str(folder).encode() in command else Keys()
    except (OSError, ValueError):
        return Keys()
