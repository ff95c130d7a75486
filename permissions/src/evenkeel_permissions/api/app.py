# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The application: it checks a request, runs its operation in a thread, and turns errors into problems."""

from __future__ import annotations

import json
import logging
import time
from typing import TYPE_CHECKING, Any

import psycopg
from pydantic import BaseModel, ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from evenkeel_permissions import database, metrics
from evenkeel_permissions.api import models, openapi
from evenkeel_permissions.api.operations import OPERATIONS, Call, Operation, Reply
from evenkeel_permissions.api.problems import ProblemError
from evenkeel_permissions.permissions import ConflictError, NotFoundError
from evenkeel_permissions.pool import ERRORS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request

    from evenkeel_permissions.api.authentication import Authentication
    from evenkeel_permissions.api.service import Service

    Endpoint = Callable[[Request], Awaitable[Response]]

log = logging.getLogger(__name__)

MAX_BODY = 128 * 1024


def application(service: Service, authentication: Authentication, user_header: str, lifespan: Any = None) -> Starlette:
    by_path: dict[str, list[Operation]] = {}
    for operation in OPERATIONS:
        by_path.setdefault(operation.path, []).append(operation)
    routes = [
        Route(path, _endpoint(operation, service, authentication), methods=[operation.method])
        for path, operations in by_path.items()
        for operation in operations
    ]
    described = openapi.document(user_header)

    async def ready(_: Request) -> Response:
        try:
            await run_in_threadpool(service.answers)
        except (*ERRORS, psycopg.Error) as error:
            metrics.DATABASE_UP.set(0)
            body = {"status": "failing", "reasons": [f"database: {database.describe(error)}"]}
            return JSONResponse(body, 503)
        metrics.DATABASE_UP.set(1)
        return JSONResponse({"status": "ok"})

    async def alive(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def shown_metrics(_: Request) -> Response:
        return Response(metrics.text(), media_type=metrics.CONTENT_TYPE)

    async def document(_: Request) -> Response:
        return JSONResponse(described)

    routes += [
        Route("/healthz", alive),
        Route("/readyz", ready),
        Route("/metrics", shown_metrics),
        Route("/openapi.json", document),
    ]
    return Starlette(routes=routes, lifespan=lifespan, exception_handlers={HTTPException: _refused, Exception: _broken})


def _endpoint(operation: Operation, service: Service, authentication: Authentication) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        started = time.monotonic()
        try:
            response = await _respond(operation, service, authentication, request)
        except ProblemError as error:
            response = error.response
        except Exception:
            metrics.REQUESTS.labels(operation.name, "500").inc()
            raise
        metrics.REQUESTS.labels(operation.name, str(response.status_code)).inc()
        metrics.DURATIONS.labels(operation.name).observe(time.monotonic() - started)
        return response

    return endpoint


async def _respond(
    operation: Operation, service: Service, authentication: Authentication, request: Request
) -> Response:
    # Before the body is read: callers that are not known cost little.
    caller = authentication.require(request, operation.scope)
    query, body = None, None
    if operation.query:
        query = _checked(operation.query, _query(request))
    if operation.body:
        body = _checked(operation.body, await _json(request))
    call = Call(caller.name, request.path_params.get("id", ""), query, body)
    try:
        reply = await run_in_threadpool(operation.run, service, call)
    except NotFoundError as error:
        raise ProblemError(404, str(error)) from None
    except ConflictError as error:
        raise ProblemError(409, str(error)) from None
    except (psycopg.DataError, UnicodeError):
        raise ProblemError(400, "a value can't be stored in PostgreSQL") from None
    except ERRORS as error:
        log.error("database does not answer", extra={"fields": {"cause": database.describe(error)}})  # noqa: TRY400
        raise ProblemError(503, "the database does not answer", {"Retry-After": "1"}) from None
    return _sent(reply)


def _sent(reply: Reply) -> Response:
    headers = {"Location": reply.location} if reply.location else None
    if reply.body is None:
        return Response(status_code=reply.status, headers=headers)
    return Response(reply.body.model_dump_json(), reply.status, headers, "application/json")


def _query(request: Request) -> dict[str, str]:
    pairs = request.query_params.multi_items()
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ProblemError(400, "a parameter is given more than once")
    return found


async def _json(request: Request) -> Any:
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > MAX_BODY:
            raise ProblemError(413, f"the body is longer than {MAX_BODY} bytes", {"Connection": "close"})
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise ProblemError(400, "the body is not JSON") from None


def _checked(model: type[BaseModel], data: Any) -> BaseModel:
    try:
        found = model.model_validate(data)
    except ValidationError as error:
        errors = [
            {"field": ".".join(str(part) for part in problem["loc"]), "problem": problem["msg"]}
            for problem in error.errors(include_url=False, include_input=False, include_context=False)
        ]
        raise ProblemError(400, "the request is not valid", errors=errors) from None
    if isinstance(found, models.EntityChange) and not found.model_fields_set:
        raise ProblemError(400, "give at least one of name, parent and attributes")
    return found


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101  as registered
    headers = dict(error.headers) if error.headers else None
    return ProblemError(error.status_code, error.detail, headers).response


async def _broken(_: Request, error: Exception) -> Response:
    log.error("request failed", exc_info=error)
    return ProblemError(500, "an unexpected error; see the log").response
