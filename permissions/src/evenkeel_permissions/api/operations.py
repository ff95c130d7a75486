# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The operations of the API, which its routes and its OpenAPI document are made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from evenkeel_permissions.api import models
from evenkeel_permissions.settings.api import READ, WRITE

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic import BaseModel

    from evenkeel_permissions.api.service import Service


@dataclass(frozen=True)
class Call:
    """A request whose parts are checked."""

    actor: str
    id: str = ""
    query: Any = None
    body: Any = None


@dataclass(frozen=True)
class Reply:
    status: int
    body: BaseModel | None = None
    location: str = ""


@dataclass(frozen=True)
class Operation:
    name: str
    method: str
    path: str
    summary: str
    scope: str
    run: Callable[[Service, Call], Reply]
    answers: dict[int, type[BaseModel] | None]
    query: type[BaseModel] | None = None
    body: type[BaseModel] | None = None
    problems: tuple[int, ...] = ()


def _create_entity(service: Service, call: Call) -> Reply:
    body: models.NewEntity = call.body
    found = service.create(call.actor, body.id, body.type, body.name, body.parent, body.attributes)
    return Reply(201, models.EntityBody.model_validate(found), f"/v1/entities/{found.id}")


def _get_entity(service: Service, call: Call) -> Reply:
    return Reply(200, models.EntityBody.model_validate(service.entity(call.id)))


def _list_entities(service: Service, call: Call) -> Reply:
    query: models.EntityQuery = call.query
    found = service.entities(query.parent, query.type, query.after, query.limit)
    following = found[-1].id if len(found) == query.limit else None
    page = [models.EntityBody.model_validate(entity) for entity in found]
    return Reply(200, models.EntityPage(entities=page, next=following))


def _update_entity(service: Service, call: Call) -> Reply:
    body: models.EntityChange = call.body
    changes = body.model_dump(include=body.model_fields_set)
    return Reply(200, models.EntityBody.model_validate(service.update(call.actor, call.id, changes)))


def _delete_entity(service: Service, call: Call) -> Reply:
    service.delete(call.actor, call.id)
    return Reply(204)


def _grant(service: Service, call: Call) -> Reply:
    body: models.NewGrant = call.body
    found, new = service.grant(call.actor, body.subject, body.permission, body.entity)
    return Reply(201 if new else 200, models.GrantBody.model_validate(found))


def _revoke(service: Service, call: Call) -> Reply:
    query: models.NewGrant = call.query
    service.revoke(call.actor, query.subject, query.permission, query.entity)
    return Reply(204)


def _list_grants(service: Service, call: Call) -> Reply:
    query: models.GrantQuery = call.query
    found = service.grants(query.subject, query.entity, query.after, query.limit)
    following = found[-1].id if len(found) == query.limit else None
    page = [models.GrantBody.model_validate(grant) for grant in found]
    return Reply(200, models.GrantPage(grants=page, next=following))


def _check(service: Service, call: Call) -> Reply:
    query: models.CheckQuery = call.query
    return Reply(200, models.Decision(allowed=service.check(query.subject, query.permission, query.entity)))


def _list_allowed(service: Service, call: Call) -> Reply:
    query: models.ListQuery = call.query
    found = service.allowed(query.subject, query.permission, query.type, query.after, query.limit)
    following = found[-1] if len(found) == query.limit else None
    return Reply(200, models.EntityIds(entities=found, next=following))


ENTITY, ENTITIES, GRANTS = "/v1/entities/{id}", "/v1/entities", "/v1/grants"
OPERATIONS = (
    Operation(
        "createEntity",
        "POST",
        ENTITIES,
        "Create an entity",
        WRITE,
        _create_entity,
        {201: models.EntityBody},
        body=models.NewEntity,
        problems=(409,),
    ),
    Operation(
        "listEntities",
        "GET",
        ENTITIES,
        "List entities, by parent or type",
        READ,
        _list_entities,
        {200: models.EntityPage},
        query=models.EntityQuery,
    ),
    Operation(
        "getEntity", "GET", ENTITY, "Get an entity", READ, _get_entity, {200: models.EntityBody}, problems=(404,)
    ),
    Operation(
        "updateEntity",
        "PATCH",
        ENTITY,
        "Change an entity's name, parent or attributes",
        WRITE,
        _update_entity,
        {200: models.EntityBody},
        body=models.EntityChange,
        problems=(404, 409),
    ),
    Operation(
        "deleteEntity",
        "DELETE",
        ENTITY,
        "Delete an entity that has none below it, with its grants",
        WRITE,
        _delete_entity,
        {204: None},
        problems=(404, 409),
    ),
    Operation(
        "grant",
        "PUT",
        GRANTS,
        "Grant a permission on an entity and all below it",
        WRITE,
        _grant,
        {200: models.GrantBody, 201: models.GrantBody},
        body=models.NewGrant,
        problems=(404, 409),
    ),
    Operation(
        "revoke",
        "DELETE",
        GRANTS,
        "Revoke a grant",
        WRITE,
        _revoke,
        {204: None},
        query=models.NewGrant,
        problems=(404,),
    ),
    Operation(
        "listGrants",
        "GET",
        GRANTS,
        "List grants, by subject or entity",
        READ,
        _list_grants,
        {200: models.GrantPage},
        query=models.GrantQuery,
    ),
    Operation(
        "check",
        "GET",
        "/v1/check",
        "Whether a subject has a permission on an entity, by a grant on it or on one above it",
        READ,
        _check,
        {200: models.Decision},
        query=models.CheckQuery,
    ),
    Operation(
        "listAllowed",
        "GET",
        "/v1/list",
        "List the entities on which a subject has a permission",
        READ,
        _list_allowed,
        {200: models.EntityIds},
        query=models.ListQuery,
    ),
)
