# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gateway's own endpoints: as an OpenAPI document, and as a page without external resources."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from evenkeel_gateway.haproxy import circuits

if TYPE_CHECKING:
    from evenkeel_gateway.settings import Settings

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_MAYBE_TEXT: Schema = {"type": ["string", "null"]}
_TEXTS: Schema = {"type": "array", "items": _TEXT}
_TIME: Schema = {"type": "string", "format": "date-time"}
_COUNT: Schema = {"type": "integer", "minimum": 0}


def _object(required: dict[str, Schema], optional: dict[str, Schema] | None = None) -> Schema:
    return {"type": "object", "properties": required | (optional or {}), "required": list(required)}


def _map(values: Schema, text: str) -> Schema:
    return {"type": "object", "additionalProperties": values, "description": text}


def _one_of(*words: str) -> Schema:
    return {"type": "string", "enum": list(words)}


_STATUS = _one_of("healthy", "starting", "draining")
_REASONS = _TEXTS | {"description": "Why it is not ready"}
_HEALTH = {
    "status": _STATUS,
    "service": _TEXT,
    "version": _TEXT,
    "uptime": _COUNT | {"description": "Seconds"},
    "timestamp": _TIME,
    "dependencies": _map(
        _object({"status": _one_of("up", "down", "unknown", "none", "stale", "degraded")}, {"error": _TEXT}),
        "By name: database, secrets, redis when limits are shared, election when there has been no leader for too long",
    ),
}
_SCHEMAS: dict[str, Schema] = {
    "Error": _object({"error": _TEXT}, {"requestId": _MAYBE_TEXT}),
    "Readiness": _object({"status": _STATUS}, {"reasons": _REASONS}),
    "Health": _object(_HEALTH, {"reasons": _REASONS}),
    "HealthDetailed": _object(
        _HEALTH
        | {
            "circuitBreakers": _map(
                _object({"state": _one_of(*circuits.STATES), "status": _TEXT, "lastCheck": _TEXT}),
                "By route: the current state in HAProxy",
            ),
            "configuration": _object({"status": _one_of("current", "refused")}, {"error": _TEXT}),
        },
        {"reasons": _REASONS, "error": _TEXT},
    ),
    "BackendHealth": _object(
        {"status": _one_of("healthy", "unhealthy", "unreachable")},
        {
            "httpStatus": {"type": "integer"},
            "answer": {"description": "The backend's response, if it is JSON"},
            "error": _TEXT,
            "upstreams": _map({"$ref": "#/components/schemas/BackendHealth"}, "By server, if there are several"),
        },
    ),
    "Aggregate": _object(
        {
            "status": _one_of("healthy", "degraded"),
            "timestamp": _TIME,
            "services": _map({"$ref": "#/components/schemas/BackendHealth"}, "By route"),
        }
    ),
    "AboutMe": _object(
        {
            "instanceId": _TEXT,
            "privateIp": _MAYBE_TEXT,
            "publicIp": _MAYBE_TEXT,
            "launchedAt": _TIME,
            "amILeader": {"type": "boolean"},
            "term": _COUNT | {"description": "Increases with every change of the leader"},
            "leader": _MAYBE_TEXT,
            "version": _TEXT,
        }
    ),
    "MissingSecrets": _object({"error": _TEXT, "missing": _TEXTS | {"description": "Names"}, "reasons": _REASONS}),
    "NotReady": _object({"error": _TEXT, "reasons": _REASONS}),
    "GatewayInfo": _object(
        {
            "name": _TEXT,
            "version": _TEXT,
            "uptime": _COUNT,
            "routes": {"type": "array", "items": _object({"prefix": _TEXT, "upstream": _TEXT})},
        }
    ),
}


def _json(text: str, schema: str) -> dict[str, Any]:
    return {
        "description": text,
        "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}},
    }


def _get(name: str, summary: str, answers: dict[str, dict[str, Any]], more: str = "") -> dict[str, Any]:
    operation = {"operationId": name, "summary": summary, "responses": answers}
    return {"get": operation | ({"description": more} if more else {})}


_INFO = {"200": _json("The gateway and its routes", "GatewayInfo")}
PATHS: dict[str, dict[str, Any]] = {
    "/": _get("root", "Name, version and routes", _INFO),
    "/api/gateway-info": _get("gatewayInfo", "Name, version and routes", _INFO),
    "/api/health": _get(
        "readiness",
        "Whether this instance is ready for traffic",
        {"200": _json("Ready", "Readiness"), "503": _json("Not ready, with reasons", "Readiness")},
        "For load balancers. It answers at once and waits for no dependency.",
    ),
    "/health": _get(
        "health",
        "Health of the gateway and its dependencies",
        {"200": _json("Ready", "Health"), "503": _json("Not ready", "Health")},
    ),
    "/health/detailed": _get(
        "healthDetailed",
        "The same, with the circuit of each backend and the state of the configuration",
        {"200": _json("Ready", "HealthDetailed"), "503": _json("Not ready", "HealthDetailed")},
    ),
    "/api/health/aggregate": _get(
        "aggregate",
        "The health of every backend, requested now",
        {
            "200": _json("All backends are healthy", "Aggregate"),
            "503": _json("A backend is not", "Aggregate"),
        },
    ),
    "/api/about-me": _get(
        "aboutMe",
        "The identity of this instance, and whether it is the leader",
        {
            "200": _json("This instance", "AboutMe"),
            "500": _json("A secret is missing, with its name", "MissingSecrets"),
            "503": _json("The instance is starting", "NotReady"),
        },
    ),
    "/metrics": _get(
        "metrics",
        "Metrics for Prometheus",
        {"200": {"description": "Metrics", "content": {"text/plain": {"schema": _TEXT}}}},
    ),
    "/api-docs": _get(
        "docs",
        "This document as a page",
        {"200": {"description": "A page", "content": {"text/html": {"schema": _TEXT}}}},
    ),
    "/api-docs.json": _get(
        "openapi",
        "This document",
        {"200": {"description": "OpenAPI", "content": {"application/json": {"schema": {"type": "object"}}}}},
    ),
}


def document(settings: Settings) -> dict[str, Any]:
    return {
        "openapi": "3.1.0",
        "info": {
            "title": settings.service_name,
            "version": settings.gateway_version,
            "description": "The gateway's own endpoints. Every other path goes to the route with the longest "
            "prefix; without one the answer is 404. Errors of the gateway are JSON with the id of the request.",
            "license": {"name": "GPL-3.0-or-later", "identifier": "GPL-3.0-or-later"},
        },
        "servers": [{"url": "/"}],
        "security": [],
        "paths": PATHS,
        "components": {"schemas": _SCHEMAS},
    }


_PAGE = Environment(
    loader=PackageLoader("evenkeel_gateway"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
).get_template("docs.html.j2")


def page(settings: Settings) -> str:
    return _PAGE.render(
        document=document(settings),
        routes=[(route.title, ", ".join(route.methods or ()) or "all") for route in settings.routes],
        schemas={name: json.dumps(schema, indent=2) for name, schema in _SCHEMAS.items()},
    )
