# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""JSON lines on stdout, with every known secret redacted."""

from __future__ import annotations

import json
import logging
import re
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TextIO
from urllib.parse import unquote

from evenkeel_gateway.secrecy import is_secret

if TYPE_CHECKING:
    from evenkeel_gateway.redaction import Redactor
    from evenkeel_gateway.settings import Settings

_PASSWORD_IN_URL = re.compile(r"://[^\s/:@]*:([^\s/@]+)@")
# Redacting these everywhere would make the log unreadable.
_ORDINARY = re.compile(r"[0-9.]{1,5}")


def secrets_of(settings: Settings) -> list[str]:
    """Return the secret values: of the fields that are never shown, and of other variables by their names."""
    fields = type(settings).model_fields
    found = []
    for name, value in settings.layers.values.items():
        passwords = _PASSWORD_IN_URL.findall(value)
        found += [*passwords, *(unquote(password) for password in passwords)]
        known = fields.get(name.lower())
        if not passwords and ((known and not known.repr) or is_secret(name, value)):
            found.append(value)
    return [value for value in found if is_secret("secret", value) and not _ORDINARY.fullmatch(value)]


class JsonFormatter(logging.Formatter):
    def __init__(self, redactor: Redactor) -> None:
        super().__init__()
        self._redactor = redactor

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name.removeprefix("evenkeel_gateway."),
            "message": self._redactor.text(record.getMessage()),
        }
        fields = getattr(record, "fields", None)
        if fields:
            line |= {name: self._redactor.field(name, value) for name, value in fields.items()}
        if record.exc_info:
            line["exception"] = self._redactor.text(self.formatException(record.exc_info))
        return json.dumps(line, default=str)


def configure(level: str, redactor: Redactor, stream: TextIO = sys.stdout) -> None:
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter(redactor))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for noisy in ("botocore", "urllib3", "uvicorn", "psycopg"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
