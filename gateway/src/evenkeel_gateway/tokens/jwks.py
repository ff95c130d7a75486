# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A JWK set, from a URL or a file."""

from __future__ import annotations

import http
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import urllib3

from evenkeel_gateway.tokens.keys import TokenKeyError, jwks_keys

if TYPE_CHECKING:
    from pathlib import Path

    from evenkeel_gateway.tokens.keys import Keys

_MAX_BYTES = 256 * 1024
_CHUNK = 16 * 1024


@dataclass(frozen=True)
class Jwks:
    """The source of the set. `read` blocks for JWKS_TIMEOUT_SECONDS at most, unless the DNS resolver hangs."""

    url: str | None = field(repr=False)
    file: Path | None
    timeout: float

    def __bool__(self) -> bool:
        return bool(self.url or self.file)

    def stamp(self) -> object:
        """Return a value that changes with the file."""
        try:
            found = self.file.stat() if self.file else None
        except OSError:
            return None
        return found and (found.st_ino, found.st_mtime_ns, found.st_size)

    def read(self) -> tuple[Keys, list[str]]:
        """Return the keys, and why others are unusable; raises TokenKeyError."""
        if self.file:
            try:
                return jwks_keys("JWKS_FILE", self.file.read_bytes(), secrets=True)
            except OSError as error:
                raise TokenKeyError(f"JWKS_FILE={self.file}: {error.strerror}") from None
        return jwks_keys("JWKS_URL", self._fetch(), secrets=False)

    def _fetch(self) -> bytes:
        assert self.url is not None  # noqa: S101
        until = time.monotonic() + self.timeout
        try:
            answer = urllib3.PoolManager(retries=False).request(
                "GET",
                self.url,
                headers={"Accept": "application/json", "Connection": "close"},
                timeout=urllib3.Timeout(total=self.timeout),
                redirect=False,
                preload_content=False,
            )
            try:
                if answer.status != http.HTTPStatus.OK:
                    hint = "; set the URL that it redirects to" if answer.get_redirect_location() else ""
                    raise TokenKeyError(f"JWKS_URL: answers {answer.status}{hint}")
                return _body(answer, until)
            finally:
                answer.close()
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            # The error's own text contains the URL, which may hold a password.
            raise TokenKeyError(f"JWKS_URL: can't be read: {_reason(error)}") from None


def _body(answer: urllib3.BaseHTTPResponse, until: float) -> bytes:
    body = b""
    while chunk := answer.read1(_CHUNK):
        body += chunk
        if len(body) > _MAX_BYTES:
            raise TokenKeyError(f"JWKS_URL: answers with more than {_MAX_BYTES // 1024} KiB")
        if time.monotonic() > until:
            raise TokenKeyError("JWKS_URL: can't be read: too slow")
    return body


def _reason(error: BaseException) -> str:
    cause = error.__cause__ or error.__context__
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return "no answer in time" if isinstance(error, urllib3.exceptions.TimeoutError) else type(error).__name__
