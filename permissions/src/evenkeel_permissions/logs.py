# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines on stdout, as JSON or as text, with every known secret redacted."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import TextIO

    from evenkeel_permissions.redaction import Redactor


class _Formatter(logging.Formatter):
    def __init__(self, redactor: Redactor, *, as_json: bool) -> None:
        super().__init__()
        self._redactor = redactor
        self._as_json = as_json

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name.removeprefix("evenkeel_permissions."),
            "message": self._redactor.text(record.getMessage()),
        }
        fields = getattr(record, "fields", None) or {}
        line |= {name: self._redactor.value(value) for name, value in fields.items()}
        if record.exc_info:
            line["exception"] = self._redactor.text(self.formatException(record.exc_info))
        if self._as_json:
            return json.dumps(line, default=str)
        return " ".join(str(value) if n < 4 else f"{name}={value}" for n, (name, value) in enumerate(line.items()))  # noqa: PLR2004


def configure(level: str, redactor: Redactor, *, as_json: bool = True, stream: TextIO = sys.stdout) -> None:
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_Formatter(redactor, as_json=as_json))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for noisy in ("botocore", "urllib3", "uvicorn", "psycopg"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    # Its warnings repeat for every attempt to connect; the health of the database is logged by its users.
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)
