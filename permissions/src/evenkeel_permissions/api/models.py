# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The bodies and queries of requests, and the bodies of answers."""

from __future__ import annotations

import json
import re
from datetime import datetime  # noqa: TC003  pydantic reads it
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

MAX_ATTRIBUTES = 64 * 1024
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def _printable(value: str) -> str:
    if _CONTROL.search(value):
        raise ValueError("has control characters")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("has half of a surrogate pair") from None
    return value


def _storable(value: dict[str, Any]) -> dict[str, Any]:
    try:
        size = len(json.dumps(value, ensure_ascii=False, allow_nan=False).encode())
    except ValueError:
        raise ValueError("has values that JSON or UTF-8 does not have") from None
    if size > MAX_ATTRIBUTES:
        raise ValueError(f"is longer than {MAX_ATTRIBUTES} bytes")
    if "\\u0000" in json.dumps(value):
        raise ValueError("has NUL characters")
    return value


def _without_default(schema: dict[str, Any]) -> None:
    schema.pop("default", None)


Id = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$")]
Word = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._:-]{0,63}$")]
Name = Annotated[str, StringConstraints(min_length=1, max_length=256), AfterValidator(_printable)]
Attributes = Annotated[dict[str, Any], AfterValidator(_storable)]
Limit = Annotated[int, Field(ge=1, le=1000)]


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class NewEntity(Model):
    id: Id | None = Field(default=None, description="generated if it is left out")
    type: Word
    name: Name
    parent: Id | None = None
    attributes: Attributes = Field(default_factory=dict)


class EntityChange(Model):
    """Only the fields that are given change; a parent of null makes it a root."""

    name: Name = Field(default="unchanged", json_schema_extra=_without_default)
    parent: Id | None = Field(default=None, json_schema_extra=_without_default)
    attributes: Attributes = Field(default_factory=dict)


class EntityQuery(Model):
    parent: Id | None = None
    type: Word | None = None
    after: Id | None = None
    limit: Limit = 100


class NewGrant(Model):
    subject: Name
    permission: Word
    entity: Id


class GrantQuery(Model):
    subject: Name | None = None
    entity: Id | None = None
    after: int | None = Field(default=None, ge=0, le=2**63 - 1)
    limit: Limit = 100


class CheckQuery(NewGrant):
    pass


class ListQuery(Model):
    subject: Name
    permission: Word
    type: Word | None = None
    after: Id | None = None
    limit: Limit = 100


class EntityBody(Model):
    model_config = ConfigDict(from_attributes=True)

    id: str
    type: str
    name: str
    parent: str | None
    attributes: dict[str, Any]
    created_at: datetime
    updated_at: datetime


class EntityPage(Model):
    entities: list[EntityBody]
    next: str | None = Field(description="the `after` of the next page; null at the end")


class GrantBody(Model):
    model_config = ConfigDict(from_attributes=True)

    id: int
    subject: str
    permission: str
    entity: str
    granted_by: str
    granted_at: datetime


class GrantPage(Model):
    grants: list[GrantBody]
    next: int | None = Field(description="the `after` of the next page; null at the end")


class Decision(Model):
    allowed: bool


class EntityIds(Model):
    entities: list[str]
    next: str | None = Field(description="the `after` of the next page; null at the end")


class Health(Model):
    status: str
    reasons: list[str] = Field(default_factory=list)


class Problem(BaseModel):
    title: str
    status: int
    detail: str
    errors: list[dict[str, str]] = Field(default_factory=list)
