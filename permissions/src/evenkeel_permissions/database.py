# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Connections to PostgreSQL. There is no session state, so that PgBouncer in transaction mode works."""

from __future__ import annotations

import logging
import os
import socket
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import TupleRow

if TYPE_CHECKING:
    from psycopg.abc import Params

log = logging.getLogger(__name__)

Connection = psycopg.Connection[TupleRow]
CONNECT_TIMEOUT = 5
ERRORS = (psycopg.Error, OSError)
_DEFAULTS = {
    "keepalives": "1",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "2",
    "tcp_user_timeout": "6000",
    "connect_timeout": str(CONNECT_TIMEOUT),
}
_Row = TypeVar("_Row")


class EchoCursor(psycopg.Cursor[_Row]):
    """Logs each statement, without its parameters."""

    def execute(self, query: Any, params: Params | None = None, **options: Any) -> EchoCursor[_Row]:
        log.info("sql", extra={"fields": {"statement": query if isinstance(query, str) else repr(query)}})
        return super().execute(query, params, **options)


def conninfo(url: str, application_name: str) -> str:
    """Return the connection string with the defaults of this service. What the operator's string sets wins."""
    defaults = _DEFAULTS | {"application_name": application_name}
    return make_conninfo("", **(defaults | conninfo_to_dict(url) | {"client_encoding": "UTF8"}))


def cursor_factory(*, echo: bool) -> type[psycopg.Cursor[TupleRow]]:
    return EchoCursor if echo else psycopg.Cursor


def connect(url: str, application_name: str, *, echo: bool = False) -> Connection:
    """Connect, with autocommit."""
    return psycopg.connect(
        conninfo(url, application_name),
        autocommit=True,
        prepare_threshold=None,
        cursor_factory=cursor_factory(echo=echo),
    )


def cut(connection: Connection) -> None:
    """End whatever another thread waits for on this connection, whether the server answers or not."""
    try:
        with socket.socket(fileno=os.dup(connection.fileno())) as wire:
            wire.shutdown(socket.SHUT_RDWR)
    except (OSError, psycopg.Error):
        return  # already broken


def describe(error: BaseException) -> str:
    """Return one line for an operator."""
    return " ".join(str(error).split()) or type(error).__name__
