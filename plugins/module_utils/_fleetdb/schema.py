# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tables of the rollouts, if no running gateway has created them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .fleet_queries import tables
from .scope import FLEET, Scope

if TYPE_CHECKING:
    from .database import Connection

# The lock under which a gateway creates its tables.
_MIGRATIONS = 0x6576656E6B65656C
# As in the gateway's migrations, which accept existing tables.
_TABLES = """
CREATE TABLE IF NOT EXISTS fleet_rollout (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    holder      text NOT NULL,
    reason      text NOT NULL,
    digest      text,
    started_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at  timestamptz NOT NULL,
    finished_at timestamptz,
    result      text CHECK (result IN ('succeeded', 'failed', 'abandoned')),
    CHECK ((finished_at IS NULL) = (result IS NULL))
);
CREATE UNIQUE INDEX IF NOT EXISTS fleet_rollout_one_open ON fleet_rollout ((true)) WHERE finished_at IS NULL;
CREATE TABLE IF NOT EXISTS fleet_rollout_step (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    rollout_id  bigint NOT NULL REFERENCES fleet_rollout ON DELETE CASCADE,
    at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor       text NOT NULL,
    host        text NOT NULL,
    instance_id text,
    digest      text,
    step        text NOT NULL,
    result      text NOT NULL CHECK (result IN ('started', 'succeeded', 'failed', 'skipped')),
    seconds     double precision,
    detail      text
);
CREATE INDEX IF NOT EXISTS fleet_rollout_step_rollout ON fleet_rollout_step (rollout_id, id);
"""


# Gateways before the scopes lack these.
_SCOPED = """
CREATE TABLE IF NOT EXISTS scoped_rollout (
    id          bigint PRIMARY KEY DEFAULT nextval(pg_get_serial_sequence('fleet_rollout', 'id')),
    scope       text NOT NULL,
    holder      text NOT NULL,
    reason      text NOT NULL,
    digest      text,
    started_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at  timestamptz NOT NULL,
    finished_at timestamptz,
    result      text CHECK (result IN ('succeeded', 'failed', 'abandoned')),
    CHECK ((finished_at IS NULL) = (result IS NULL))
);
CREATE UNIQUE INDEX IF NOT EXISTS scoped_rollout_one_open ON scoped_rollout (scope) WHERE finished_at IS NULL;
CREATE INDEX IF NOT EXISTS scoped_rollout_scope ON scoped_rollout (scope, id);
CREATE TABLE IF NOT EXISTS scoped_rollout_step (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    rollout_id  bigint NOT NULL REFERENCES scoped_rollout ON DELETE CASCADE,
    at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor       text NOT NULL,
    host        text NOT NULL,
    instance_id text,
    digest      text,
    step        text NOT NULL,
    result      text NOT NULL CHECK (result IN ('started', 'succeeded', 'failed', 'skipped')),
    seconds     double precision,
    detail      text
);
CREATE INDEX IF NOT EXISTS scoped_rollout_step_rollout ON scoped_rollout_step (rollout_id, id);
"""


def create_missing(connection: Connection, scope: Scope = FLEET) -> None:
    """First in a transaction of its own: a gateway's migration takes the locks in this order."""
    if tables(connection).has(scope):
        return
    connection.execute("SELECT pg_advisory_xact_lock(%s)", (_MIGRATIONS,))
    for statement in (_TABLES if scope.is_fleet else _TABLES + _SCOPED).split(";\n"):
        if statement.strip():
            connection.execute(statement.encode())
