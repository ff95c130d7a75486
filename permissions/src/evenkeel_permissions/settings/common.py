# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What both commands need."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

import psycopg
from psycopg.conninfo import conninfo_to_dict
from pydantic import AliasChoices, BeforeValidator, Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

Level = Annotated[
    Literal["debug", "info", "warning", "error"],
    BeforeValidator(lambda value: value.lower() if isinstance(value, str) else value),
]


class CommonSettings(BaseSettings):
    """problems() returns contradictions between variables, one line each."""

    PREFIX: ClassVar[str] = "EPR_"
    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
        populate_by_name=True,
    )

    database_url: str = Field(
        repr=False, description="the PostgreSQL database: `postgresql://user:password@host:5432/name`"
    )
    database_timeout_seconds: float = Field(
        default=10.0, gt=0, le=300, description="a transaction that takes longer is cut"
    )
    migrate: bool = Field(default=True, description="apply the migrations at the start, if there are new ones")
    environment: str = Field(default="production", description="a name that every line of the log has")
    log_level: Level = Field(default="info", description="`debug`, `info`, `warning` or `error`")
    log_json: bool = Field(default=True, description="`false`: the log is plain text")
    sql_echo: bool = Field(default=False, description="log each SQL statement, without its parameters")
    aws_region: str | None = Field(
        default=None,
        validation_alias=AliasChoices("AWS_REGION", "AWS_DEFAULT_REGION"),
        description="the region of the queue and the topics; by default the one in the URL or ARN",
    )

    @field_validator("database_url")
    @classmethod
    def _check_database_url(cls, value: str) -> str:
        """The errors do not quote it: it may hold a password."""
        scheme, found, _ = value.partition("://")
        if found and scheme not in ("postgresql", "postgres"):
            raise ValueError(f"the scheme is {scheme[:20]!r}; use postgresql://user@host:5432/name")
        try:
            conninfo_to_dict(value)
        except psycopg.Error:
            raise ValueError("not like postgresql://user@host:5432/name or host=… dbname=…") from None
        return value

    @classmethod
    def variable(cls, field: str) -> str:
        """Return the variable of a field."""
        alias = cls.model_fields[field].validation_alias
        return str(alias.choices[0]) if isinstance(alias, AliasChoices) else f"{cls.PREFIX}{field.upper()}"

    @classmethod
    def variables(cls) -> dict[str, str]:
        """Return the field of each variable."""
        return {cls.variable(name): name for name in cls.model_fields}

    def problems(self) -> list[str]:
        return []

    def secrets(self) -> Iterator[str]:
        password = conninfo_to_dict(self.database_url).get("password")
        if password:
            yield str(password)
