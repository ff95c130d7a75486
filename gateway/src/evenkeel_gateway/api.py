# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gateway's own endpoints, served to HAProxy on a unix socket."""

from __future__ import annotations

import asyncio
import http.client
import json
import ssl
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route as Endpoint

from evenkeel_gateway import exposition, metrics, openapi
from evenkeel_gateway.haproxy.runtime_api import RuntimeApiError

if TYPE_CHECKING:
    from starlette.requests import Request

    from evenkeel_gateway.haproxy.lifecycle import Haproxy
    from evenkeel_gateway.haproxy.runtime_api import BackendState, CacheCounts
    from evenkeel_gateway.health import GatewayState
    from evenkeel_gateway.settings import Route, Settings
    from evenkeel_gateway.settings.routes import Upstream

AGGREGATE_SECONDS = 3.0
_MAX_ANSWER = 64 * 1024
_PRIVATE_AUTHORITY = "For a private CA set PROXY_CA_FILE or the route's ca_file"


class Api:
    def __init__(self, state: GatewayState, haproxy: Haproxy) -> None:
        self._state = state
        self._haproxy = haproxy

    @property
    def _settings(self) -> Settings:
        return self._haproxy.current.settings

    def application(self) -> Starlette:
        return Starlette(
            routes=[
                Endpoint("/", self.info),
                Endpoint("/api/gateway-info", self.info),
                Endpoint("/api/health", self.ready),
                Endpoint("/api/health/aggregate", self.aggregate),
                Endpoint("/api/about-me", self.about_me),
                Endpoint("/health", self.health),
                Endpoint("/health/detailed", self.detailed),
                Endpoint("/metrics", self.metrics),
                Endpoint("/api-docs", self.docs),
                Endpoint("/api-docs.json", self.openapi),
            ],
            exception_handlers={404: _error, 405: _error, 500: _error},
        )

    async def ready(self, _: Request) -> Response:
        state = self._state
        if state.ready:
            return JSONResponse({"status": state.status})
        return JSONResponse({"status": state.status, "reasons": state.reasons}, 503)

    async def info(self, _: Request) -> Response:
        routes = [{"prefix": route.title, "upstream": ", ".join(route.upstream)} for route in self._settings.routes]
        return JSONResponse(
            {
                "name": self._settings.service_name,
                "version": self._settings.gateway_version,
                "uptime": self._state.uptime,
                "routes": routes,
            }
        )

    async def about_me(self, _: Request) -> Response:
        state = self._state
        if state.secrets is None or state.secrets.missing:
            missing = state.missing_secrets or [state.problems.get("secret", "not read yet")]
            text = f"missing secret: {', '.join(missing)}"
            return JSONResponse({"error": text, "missing": state.missing_secrets, "reasons": state.reasons}, 500)
        if state.identity is None or state.election is None:
            return JSONResponse({"error": "starting", "reasons": state.reasons}, 503)
        identity, election = state.identity, state.election
        return JSONResponse(
            {
                "instanceId": identity.instance_id,
                "privateIp": identity.private_ip,
                "publicIp": identity.public_ip,
                "launchedAt": _timestamp(identity.launched_at),
                "amILeader": election.leads,
                "term": election.term,
                "leader": election.leader,
                "version": self._settings.gateway_version,
            }
        )

    async def health(self, _: Request) -> Response:
        return self._health_answer()

    async def detailed(self, _: Request) -> Response:
        configuration = self._configuration()
        try:
            backends = await self._haproxy.api.backends(self._settings.routes)
        except RuntimeApiError as error:
            return self._health_answer(circuitBreakers={}, configuration=configuration, error=str(error))
        circuits = {
            backend.prefix: {"state": backend.circuit, "status": backend.status, "lastCheck": backend.last_check}
            for backend in backends
        }
        return self._health_answer(circuitBreakers=circuits, configuration=configuration)

    def _configuration(self) -> dict[str, str]:
        """Return whether the last reload is in force or was refused."""
        refused = self._state.configuration or self._haproxy.refused
        return {"status": "refused", "error": refused} if refused else {"status": "current"}

    def _health_answer(self, **more: Any) -> Response:
        state = self._state
        body = {
            "status": state.status,
            "service": self._settings.service_name,
            "version": self._settings.gateway_version,
            "uptime": state.uptime,
            "timestamp": _timestamp(datetime.now(UTC)),
            "dependencies": self._dependencies(),
        }
        if not state.ready:
            body["reasons"] = state.reasons
        return JSONResponse(body | more, 200 if state.ready else 503)

    def _dependencies(self) -> dict[str, dict[str, str]]:
        state = self._state
        problem = state.problems.get("database") or (state.election.problem if state.election else None)
        database = {"status": "down" if problem else "up" if state.registered else "unknown"}
        if problem:
            database["error"] = problem
        if state.election and state.election.kind == "memory":
            database = {"status": "none"}
        secrets = {"status": "up" if state.secrets and not state.secrets.missing else "down"}
        if state.stale:
            secrets = {"status": "stale", "error": state.stale}
        dependencies = {"database": database, "secrets": secrets}
        if state.election and state.election.vacancy:
            # Not a reason to be unready: requests need no leader, only jobs do.
            dependencies["election"] = {"status": "down", "error": state.election.vacancy}
        if state.redis:
            # Never a reason to be unready: without Redis each gateway limits by its own counts.
            dependencies["redis"] = {"status": state.redis.status}
            if state.redis.error:
                dependencies["redis"]["error"] = state.redis.error
        if state.keys:
            status = "stale" if self._haproxy.current.keys else "down"
            dependencies["keys"] = {"status": status, "error": state.keys}
        return dependencies

    async def aggregate(self, _: Request) -> Response:
        routes = self._settings.routes
        answers = await asyncio.gather(*(_ask_all(route, self._settings.authorities_of(route)) for route in routes))
        good = all(answer["status"] == "healthy" for answer in answers)
        services = {route.title: answer for route, answer in zip(routes, answers, strict=True)}
        status = {"status": "healthy" if good else "degraded", "timestamp": _timestamp(datetime.now(UTC))}
        return JSONResponse(status | {"services": services}, 200 if good else 503)

    async def docs(self, _: Request) -> Response:
        # No external resources, no embedding in other pages.
        policy = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"}
        return HTMLResponse(openapi.page(self._settings), headers=policy)

    async def openapi(self, _: Request) -> Response:
        return JSONResponse(openapi.document(self._settings))

    async def metrics(self, _: Request) -> Response:
        backends: list[BackendState] = []
        caches: dict[str, CacheCounts] = {}
        try:
            backends = await self._haproxy.api.backends(self._settings.routes)
            if self._settings.cache_enabled:
                caches = await self._haproxy.api.cache_counts(self._settings.routes)
        except RuntimeApiError:
            metrics.HAPROXY_ERRORS.inc()
        figures = await self._haproxy.figures()
        state = self._state
        text = exposition.render(
            version=self._settings.gateway_version,
            ready=state.ready,
            election=state.election,
            backends=backends,
            current=not (state.configuration or self._haproxy.refused),
            processes=self._haproxy.processes,
            haproxy=figures,
            redis=state.redis,
            caches=caches,
        )
        return Response(text, media_type=CONTENT_TYPE_LATEST)


async def _error(_: Request, error: Exception) -> Response:
    status = getattr(error, "status_code", 500)
    return JSONResponse({"error": getattr(error, "detail", "internal error")}, status)


def _timestamp(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


async def _ask_all(route: Route, authorities: str | None) -> dict[str, Any]:
    """Ask each server of a route for its health; the route is healthy when all servers are."""
    servers = route.upstreams
    answers = await asyncio.gather(*(asyncio.to_thread(_ask, server, route, authorities) for server in servers))
    if len(answers) == 1:
        return answers[0]
    good = all(answer["status"] == "healthy" for answer in answers)
    by_url = {server.url: answer for server, answer in zip(servers, answers, strict=True)}
    return {"status": "healthy" if good else "unhealthy", "upstreams": by_url}


def _ask(server: Upstream, route: Route, authorities: str | None) -> dict[str, Any]:
    connection: http.client.HTTPConnection
    if server.tls:
        context = ssl.create_default_context(cafile=authorities)
        connection = http.client.HTTPSConnection(server.host, server.port, timeout=AGGREGATE_SECONDS, context=context)
    else:
        connection = http.client.HTTPConnection(server.host, server.port, timeout=AGGREGATE_SECONDS)
    with closing(connection):
        try:
            host = {"Host": route.sent_host} if route.sent_host else {}
            connection.request("GET", route.health, headers={"Accept": "application/json"} | host)
            answer = connection.getresponse()
            body = answer.read(_MAX_ANSWER)
        except ssl.SSLCertVerificationError as error:
            return {"status": "unreachable", "error": f"{error}. {_PRIVATE_AUTHORITY}"}
        except (OSError, http.client.HTTPException) as error:
            return {"status": "unreachable", "error": str(error) or type(error).__name__}
    result: dict[str, Any] = {"status": "healthy" if answer.status == http.HTTPStatus.OK else "unhealthy"}
    result["httpStatus"] = answer.status
    try:
        result["answer"] = json.loads(body)
    except ValueError:
        return result
    return result
