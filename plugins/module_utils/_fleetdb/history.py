# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads the journal: the last rollouts, the lock, and the hosts that were left out of service."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from . import journal
from .fleet_queries import REMEMBERED, ROLLOUT, clock, out_of_service, tables

with suppress(ImportError):  # Reported when a connection is opened.
    from psycopg.rows import class_row

from .rollout_record import RolloutRecord

if TYPE_CHECKING:
    from .database import Database

_LAST = f"{ROLLOUT} WHERE %(id)s::bigint IS NULL OR id = %(id)s ORDER BY id DESC LIMIT %(last)s"
# Where a rollout finishes earlier ones, so many of those are searched for the previous digests.
_PAST = f"{ROLLOUT} WHERE id < %s ORDER BY id DESC LIMIT {REMEMBERED}"
# For a host whose rollout did not record it: its last swapped digest before.
_EARLIER = """
SELECT DISTINCT ON (host) host, digest FROM fleet_rollout_step
WHERE rollout_id < %s AND host = ANY (%s) AND step = %s AND result = 'succeeded' AND digest IS NOT NULL
ORDER BY host, id DESC"""


def rollouts(database: Database, *, rollout_id: int | None, last: int, steps: bool) -> dict[str, Any]:
    """`lock` is the open rollout, also where its lock has expired; `rollouts` begin with the newest."""
    with database.transaction(snapshot=True) as connection:
        if not tables(connection).rollouts:
            return {"lock": None, "rollouts": [], "interrupted": []}
        with connection.cursor(row_factory=class_row(RolloutRecord)) as rows:
            chosen = rows.execute(_LAST, {"id": rollout_id, "last": last}).fetchall()
            open_ = rows.execute((ROLLOUT + " WHERE finished_at IS NULL").encode()).fetchone()
            past = rows.execute(_PAST.encode(), (chosen[-1].id,)).fetchall() if chosen else []
        now = clock(connection)
        line = [*chosen, *past]
        written = journal.steps_of(connection, [one.id for one in line])
        pasts = [journal.PastRollout(one.digest, one.result, journal.hosts(written[one.id])) for one in line]
        shown = []
        for number, one in enumerate(chosen):
            hosts = {
                name: {**host, "before": journal.origin(name, pasts[number], pasts[number + 1 :])}
                for name, host in pasts[number].hosts.items()
            }
            silent = [name for name, host in hosts.items() if host["before"] is None]
            if silent:
                earlier = connection.execute(_EARLIER, (one.id, silent, journal.SWAP)).fetchall()
                for name, digest in earlier:
                    hosts[name]["before"] = digest
            inherited = journal.inherited(pasts[number], pasts[number + 1 :])
            told = {**one.shown(now), "hosts": hosts, "inherited": inherited}
            shown.append({**told, "steps": written[one.id]} if steps else told)
        out = out_of_service(connection)
    return {
        "lock": open_.shown(now) if open_ else None,
        "rollouts": shown,
        "interrupted": [one.shown() for one in out.values()],
    }
