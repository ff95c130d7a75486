# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads the fleet, and takes the locks under which it is changed.

The order of locks is that of the election: the lease first, then the rollout, then the instances. The clock is read
when all of them are held: waiting for a lock must not make the data older than it appears.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from .errors import FleetError
from .fleet_state import STALE_SECONDS, FleetState, GatewayInstance, Lease, OutOfService
from .journal import PERMIT, SERVICE
from .rollout_record import RolloutRecord
from .scope import FLEET, Scope

with suppress(ImportError):  # Reported when a connection is opened.
    from psycopg.rows import class_row

if TYPE_CHECKING:
    from .database import Connection

# "evenkeel" in ASCII, plus one: held if there is no lease.
_NO_LEASE = 0x6576656E6B65656D
# Hosts that were not put back into service are found in so many last rollouts.
REMEMBERED = 20

# to_jsonb: older tables lack some of the columns.
_LEASE = """
SELECT holder, term, elected_at, expires_at, requested_holder, requested_by, reason, request_expires_at,
       (to_jsonb(leader_lease) ->> 'vacant_since')::timestamptz AS vacant_since
FROM leader_lease"""
_INSTANCES = """
SELECT instance_id, launched_at::timestamptz, to_jsonb(ec2_launch) ->> 'private_ip' AS private_ip,
       to_jsonb(ec2_launch) ->> 'public_ip' AS public_ip, to_jsonb(ec2_launch) ->> 'version' AS version,
       (to_jsonb(ec2_launch) ->> 'draining_since')::timestamptz AS draining_since,
       last_heartbeat::timestamptz, coalesce(is_leader, false) AS is_leader
FROM ec2_launch LEFT JOIN ec2_heartbeat USING (instance_id)
ORDER BY launched_at, instance_id"""
_SERVICE = """
SELECT DISTINCT ON (instance_id) instance_id, host, rollout_id, at, actor, detail, step FROM fleet_rollout_step
WHERE rollout_id >= (SELECT coalesce(min(id), 0) FROM (SELECT id FROM fleet_rollout ORDER BY id DESC LIMIT %s) recent)
  AND step = ANY (%s) AND result = 'succeeded' AND instance_id IS NOT NULL
ORDER BY instance_id, id DESC"""


class Tables(NamedTuple):
    instances: bool
    lease: bool
    rollouts: bool
    scoped: bool

    def has(self, scope: Scope) -> bool:
        """Whether there are the tables of its rollouts."""
        return self.rollouts and (scope.is_fleet or self.scoped)


def tables(connection: Connection) -> Tables:
    [found] = connection.execute(
        "SELECT to_regclass('ec2_launch') IS NOT NULL AND to_regclass('ec2_heartbeat') IS NOT NULL,"
        " to_regclass('leader_lease') IS NOT NULL,"
        " to_regclass('fleet_rollout') IS NOT NULL AND to_regclass('fleet_rollout_step') IS NOT NULL,"
        " to_regclass('scoped_rollout') IS NOT NULL AND to_regclass('scoped_rollout_step') IS NOT NULL"
    )
    return Tables(*found)


def read(connection: Connection, *, stale_after: float = STALE_SECONDS) -> FleetState:
    """In a snapshot; locks nothing."""
    return _read(connection, tables(connection), stale_after, lock="")


def read_and_lock(connection: Connection, *, stale_after: float = STALE_SECONDS) -> FleetState:
    """No leader is elected and no other call changes the fleet until this transaction ends."""
    found = tables(connection)
    if not found.lease:
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_NO_LEASE,))
    return _read(connection, found, stale_after, lock=" FOR UPDATE")


def _read(connection: Connection, found: Tables, stale_after: float, lock: str) -> FleetState:
    if not found.instances:
        raise FleetError(
            "The database has no tables ec2_launch and ec2_heartbeat (or this user's search_path does not lead to "
            "them). Is it the gateways' database, and do they run? A gateway image that does not keep these tables, "
            "because it has no election, can be changed with site.yml only."
        )
    lease = None
    if found.lease:
        with connection.cursor(row_factory=class_row(Lease)) as leases:
            lease = leases.execute((_LEASE + lock).encode()).fetchone()
        if lease is None:
            raise FleetError("leader_lease is empty: put its row back with INSERT INTO leader_lease DEFAULT VALUES.")
    rollout = open_rollout(connection, lock=lock) if found.rollouts else None
    now = clock(connection)
    with connection.cursor(row_factory=class_row(GatewayInstance)) as rows:
        instances = rows.execute(_INSTANCES).fetchall()
    out = out_of_service(connection) if found.rollouts else {}
    return FleetState(now, instances, lease, rollout, out, stale_after)


def lock_scope(connection: Connection, scope: Scope, *, stale_after: float = STALE_SECONDS) -> FleetState:
    """Its open rollout, locked. With the fleet's comes the fleet; a service's has no instances here."""
    if scope.is_fleet:
        return read_and_lock(connection, stale_after=stale_after)
    rollout = open_rollout(connection, scope)
    return FleetState(clock(connection), [], rollout=rollout)


def open_rollout(connection: Connection, scope: Scope = FLEET, *, lock: str = " FOR UPDATE") -> RolloutRecord | None:
    with connection.cursor(row_factory=class_row(RolloutRecord)) as rows:
        statement = f"{scope.select} AND finished_at IS NULL{lock}"
        return rows.execute(statement.encode(), {"scope": scope.name}).fetchone()


def rollout_of(connection: Connection, rollout_id: int | None, scope: Scope = FLEET) -> RolloutRecord | None:
    with connection.cursor(row_factory=class_row(RolloutRecord)) as rows:
        statement = f"{scope.select} AND id = %(id)s"
        return rows.execute(statement.encode(), {"scope": scope.name, "id": rollout_id}).fetchone()


def clock(connection: Connection) -> datetime:
    """In a statement of its own, after those that wait for locks."""
    [(now,)] = connection.execute("SELECT clock_timestamp()")
    moment: datetime = now
    return moment


def out_of_service(connection: Connection) -> dict[str, OutOfService]:
    rows = connection.execute(_SERVICE, (REMEMBERED, list(SERVICE))).fetchall()
    return {row[0]: OutOfService(*row[:-1]) for row in rows if row[-1] == PERMIT}
