# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Numbered SQL files, applied forward only and once, by the first process that starts."""

from __future__ import annotations

import logging
import re
from importlib import resources
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from evenkeel_permissions.database import Connection

log = logging.getLogger(__name__)

_FILE = re.compile(r"(\d{4})_\w+\.sql")
# "permissi" in ASCII: any number that nothing else uses on this database.
_LOCK = 0x7065726D69737369


def available() -> dict[int, str]:
    files = (entry for entry in resources.files(__name__).iterdir())
    return {int(match[1]): entry.name for entry in files if (match := _FILE.fullmatch(entry.name))}


def pending(connection: Connection) -> list[str]:
    """Return the names of the migrations that are not applied yet."""
    done: set[int] = set()
    if connection.execute("SELECT to_regclass('permissions_migration')").fetchone() != (None,):
        done = {row[0] for row in connection.execute("SELECT version FROM permissions_migration")}
    return [name for version, name in sorted(available().items()) if version not in done]


def migrate(connection: Connection) -> list[str]:
    """Return the names of the migrations that this call applied: all of them or, on an error, none."""
    if not pending(connection):
        return []
    with connection.transaction():
        # A transaction lock, not a session lock: it is always released, also behind PgBouncer.
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        connection.execute(
            "CREATE TABLE IF NOT EXISTS permissions_migration (version integer PRIMARY KEY, name text NOT NULL,"
            " applied_at timestamptz NOT NULL DEFAULT clock_timestamp())"
        )
        applied = pending(connection)
        for name in applied:
            connection.execute(resources.files(__name__).joinpath(name).read_bytes())
            connection.execute(
                "INSERT INTO permissions_migration (version, name) VALUES (%s, %s)", (int(name[:4]), name)
            )
    for name in applied:
        log.info("migration applied", extra={"fields": {"migration": name}})
    return applied
