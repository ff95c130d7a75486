# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Removes known secrets from texts."""

from __future__ import annotations

import re

from evenkeel_gateway.secrecy import is_secret

REDACTED = "[redacted]"
# Shorter values would be replaced within ordinary words.
MIN_SECRET_LENGTH = 4
_URL_PASSWORD = re.compile(r"(?<=://)([^\s/:@]*):[^\s/@]+@")


class Redactor:
    def __init__(self) -> None:
        self._values: set[str] = set()

    def learn(self, *values: str) -> None:
        self._values.update(value for value in values if len(value) >= MIN_SECRET_LENGTH)

    def text(self, text: str) -> str:
        # The longest first: a secret may be part of another one.
        for value in sorted(self._values, key=len, reverse=True):
            text = text.replace(value, REDACTED)
        return _URL_PASSWORD.sub(rf"\1:{REDACTED}@", text)

    def field(self, name: str, value: object) -> object:
        if isinstance(value, dict):
            return {key: self.field(str(key), item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.field(name, item) for item in value]
        if value and isinstance(value, str):
            shown = self.text(value)
            # A URL without its password is no secret.
            return REDACTED if is_secret(name, shown.replace(REDACTED, "")) else shown
        return value
