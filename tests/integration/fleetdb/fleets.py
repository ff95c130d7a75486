# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rows of a fleet in a database, and the modules on it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import psycopg
from evenkeel_gateway.database import Database
from evenkeel_gateway.migrations import migrate
from psycopg.conninfo import conninfo_to_dict

from ansible_collections.evenkeel.fleet.plugins.module_utils._fleetdb import database as db
from ansible_collections.evenkeel.fleet.plugins.module_utils._fleetdb.drain_permit import Drain, PutBack, carry_out
from ansible_collections.evenkeel.fleet.plugins.module_utils._fleetdb.errors import RefusalError
from ansible_collections.evenkeel.fleet.plugins.module_utils._fleetdb.rollout_lock import (
    LockRenewal,
    acquire,
    release,
    renew,
)
from tests.integration.support import await_true

STALE = 15.0


def migrated(conninfo: str) -> None:
    async def run() -> Any:
        connection = Database(conninfo, "migrate")
        await migrate(connection)
        await connection.close()

    asyncio.run(run())


def database(place: str | Mapping[str, Any]) -> db.Database:
    """`place` is a connection string or what a module gets as `database`."""
    return db.Database(db.settings({"conninfo": place} if isinstance(place, str) else place, "test"))


class Fleet:
    """`i-1` is the oldest. All are fresh for as long as a test lasts."""

    def __init__(self, conninfo: str) -> None:
        self.conninfo = conninfo
        self.name = str(conninfo_to_dict(conninfo)["dbname"])

    def until_blocked(self) -> None:
        """Until a session waits for a lock."""
        waiting = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        await_true(lambda: self.query(waiting), "a session waits for a lock")

    def until_idle(self) -> None:
        """Until no other session is in a transaction."""
        busy = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        await_true(lambda: not self.query(f"{busy} AND state <> 'idle'"), "the other sessions have ended their work")

    def query(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.conninfo, autocommit=True) as connection:
            cursor = connection.execute(sql.encode(), values or None)
            return cursor.fetchall() if cursor.description else []

    def populate(self, count: int, leader: int | None = 1, term: int = 3, age: float = 1 - STALE) -> None:
        """`age` is that of the heartbeats in seconds: they are fresh for as long as they can be."""
        self.query(
            "INSERT INTO ec2_launch (instance_id, private_ip, launched_at, version, incarnation)"
            " SELECT 'i-' || n, '10.0.0.' || n, now() + n * interval '1 minute' - interval '1 day', '1.0',"
            " gen_random_uuid() FROM generate_series(1, %s) n",
            count,
        )
        self.query(
            "INSERT INTO ec2_heartbeat (instance_id, last_heartbeat)"
            " SELECT instance_id, clock_timestamp() - make_interval(secs => %s) FROM ec2_launch",
            age,
        )
        if leader:
            self.lead(leader, term)

    def lead(self, number: int, term: int = 3, seconds: float = 3600) -> None:
        self.query("UPDATE ec2_heartbeat SET is_leader = false")
        self.query("UPDATE ec2_heartbeat SET is_leader = true WHERE instance_id = %s", f"i-{number}")
        self.query(
            "UPDATE leader_lease SET holder = %s, term = %s, elected_at = now(),"
            " expires_at = clock_timestamp() + make_interval(secs => %s)",
            f"i-{number}",
            term,
            seconds,
        )

    @property
    def draining(self) -> list[str]:
        return [
            row[0]
            for row in self.query("SELECT instance_id FROM ec2_launch WHERE draining_since IS NOT NULL ORDER BY 1")
        ]

    @property
    def options(self) -> dict[str, Any]:
        return {"database": {"conninfo": self.conninfo}}

    def acquire(self, **options: Any) -> dict[str, Any]:
        wanted: dict[str, Any] = {
            "holder": "ci@runner",
            "reason": "test",
            "digest": None,
            "wait": 0,
            "renewal": LockRenewal(),
            "stale_after": STALE,
            "check_mode": False,
        }
        with database(self.conninfo) as connected:
            return acquire(connected, **{**wanted, **options})

    def renew(self, rollout_id: int, **renewal: Any) -> dict[str, Any]:
        with database(self.conninfo) as connected:
            return renew(connected, renewal=LockRenewal(rollout_id, **renewal), check_mode=False)

    def release(self, rollout_id: int, result: Any = "succeeded") -> dict[str, Any]:
        with database(self.conninfo) as connected:
            return release(connected, result=result, renewal=LockRenewal(rollout_id), check_mode=False)

    def drain(self, number: int, least: int = 1, **options: Any) -> dict[str, Any]:
        return self._change(Drain(least, options.pop("alone", False), options.pop("reason", None)), number, options)

    def put_back(self, number: int, **options: Any) -> dict[str, Any]:
        return self._change(PutBack(), number, options)

    def _change(self, change: Any, number: int, options: Mapping[str, Any]) -> dict[str, Any]:
        """With `refusal` a code where it was refused."""
        options = dict(options)
        conninfo = options.pop("conninfo", self.conninfo)
        wanted: dict[str, Any] = {
            "instance_id": f"i-{number}",
            "host": f"gateway-{number}",
            "by": "somebody@desk",
            "wait": 0,
            "renewal": LockRenewal(options.pop("rollout_id", None)),
            "stale_after": STALE,
            "check_mode": False,
        }
        with database(conninfo) as connected:
            try:
                return carry_out(connected, change, **{**wanted, **options})
            except RefusalError as error:
                return {"changed": False, "message": error.message, **error.facts}
