# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The database that the fleet shares, and the election in it."""

from __future__ import annotations

from typing import Literal

import psycopg
from psycopg.conninfo import conninfo_to_dict
from pydantic import AliasChoices, Field, field_validator

from evenkeel_gateway.settings.part import Part


class FleetSettings(Part):
    database_url: str | None = Field(default=None, repr=False)
    db_host: str | None = None
    db_port: int = Field(default=5432, ge=1, le=65535)
    db_username: str | None = None
    db_password: str | None = Field(default=None, repr=False)
    db_name: str | None = None
    db_sslmode: Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] = "require"
    db_sslrootcert: str | None = None
    db_direct_host: str | None = None
    db_direct_port: int | None = Field(default=None, ge=1, le=65535)
    db_listen: bool = True

    force_leader: bool = False
    stale_instance_threshold_seconds: float = Field(
        default=15.0,
        gt=0,
        # The misspelling is what running fleets set.
        validation_alias=AliasChoices("stale_instance_threshold_seconds", "stale_instance_threshol_seconds"),
    )
    lease_ttl_seconds: float = Field(default=15.0, gt=0)
    lease_margin_seconds: float = Field(default=2.0, ge=0.1)
    election_tick_seconds: float = Field(default=5.0, gt=0)

    @field_validator("database_url")
    @classmethod
    def _check_database_url(cls, value: str | None) -> str | None:
        """The errors do not quote it: there is a password in it."""
        scheme, found, _ = (value or "").partition("://")
        if found and scheme not in ("postgresql", "postgres"):
            raise ValueError(
                f"is of {scheme[:20]!r}; the gateways share a PostgreSQL: postgresql://user@host:5432/name"
            )
        try:
            conninfo_to_dict(value or "")
        except psycopg.Error:
            raise ValueError("not like postgresql://user@host:5432/name or host=… dbname=…") from None
        return value

    def problems(self) -> list[str]:
        problems = []
        if self.lease_margin_seconds * 2 > self.lease_ttl_seconds:
            problems.append("LEASE_MARGIN_SECONDS: must be at most half of LEASE_TTL_SECONDS")
        if self.election_tick_seconds >= self.lease_ttl_seconds - self.lease_margin_seconds:
            problems.append(
                "ELECTION_TICK_SECONDS: must be below LEASE_TTL_SECONDS - LEASE_MARGIN_SECONDS, "
                "or every leader steps down between two renewals"
            )
        if self.election_tick_seconds >= self.stale_instance_threshold_seconds:
            problems.append(
                "STALE_INSTANCE_THRESHOLD_SECONDS: must be above ELECTION_TICK_SECONDS, or live instances are removed"
            )
        return problems
