# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The API as an OpenAPI document, made of the operations and their models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic.json_schema import models_json_schema

from evenkeel_permissions import __version__
from evenkeel_permissions.api import models
from evenkeel_permissions.api.operations import OPERATIONS, Operation

if TYPE_CHECKING:
    from pydantic import BaseModel

_REF = "#/components/schemas/{model}"
_PROBLEMS = {
    400: "The request is not valid",
    401: "The caller is not known",
    403: "The caller does not have the scope",
    404: "The entity or grant does not exist",
    409: "The change contradicts what is there",
    503: "The database does not answer",
}


def _content(kind: str, model: type[BaseModel]) -> dict[str, Any]:
    return {kind: {"schema": {"": _REF.format(model=model.__name__)}}}


def _problem(status: int) -> dict[str, Any]:
    return {"description": _PROBLEMS[status], "content": _content("application/problem+json", models.Problem)}


def _operation(operation: Operation) -> dict[str, Any]:
    parameters: list[dict[str, Any]] = []
    if "{id}" in operation.path:
        parameters.append({"name": "id", "in": "path", "required": True, "schema": {"type": "string"}})
    if operation.query:
        schema = operation.query.model_json_schema(ref_template=_REF)
        required = schema.get("required", ())
        parameters += [
            {"name": name, "in": "query", "required": name in required, "schema": field}
            for name, field in schema["properties"].items()
        ]
    statuses = sorted({400, 401, 403, 503, *operation.problems})
    responses: dict[str, Any] = {
        str(status): {"description": "Done"} | ({"content": _content("application/json", model)} if model else {})
        for status, model in operation.answers.items()
    }
    responses |= {str(status): _problem(status) for status in statuses}
    found: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "description": f"Requires the scope `{operation.scope}`.",
        "parameters": parameters,
        "responses": responses,
        "security": [{"token": []}, {"gateway": []}],
    }
    if operation.body:
        found["requestBody"] = {"required": True, "content": _content("application/json", operation.body)}
    return found


def _probe(name: str, summary: str) -> dict[str, Any]:
    answers = {
        "200": {"description": "It is", "content": _content("application/json", models.Health)},
        "503": {"description": "It is not", "content": _content("application/json", models.Health)},
    }
    return {"get": {"operationId": name, "summary": summary, "responses": answers, "security": []}}


def document(user_header: str) -> dict[str, Any]:
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    paths["/healthz"] = _probe("alive", "Whether the process is alive; it asks no dependency")
    paths["/readyz"] = _probe("ready", "Whether the database answers")
    text = {"description": "Metrics", "content": {"text/plain": {"schema": {"type": "string"}}}}
    paths["/metrics"] = {
        "get": {
            "operationId": "metrics",
            "summary": "Metrics for Prometheus",
            "responses": {"200": text},
            "security": [],
        }
    }
    used = {
        model
        for operation in OPERATIONS
        for model in (operation.body, *operation.answers.values(), models.Problem, models.Health)
        if model
    }
    _, schemas = models_json_schema(
        [(model, "validation") for model in sorted(used, key=lambda model: model.__name__)], ref_template=_REF
    )
    return {
        "openapi": "3.1.0",
        "info": {"title": "Permissions", "version": __version__, "license": {"name": "GPL-3.0-or-later"}},
        "paths": paths,
        "components": {
            "schemas": schemas["$defs"],
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "gateway": {
                    "type": "apiKey",
                    "in": "header",
                    "name": user_header,
                    "description": "Only from the networks of the gateways, which set it",
                },
            },
        },
    }
