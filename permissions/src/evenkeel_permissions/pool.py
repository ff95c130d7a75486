# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A pool of connections. Whatever takes longer than allowed is cut, whether the server answers or not."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg
from psycopg_pool import ConnectionPool, PoolTimeout

from evenkeel_permissions import database

if TYPE_CHECKING:
    from collections.abc import Iterator

    from evenkeel_permissions.database import Connection
    from evenkeel_permissions.settings import ApiSettings

ERRORS = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg.errors.ReadOnlySqlTransaction,
    psycopg.errors.UndefinedTable,  # until the migrations are applied
    PoolTimeout,
    OSError,
)
"""The database is away or not ready. Other errors of psycopg are caused by a statement."""
_GET_SECONDS = 3.0
_TICK = 0.25


class Pool:
    def __init__(self, settings: ApiSettings) -> None:
        self._seconds = settings.database_timeout_seconds
        self._pool = ConnectionPool(
            database.conninfo(settings.database_url, "permissions-api"),
            kwargs={
                "autocommit": True,
                "prepare_threshold": None,
                "cursor_factory": database.cursor_factory(echo=settings.sql_echo),
            },
            min_size=min(2, settings.database_pool_size),
            max_size=settings.database_pool_size,
            timeout=_GET_SECONDS,
            max_lifetime=1800,
            check=ConnectionPool.check_connection,
            open=False,
        )
        self._deadlines: dict[int, tuple[float, Connection]] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._watch = threading.Thread(target=self._cut_late_ones, name="deadlines", daemon=True)

    def open(self) -> None:
        """Return at once, also where the database is away."""
        self._pool.open(wait=False)
        self._watch.start()

    def close(self) -> None:
        self._stop.set()
        self._pool.close(timeout=2)

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Each statement is a transaction, unless one is begun."""
        with self._pool.connection() as connection:
            key = id(connection)
            with self._lock:
                self._deadlines[key] = (time.monotonic() + self._seconds, connection)
            try:
                yield connection
            finally:
                with self._lock:
                    del self._deadlines[key]

    def _cut_late_ones(self) -> None:
        while not self._stop.wait(_TICK):
            now = time.monotonic()
            # Under the lock: a connection that has gone back to the pool must not be cut.
            with self._lock:
                for deadline, connection in self._deadlines.values():
                    if now > deadline:
                        database.cut(connection)
