# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the API does: changes with their events in one transaction, and answers by way of the cache."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

import psycopg

from evenkeel_permissions import permissions

if TYPE_CHECKING:
    from collections.abc import Callable

    from evenkeel_permissions.cache import Cache
    from evenkeel_permissions.database import Connection
    from evenkeel_permissions.outbox import Outbox
    from evenkeel_permissions.permissions import Entity, Grant
    from evenkeel_permissions.pool import Pool

_T = TypeVar("_T")
_AGAIN = (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure)
_ATTEMPTS = 3


class Service:
    def __init__(self, pool: Pool, cache: Cache, outbox: Outbox, changed: Callable[[], None]) -> None:
        """`changed` is called after the commit of each change."""
        self._pool = pool
        self._cache = cache
        self._outbox = outbox
        self._changed = changed

    def answers(self) -> None:
        """Raise where the database does not answer."""
        with self._pool.connection() as connection:
            connection.execute("SELECT 1 FROM answer_version LIMIT 1")

    # Entities

    def entity(self, id_: str) -> Entity:
        with self._pool.connection() as connection:
            return permissions.entity(connection, id_)

    def entities(self, parent: str | None, type_: str | None, after: str | None, limit: int) -> list[Entity]:
        with self._pool.connection() as connection:
            return permissions.entities(connection, parent=parent, type_=type_, after=after, limit=limit)

    def create(
        self, actor: str, id_: str | None, type_: str, name: str, parent: str | None, attributes: dict[str, Any]
    ) -> Entity:
        id_ = id_ or str(uuid4())

        def change(connection: Connection) -> Entity:
            found = permissions.create(connection, id_, type_, name, parent, attributes)
            self._event(connection, "entity.created", actor, id_, {"entity": _entity(found)})
            return found

        return self._write(change)

    def update(self, actor: str, id_: str, changes: dict[str, Any]) -> Entity:
        def change(connection: Connection) -> Entity:
            before, after = permissions.update(connection, id_, changes)
            if after is not before:
                data = {"before": _entity(before), "entity": _entity(after)}
                self._event(connection, "entity.updated", actor, id_, data)
            return after

        return self._write(change)

    def delete(self, actor: str, id_: str) -> None:
        def change(connection: Connection) -> None:
            before = permissions.delete(connection, id_)
            self._event(connection, "entity.deleted", actor, id_, {"before": _entity(before)})

        self._write(change)

    # Grants

    def grants(self, subject: str | None, entity: str | None, after: int | None, limit: int) -> list[Grant]:
        with self._pool.connection() as connection:
            return permissions.grants(connection, subject, None, entity, after, limit)

    def grant(self, actor: str, subject: str, permission: str, entity: str) -> tuple[Grant, bool]:
        def change(connection: Connection) -> tuple[Grant, bool]:
            found, new = permissions.grant(connection, subject, permission, entity, actor)
            if new:
                data = {"subject": subject, "permission": permission}
                self._event(connection, "grant.created", actor, entity, data)
            return found, new

        return self._write(change)

    def revoke(self, actor: str, subject: str, permission: str, entity: str) -> None:
        def change(connection: Connection) -> None:
            permissions.revoke(connection, subject, permission, entity)
            data = {"subject": subject, "permission": permission}
            self._event(connection, "grant.deleted", actor, entity, data)

        self._write(change)

    # Questions

    def check(self, subject: str, permission: str, entity: str) -> bool:
        def ask(connection: Connection) -> bool:
            return permissions.check(connection, subject, permission, entity)

        return bool(self._answer(subject, ["check", subject, permission, entity], ask))

    def allowed(self, subject: str, permission: str, type_: str | None, after: str | None, limit: int) -> list[str]:
        def ask(connection: Connection) -> list[str]:
            return permissions.allowed(connection, subject, permission, type_, after, limit)

        return list(self._answer(subject, ["list", subject, permission, type_, after, limit], ask))

    def _answer(self, subject: str, question: list[object], ask: Callable[[Connection], Any]) -> Any:
        """Answer from the cache or the database.

        The versions are part of the key, and are read before the answer: a change that is committed in between makes
        the answer newer than its key, never older. After the change no question asks for that key.
        """
        with self._pool.connection() as connection:
            versions = permissions.versions(connection, subject)
        digest = hashlib.sha256(json.dumps(question).encode()).hexdigest()
        key = f"{versions}:{digest}"
        # No connection is held while the cache is asked.
        cached = _parsed(self._cache.get(key))
        if cached is not None:
            return cached
        with self._pool.connection() as connection:
            found = ask(connection)
        self._cache.set(key, json.dumps(found))
        return found

    def _write(self, change: Callable[[Connection], _T]) -> _T:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                with self._pool.connection() as connection, connection.transaction():
                    done = change(connection)
            except _AGAIN:
                if attempt == _ATTEMPTS:
                    raise
            else:
                self._changed()
                return done
        raise AssertionError  # for type checkers

    def _event(self, connection: Connection, kind: str, actor: str, entity: str, data: dict[str, Any]) -> None:
        self._outbox.add(connection, kind, actor, f"entity/{entity}", data)


def _parsed(text: str | None) -> Any:
    """Return None for what this service has not written."""
    try:
        return json.loads(text) if text else None
    except ValueError:
        return None


def _entity(entity: Entity) -> dict[str, Any]:
    return {"id": entity.id, "type": entity.type, "name": entity.name, "parent": entity.parent}
