# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes events to PostgreSQL: a batch is one statement, and so one transaction."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import psycopg

from evenkeel_permissions import database

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from evenkeel_permissions.database import Connection
    from evenkeel_permissions.events import ReceivedEvent

# Sorted: two workers that store the same events in another order would deadlock. Binary: as text, the client would
# escape each value.
_INSERT = """
    INSERT INTO audit_event (event_id, type, occurred_at, actor, resource, body)
    SELECT event_id, type, occurred_at, actor, resource, body::jsonb
      FROM unnest(%b::uuid[], %b::text[], %b::timestamptz[], %b::text[], %b::text[], %b::text[])
        AS event (event_id, type, occurred_at, actor, resource, body)
     ORDER BY event_id
    ON CONFLICT (event_id) DO NOTHING
"""
# What the values of a row cause. Everything else is the database's state, which no message is to blame for.
_ROW_ERRORS = (
    psycopg.DataError,
    psycopg.IntegrityError,
    psycopg.errors.ProgramLimitExceeded,  # a value that is too long for its index
    psycopg.errors.StatementTooComplex,  # JSON that is nested too deeply
)


class UnavailableError(Exception):
    """The database can't store events now; the text is the cause."""


@dataclass
class Stored:
    new: int
    refused: dict[int, str] = field(default_factory=dict)
    """The reason by the index of the event."""


class EventStore:
    """One connection, kept while it works. Only interrupt() may be called by another thread."""

    def __init__(self, connect: Callable[[], Connection]) -> None:
        self._connect = connect
        self._connection: Connection | None = None
        self._proven = False

    def probe(self) -> None:
        """Prove that events can be stored, without one; raises UnavailableError."""
        self.insert(())

    def insert(self, events: Sequence[ReceivedEvent]) -> Stored:
        """Commit all events but the refused ones; raises UnavailableError."""
        try:
            return self._insert(events)
        except database.ERRORS as error:
            # A connection that worked before may have been closed since. Storing twice is storing once.
            again, cause = self._proven, database.describe(error)
            self.close()
        if again:
            try:
                return self._insert(events)
            except database.ERRORS as error:
                cause = database.describe(error)
                self.close()
        raise UnavailableError(cause)

    def interrupt(self) -> None:
        connection = self._connection
        if connection and not connection.closed:
            self._proven = False  # no second attempt
            database.cut(connection)

    def close(self) -> None:
        connection, self._connection = self._connection, None
        self._proven = False
        if connection:
            connection.close()

    def _insert(self, events: Sequence[ReceivedEvent]) -> Stored:
        connection = self._connection
        if connection is None or connection.closed:
            connection = self._connection = self._connect()
        try:
            stored = Stored(connection.execute(_INSERT, _columns(events)).rowcount)
        except _ROW_ERRORS:
            stored = _insert_each(connection, events)
        self._proven = True
        return stored


def _insert_each(connection: Connection, events: Sequence[ReceivedEvent]) -> Stored:
    """Store what can be stored, each row in a savepoint."""
    stored = Stored(0)
    with connection.transaction():
        for index, event in enumerate(events):
            try:
                with connection.transaction():
                    stored.new += connection.execute(_INSERT, _columns([event])).rowcount
            except _ROW_ERRORS as error:
                # The rest of the error quotes the value.
                detail = error.diag.message_primary or type(error).__name__
                stored.refused[index] = f"PostgreSQL refuses the row: {detail}"
    return stored


def _columns(events: Sequence[ReceivedEvent]) -> tuple[list[object], ...]:
    return (
        [event.event_id for event in events],
        [event.type for event in events],
        [event.occurred_at for event in events],
        [event.actor for event in events],
        [event.resource for event in events],
        [event.body for event in events],
    )
