# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads the journal: the last rollouts, the lock, and the hosts that were left out of service."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from . import journal
from .fleet_queries import REMEMBERED, clock, open_rollout, out_of_service, tables

with suppress(ImportError):  # Reported when a connection is opened.
    from psycopg.rows import class_row

from .rollout_record import RolloutRecord
from .scope import FLEET, Scope

if TYPE_CHECKING:
    from .database import Database

_LAST = " AND (%(id)s::bigint IS NULL OR id = %(id)s) ORDER BY id DESC LIMIT %(last)s"
# Where a rollout finishes earlier ones, so many of those are searched for the previous digests.
_PAST = f" AND id < %(id)s ORDER BY id DESC LIMIT {REMEMBERED}"
# For a host whose rollout did not record it: its last swapped digest before.
_EARLIER = """
SELECT DISTINCT ON (host) host, digest FROM {steps}
WHERE rollout_id < %(id)s AND rollout_id IN (SELECT id FROM {rollouts} WHERE {mine})
  AND host = ANY (%(hosts)s) AND step = ANY (%(changes)s) AND result = 'succeeded' AND digest IS NOT NULL
ORDER BY host, id DESC"""


def rollouts(
    database: Database, *, rollout_id: int | None, last: int, steps: bool, scope: Scope = FLEET
) -> dict[str, Any]:
    """`lock` is the open rollout, also where its lock has expired; `rollouts` begin with the newest."""
    with database.transaction(snapshot=True) as connection:
        if not tables(connection).has(scope):
            return {"lock": None, "rollouts": [], "interrupted": []}
        with connection.cursor(row_factory=class_row(RolloutRecord)) as rows:
            wanted = {"scope": scope.name, "id": rollout_id, "last": last}
            chosen = rows.execute((scope.select + _LAST).encode(), wanted).fetchall()
            before = {"scope": scope.name, "id": chosen[-1].id if chosen else 0}
            past = rows.execute((scope.select + _PAST).encode(), before).fetchall()
        open_ = open_rollout(connection, scope, lock="")
        now = clock(connection)
        line = [*chosen, *past]
        written = journal.steps_of(connection, [one.id for one in line], scope)
        pasts = [journal.PastRollout(one.digest, one.result, journal.hosts(written[one.id])) for one in line]
        shown = []
        for number, one in enumerate(chosen):
            hosts = {
                name: {**host, "before": journal.origin(name, pasts[number], pasts[number + 1 :])}
                for name, host in pasts[number].hosts.items()
            }
            silent = [name for name, host in hosts.items() if host["before"] is None]
            if silent:
                statement = _EARLIER.format(steps=scope.steps, rollouts=scope.rollouts, mine=scope.mine)
                asked = {"scope": scope.name, "id": one.id, "hosts": silent, "changes": list(journal.CHANGES)}
                earlier = connection.execute(statement.encode(), asked).fetchall()
                for name, digest in earlier:
                    hosts[name]["before"] = digest
            inherited = journal.inherited(pasts[number], pasts[number + 1 :])
            told = {**one.shown(now), "hosts": hosts, "inherited": inherited}
            shown.append({**told, "steps": written[one.id]} if steps else told)
        out = out_of_service(connection) if scope.is_fleet else {}
    return {
        "lock": open_.shown(now) if open_ else None,
        "rollouts": shown,
        "interrupted": [one.shown() for one in out.values()],
    }
