# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Entities and grants in PostgreSQL, and the questions about them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.types.json import Jsonb

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from evenkeel_permissions.database import Connection

TREE = ""
"""The scope of the version that changes with entities; a subject's is its name."""
# Moves are serialized: two at once could close a circle that neither of them sees. "entities" in ASCII.
_MOVES = 0x656E746974696573

_COLUMNS = b"id, type, name, parent_id, attributes, created_at, updated_at"
_ANCESTORS = """
    WITH RECURSIVE above (id, parent_id) AS (
        SELECT id, parent_id FROM entity WHERE id = %(entity)s
        UNION
        SELECT entity.id, entity.parent_id FROM entity JOIN above ON entity.id = above.parent_id
    )
"""
_CHECK = f"""
    {_ANCESTORS}
    SELECT EXISTS (
        SELECT FROM permission_grant JOIN above ON permission_grant.entity_id = above.id
         WHERE subject = %(subject)s AND permission = %(permission)s
    )
"""  # noqa: S608  no value is written into it
_ABOVE = f"{_ANCESTORS} SELECT id FROM above"  # noqa: S608  no value is written into it
_LIST = """
    WITH RECURSIVE below (id) AS (
        SELECT entity_id FROM permission_grant WHERE subject = %(subject)s AND permission = %(permission)s
        UNION
        SELECT entity.id FROM entity JOIN below ON entity.parent_id = below.id
    )
    SELECT entity.id FROM entity JOIN below USING (id)
     WHERE (%(type)s::text IS NULL OR entity.type = %(type)s) AND (%(after)s::text IS NULL OR entity.id > %(after)s)
     ORDER BY entity.id LIMIT %(limit)s
"""
_BUMP = """
    INSERT INTO answer_version (scope, version) VALUES (%s, gen_random_uuid())
    ON CONFLICT (scope) DO UPDATE SET version = excluded.version
"""


class NotFoundError(Exception):
    """The entity or grant does not exist."""


class ConflictError(Exception):
    """The change contradicts what is there; the text is for the client."""


@dataclass(frozen=True)
class Entity:
    id: str
    type: str
    name: str
    parent: str | None
    attributes: dict[str, Any]
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True)
class Grant:
    id: int
    subject: str
    permission: str
    entity: str
    granted_by: str
    granted_at: datetime


def entity(connection: Connection, id_: str, *, lock: bool = False) -> Entity:
    """Raise NotFoundError."""
    query = b"SELECT " + _COLUMNS + b" FROM entity WHERE id = %s" + (b" FOR UPDATE" if lock else b"")
    row = connection.execute(query, (id_,)).fetchone()
    if row is None:
        raise NotFoundError(f"no entity {id_!r}")
    return Entity(*row)


def entities(
    connection: Connection, *, parent: str | None, type_: str | None, after: str | None, limit: int
) -> list[Entity]:
    """Return a page, in the order of the ids."""
    rows = connection.execute(
        b"SELECT " + _COLUMNS + b" FROM entity"
        b" WHERE (%(parent)s::text IS NULL OR parent_id = %(parent)s) AND (%(type)s::text IS NULL OR type = %(type)s)"
        b" AND (%(after)s::text IS NULL OR id > %(after)s) ORDER BY id LIMIT %(limit)s",
        {"parent": parent, "type": type_, "after": after, "limit": limit},
    )
    return [Entity(*row) for row in rows]


def create(
    connection: Connection, id_: str, type_: str, name: str, parent: str | None, attributes: dict[str, Any]
) -> Entity:
    """Raise ConflictError."""
    try:
        row = connection.execute(
            b"INSERT INTO entity (id, type, name, parent_id, attributes) VALUES (%s, %s, %s, %s, %s)"
            b" ON CONFLICT (id) DO NOTHING RETURNING " + _COLUMNS,
            (id_, type_, name, parent, Jsonb(attributes)),
        ).fetchone()
    except psycopg.errors.ForeignKeyViolation:
        raise ConflictError(f"the parent {parent!r} does not exist") from None
    except psycopg.errors.CheckViolation:
        raise ConflictError("an entity can't be its own parent") from None
    if row is None:
        raise ConflictError(f"the entity {id_!r} exists already")
    bump(connection, TREE)
    return Entity(*row)


def update(connection: Connection, id_: str, changes: dict[str, Any]) -> tuple[Entity, Entity]:
    """Change name, parent or attributes; return the entity before and after. Raise NotFoundError or ConflictError."""
    if "parent" in changes:
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_MOVES,))
    before = entity(connection, id_, lock=True)
    name = changes.get("name", before.name)
    parent = changes.get("parent", before.parent)
    attributes = changes.get("attributes", before.attributes)
    if (name, parent, attributes) == (before.name, before.parent, before.attributes):
        return before, before
    if parent != before.parent and parent is not None and id_ in ancestors(connection, parent):
        raise ConflictError(f"the parent {parent!r} is {id_!r} itself or below it")
    try:
        row = connection.execute(
            b"UPDATE entity SET name = %s, parent_id = %s, attributes = %s, updated_at = clock_timestamp()"
            b" WHERE id = %s RETURNING " + _COLUMNS,
            (name, parent, Jsonb(attributes), id_),
        ).fetchone()
    except psycopg.errors.ForeignKeyViolation:
        raise ConflictError(f"the parent {parent!r} does not exist") from None
    assert row  # noqa: S101  it is locked
    if parent != before.parent:
        bump(connection, TREE)
    return before, Entity(*row)


def delete(connection: Connection, id_: str) -> Entity:
    """Delete it with its grants; raise NotFoundError, or ConflictError where entities are below it."""
    before = entity(connection, id_, lock=True)
    try:
        connection.execute("DELETE FROM entity WHERE id = %s", (id_,))
    except (psycopg.errors.ForeignKeyViolation, psycopg.errors.RestrictViolation):
        raise ConflictError(f"{id_!r} has entities below it; delete or move them first") from None
    bump(connection, TREE)
    return before


def ancestors(connection: Connection, id_: str) -> set[str]:
    """Return the entity and all entities above it."""
    return {row[0] for row in connection.execute(_ABOVE.encode(), {"entity": id_})}


def grant(connection: Connection, subject: str, permission: str, entity_id: str, by: str) -> tuple[Grant, bool]:
    """Return the grant, and whether it is new; raise NotFoundError for the entity."""
    values = {"subject": subject, "permission": permission, "entity": entity_id}
    try:
        added = connection.execute(
            "INSERT INTO permission_grant (subject, permission, entity_id, granted_by)"
            " VALUES (%(subject)s, %(permission)s, %(entity)s, %(by)s) ON CONFLICT DO NOTHING",
            values | {"by": by},
        ).rowcount
    except psycopg.errors.ForeignKeyViolation:
        raise NotFoundError(f"no entity {entity_id!r}") from None
    found = grants(connection, subject, permission, entity_id, limit=1)
    if not found:
        raise ConflictError("the grant was revoked at the same moment")
    if added:
        bump(connection, subject)
    return found[0], bool(added)


def revoke(connection: Connection, subject: str, permission: str, entity_id: str) -> None:
    """Raise NotFoundError."""
    count = connection.execute(
        "DELETE FROM permission_grant WHERE subject = %s AND permission = %s AND entity_id = %s",
        (subject, permission, entity_id),
    ).rowcount
    if not count:
        raise NotFoundError(f"no grant of {permission!r} on {entity_id!r} to {subject!r}")
    bump(connection, subject)


def grants(
    connection: Connection,
    subject: str | None = None,
    permission: str | None = None,
    entity: str | None = None,
    after: int | None = None,
    limit: int = 100,
) -> list[Grant]:
    """Return a page, in the order of the ids."""
    rows = connection.execute(
        "SELECT id, subject, permission, entity_id, granted_by, granted_at FROM permission_grant"
        " WHERE (%(subject)s::text IS NULL OR subject = %(subject)s)"
        " AND (%(permission)s::text IS NULL OR permission = %(permission)s)"
        " AND (%(entity)s::text IS NULL OR entity_id = %(entity)s)"
        " AND (%(after)s::bigint IS NULL OR id > %(after)s) ORDER BY id LIMIT %(limit)s",
        {"subject": subject, "permission": permission, "entity": entity, "after": after, "limit": limit},
    )
    return [Grant(*row) for row in rows]


def check(connection: Connection, subject: str, permission: str, entity_id: str) -> bool:
    """Return whether the subject has the permission on the entity or on one above it."""
    values = {"subject": subject, "permission": permission, "entity": entity_id}
    return bool((connection.execute(_CHECK.encode(), values).fetchone() or (False,))[0])


def allowed(
    connection: Connection, subject: str, permission: str, type_: str | None, after: str | None, limit: int
) -> list[str]:
    """Return a page of the entities that the subject has the permission on, in the order of their ids."""
    values = {"subject": subject, "permission": permission, "type": type_, "after": after, "limit": limit}
    return [row[0] for row in connection.execute(_LIST, values)]


def versions(connection: Connection, subject: str) -> str:
    """Return a text that is another one after each change that an answer about the subject could depend on."""
    rows: Sequence[tuple[str, Any]] = connection.execute(
        "SELECT scope, version FROM answer_version WHERE scope IN (%s, %s)", (TREE, subject)
    ).fetchall()
    found = dict(rows)
    return f"{found.get(TREE, '-')}:{found.get(subject, '-')}"


def bump(connection: Connection, scope: str) -> None:
    """Replace a version, in the transaction of the change: later questions don't see the cached answers of before."""
    connection.execute(_BUMP, (scope,))
