# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One connection to PostgreSQL, kept while it works; everything on it has a deadline.

There is no session state, so that PgBouncer in transaction mode works. Each transaction sets what the election relies
on, whatever the role, the database or another client of the same pooled session has set.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import TupleRow

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

Connection = psycopg.AsyncConnection[TupleRow]

Conninfo = str | Callable[[], str]
"""A connection string, or a function that returns the current one: passwords are rotated."""
DATABASE_ERRORS = (psycopg.Error, OSError, TimeoutError)
CONNECT_TIMEOUT = 5
_KEEPALIVE = {
    "keepalives": "1",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "2",
    "tcp_user_timeout": "6000",
}
# Ids are compared as text; with SQL_ASCII psycopg returns bytes. Poolers accept this startup parameter.
_ENCODING = {"client_encoding": "UTF8"}
# psycopg reads ISO dates only. Another search_path would find another lease. With synchronous_commit off, a crash of
# the server could undo a commit, and one term would be given twice.
_SESSION = (
    "SET LOCAL DateStyle = 'ISO, YMD'; SET LOCAL TimeZone = 'UTC'; SET LOCAL search_path TO DEFAULT;"
    " SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off';"
)


async def connect(conninfo: Conninfo, application_name: str) -> Connection:
    if callable(conninfo):
        conninfo = conninfo()
    # The operator's connection string wins, except for what the election relies on.
    defaults = _KEEPALIVE | {"application_name": application_name}
    conninfo = make_conninfo("", **(defaults | conninfo_to_dict(conninfo) | _ENCODING))
    async with asyncio.timeout(CONNECT_TIMEOUT + 1):
        connection = await psycopg.AsyncConnection.connect(
            conninfo, autocommit=True, prepare_threshold=None, connect_timeout=CONNECT_TIMEOUT
        )
    await connection.set_isolation_level(psycopg.IsolationLevel.READ_COMMITTED)
    return connection


def describe(error: BaseException) -> str:
    """Return one line for an operator."""
    if isinstance(error, TimeoutError):
        return f"no answer within {CONNECT_TIMEOUT} s"
    return " ".join(str(error).split()) or type(error).__name__


@contextmanager
def deadline(connection: Connection, seconds: float) -> Iterator[None]:
    """Cut the connection after `seconds`.

    Cancelling the task instead would send a cancel request and wait for a server that may be unreachable.
    """
    timer = asyncio.get_running_loop().call_later(seconds, _cut, connection)
    try:
        yield
    finally:
        timer.cancel()


def _cut(connection: Connection) -> None:
    if not connection.closed:
        with socket.socket(fileno=os.dup(connection.fileno())) as wire:
            try:
                wire.shutdown(socket.SHUT_RDWR)
            except OSError:
                return  # already broken


class Database:
    def __init__(self, conninfo: Conninfo, application_name: str) -> None:
        self._conninfo = conninfo
        self._application_name = application_name
        self._connection: Connection | None = None
        self._turn = asyncio.Lock()

    @asynccontextmanager
    async def transaction(self, *, seconds: float, lock_seconds: float) -> AsyncIterator[Connection]:
        """Commit at the end. It fails after `seconds`, whatever the network or the server does."""
        async with self._turn:
            connection = self._connection
            if connection is None or connection.closed:
                connection = self._connection = await connect(self._conninfo, self._application_name)
            try:
                with deadline(connection, seconds):
                    async with connection.transaction():
                        await _limit(connection, seconds, lock_seconds)
                        yield connection
            except BaseException:
                await self.close()
                raise

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection:
            await connection.close()


async def _limit(connection: Connection, seconds: float, lock_seconds: float) -> None:
    """Set what the election relies on, and time-outs in the server: a frozen client must not keep its locks."""
    total, lock = f"{seconds * 1000:.0f}", f"{lock_seconds * 1000:.0f}"
    # First: each statement has a time-out of its own, and that of a pooled session may be short.
    limits = (
        f"SET LOCAL statement_timeout = {total}; SET LOCAL lock_timeout = {lock};"
        f" SET LOCAL idle_in_transaction_session_timeout = {total}; "
    )
    await connection.execute((limits + _SESSION).encode())
