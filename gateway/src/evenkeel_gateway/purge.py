# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Deletes old rows: the journal of rollouts, and stale instances that no evaluation removes."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from prometheus_client import Counter

from evenkeel_gateway.metrics import REGISTRY

if TYPE_CHECKING:
    from evenkeel_gateway.jobs import Leadership
    from evenkeel_gateway.settings import Settings

log = logging.getLogger(__name__)

_PURGED = Counter("gateway_purged_rows_total", "Old rows deleted by the leader", ["table"], registry=REGISTRY)

# A rollout that was never finished ends when its lock expires.
_OLD_ROLLOUT = "coalesce(finished_at, expires_at) < clock_timestamp() - make_interval(secs => %(age)s)"


def _journal(rollouts: str) -> dict[str, str]:
    steps = f"{rollouts}_step"
    return {
        # The steps first: a cascade would delete an unlimited number of rows.
        steps: f"SELECT ctid FROM {steps} WHERE rollout_id IN (SELECT id FROM {rollouts} WHERE {_OLD_ROLLOUT})",  # noqa: S608
        rollouts: (
            f"SELECT ctid FROM {rollouts} WHERE {_OLD_ROLLOUT}"  # noqa: S608
            f" AND NOT EXISTS (SELECT FROM {steps} WHERE rollout_id = {rollouts}.id)"
        ),
    }


_BATCHES = {
    **_journal("fleet_rollout"),
    **_journal("scoped_rollout"),
    "ec2_launch": (
        "SELECT ctid FROM ec2_launch WHERE NOT EXISTS (SELECT FROM ec2_heartbeat"
        " WHERE ec2_heartbeat.instance_id = ec2_launch.instance_id"
        " AND last_heartbeat > clock_timestamp() - make_interval(secs => %(stale)s))"
    ),
}


async def purge(leadership: Leadership, settings: Settings) -> None:
    for table, chosen in _BATCHES.items():
        values = {
            "age": settings.purge_journal_days * 86400,
            "stale": settings.stale_instance_threshold_seconds,
            "rows": settings.purge_batch_rows,
        }
        statement = f"DELETE FROM {table} WHERE ctid IN ({chosen} LIMIT %(rows)s FOR UPDATE SKIP LOCKED)"  # noqa: S608
        total, count = 0, settings.purge_batch_rows
        while count == settings.purge_batch_rows:
            async with leadership.transaction() as connection:
                count = (await connection.execute(statement.encode(), values)).rowcount
            total += count
        if total:
            _PURGED.labels(table).inc(total)
            log.info("old rows purged", extra={"fields": {"table": table, "rows": total}})
