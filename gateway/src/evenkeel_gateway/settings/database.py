# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The database that the gateways share."""

from __future__ import annotations

from typing import Literal

import psycopg
from psycopg.conninfo import conninfo_to_dict
from pydantic import Field, field_validator

from evenkeel_gateway.settings.part import Part


class DatabaseSettings(Part):
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

    @field_validator("database_url")
    @classmethod
    def _check_database_url(cls, value: str | None) -> str | None:
        """The errors do not quote it: it may hold a password."""
        scheme, found, _ = (value or "").partition("://")
        if found and scheme not in ("postgresql", "postgres"):
            raise ValueError(
                f"the scheme is {scheme[:20]!r}; only PostgreSQL is supported: postgresql://user@host:5432/name"
            )
        try:
            conninfo_to_dict(value or "")
        except psycopg.Error:
            raise ValueError("not like postgresql://user@host:5432/name or host=… dbname=…") from None
        return value
