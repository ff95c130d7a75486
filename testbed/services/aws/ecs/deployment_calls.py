# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The calls about service deployments and service revisions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..query import RefusedError
from . import described
from .state import Deployment, Service
from .world import World, invalid, page

MOST = 20


class DeploymentCalls:
    def __init__(self, world: World) -> None:
        self._world = world

    def list_service_deployments(self, given: Mapping[str, Any]) -> dict[str, Any]:
        service = self._world.service(given)
        if not service:
            raise RefusedError("ServiceNotFound", "Service not found.")
        statuses, created = given.get("status", []), given.get("createdAt", {})
        found = [
            described.brief(service, made)
            for made in service.deployments
            if (not statuses or made.status in statuses)
            and created.get("after", 0) <= made.created <= created.get("before", made.created)
        ]
        return page("serviceDeployments", found, given, MOST)

    def describe_service_deployments(self, given: Mapping[str, Any]) -> dict[str, Any]:
        wanted = given["serviceDeploymentArns"]
        if not 0 < len(wanted) <= MOST:
            raise invalid(f"serviceDeploymentArns must have 1 to {MOST} items.")
        known = {made.arn: (service, made) for service, made in self._all()}
        engine = self._world.engine
        return {
            "serviceDeployments": [described.deployment(engine, *known[arn]) for arn in wanted if arn in known],
            "failures": [{"arn": arn, "reason": "MISSING"} for arn in wanted if arn not in known],
        }

    def describe_service_revisions(self, given: Mapping[str, Any]) -> dict[str, Any]:
        wanted = given["serviceRevisionArns"]
        if not 0 < len(wanted) <= MOST:
            raise invalid(f"serviceRevisionArns must have 1 to {MOST} items.")
        services = self._world.engine.services.values()
        known = {revision.arn: (service, revision) for service in services for revision in service.revisions}
        return {
            "serviceRevisions": [
                described.revision(*known[arn], self._world.engine.definitions(known[arn][1].definition_arn))
                for arn in wanted
                if arn in known
            ],
            "failures": [{"arn": arn, "reason": "MISSING"} for arn in wanted if arn not in known],
        }

    def stop_service_deployment(self, given: Mapping[str, Any]) -> dict[str, Any]:
        made = self._one(given)
        if not made.unfinished:
            raise RefusedError("Conflict", f"The service deployment is {made.status} and can't be stopped.")
        self._world.engine.stop_deployment(made, given.get("stopType", "ROLLBACK"), self._world.now)
        return {"serviceDeploymentArn": made.arn}

    def continue_service_deployment(self, given: Mapping[str, Any]) -> dict[str, Any]:
        made = self._one(given)
        waiting = [hook for hook in made.hooks if hook.id == given["hookId"] and hook.status == "AWAITING_ACTION"]
        if not waiting or made.status != "IN_PROGRESS":
            raise invalid(f"The lifecycle hook {given['hookId']} is not awaiting an action.")
        back = given.get("action", "CONTINUE") == "ROLLBACK"
        waiting[0].status = "FAILED" if back else "SUCCEEDED"
        if back:
            self._world.engine.stop_deployment(made, "ROLLBACK", self._world.now)
        return {"serviceDeploymentArn": made.arn}

    def _one(self, given: Mapping[str, Any]) -> Deployment:
        for _service, made in self._all():
            if made.arn == given["serviceDeploymentArn"]:
                return made
        raise RefusedError("ServiceDeploymentNotFound", "The service deployment was not found.")

    def _all(self) -> Iterator[tuple[Service, Deployment]]:
        for service in self._world.engine.services.values():
            for made in service.deployments:
                yield service, made
