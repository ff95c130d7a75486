# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Numbered SQL files, applied forward only and once, by the first instance that starts."""

from __future__ import annotations

import logging
import re
from importlib import resources
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from evenkeel_gateway.database import Database

log = logging.getLogger(__name__)

_FILE = re.compile(r"(\d{4})_\w+\.sql")
# "evenkeel" in ASCII: any number that nothing else uses on this database.
_LOCK = 0x6576656E6B65656C


def available() -> dict[int, str]:
    files = (entry for entry in resources.files(__name__).iterdir())
    return {int(match[1]): entry.name for entry in files if (match := _FILE.fullmatch(entry.name))}


async def _done(database: Database) -> set[int]:
    """Return the applied versions; with short deadlines, so that a start soon knows that the database is down."""
    async with database.transaction(seconds=4, lock_seconds=2) as connection:
        cursor = await connection.execute("SELECT to_regclass('gateway_migration')")
        if await cursor.fetchone() == (None,):
            return set()
        cursor = await connection.execute("SELECT version FROM gateway_migration")
        return {row[0] for row in await cursor.fetchall()}


async def migrate(database: Database) -> list[str]:
    """Return the names of the migrations that this call applied: all of them or, on an error, none."""
    if await _done(database) >= available().keys():
        return []
    applied = []
    async with database.transaction(seconds=60, lock_seconds=45) as connection:
        # A transaction lock, not a session lock: it is always released, also behind PgBouncer.
        await connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        await connection.execute(
            "CREATE TABLE IF NOT EXISTS gateway_migration ("
            "version integer PRIMARY KEY, name text NOT NULL,"
            " applied_at timestamptz NOT NULL DEFAULT clock_timestamp())"
        )
        cursor = await connection.execute("SELECT version FROM gateway_migration")
        done = {row[0] for row in await cursor.fetchall()}
        for version, name in sorted(available().items()):
            if version in done:
                continue
            await connection.execute(resources.files(__name__).joinpath(name).read_bytes())
            await connection.execute("INSERT INTO gateway_migration (version, name) VALUES (%s, %s)", (version, name))
            applied.append(name)
    for name in applied:
        log.info("migration applied", extra={"fields": {"migration": name}})
    return applied
