# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.deploy import Deploy, DeployReport, DeployWish
from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.service_deployment import ServiceDeployment

DEFINITION = "arn:aws:ecs:eu-central-1:123456789012:task-definition/api:1"


def deployment(number: int, status: str) -> ServiceDeployment:
    return ServiceDeployment.of({"serviceDeploymentArn": f"arn:{number}", "status": status})


class Service:
    """What ServiceDeployments answers, of a service that was just created: its states from look to look."""

    name, about = "api", "the service api"

    def __init__(self, states: list[str], listed: list[ServiceDeployment | None]) -> None:
        self._states, self._listed = states, listed
        self.calls: list[str] = []

    def find(self) -> dict[str, Any]:
        return {}

    def service(self) -> dict[str, Any]:
        state = self._states.pop(0) if len(self._states) > 1 else self._states[0]
        return {"taskDefinition": DEFINITION, "deployments": [{"status": "PRIMARY", "rolloutState": state}]}

    def newest(self) -> ServiceDeployment | None:
        if self.calls:
            return deployment(9, "IN_PROGRESS")
        return self._listed.pop(0) if len(self._listed) > 1 else self._listed[0]

    def definition(self, name: str) -> str:
        return name

    def brought_by(self, _deployment: ServiceDeployment) -> str:
        return DEFINITION

    def call(self, operation: str, **_arguments: Any) -> dict[str, Any]:
        self.calls.append(operation)
        return {}

    def ignore_stopped_tasks(self) -> None: ...


@pytest.mark.parametrize(
    ("states", "listed"),
    [
        (["IN_PROGRESS", "FAILED"], [deployment(1, "ROLLBACK_FAILED")]),
        (["IN_PROGRESS", "IN_PROGRESS", "FAILED"], [None]),
    ],
)
def test_a_deployment_that_fails_while_it_is_looked_for_is_not_taken_for_done(
    states: list[str], listed: list[ServiceDeployment | None]
) -> None:
    service = Service(states, listed)
    report = DeployReport(sleep=lambda _seconds: None)
    wish = DeployWish(DEFINITION, False, 2, True, 0)
    assert Deploy(service, None, wish, report).start()  # type: ignore[arg-type]  # what it needs of both
    assert service.calls == ["UpdateService"]
    assert (report.changed, report.outcome) == (True, "")


def test_a_deployment_that_succeeds_while_it_is_looked_for_is_done() -> None:
    service = Service(["IN_PROGRESS", "COMPLETED"], [None])
    report = DeployReport(sleep=lambda _seconds: None)
    wish = DeployWish(DEFINITION, False, 2, True, 0)
    assert not Deploy(service, None, wish, report).start()  # type: ignore[arg-type]  # what it needs of both
    assert (service.calls, report.outcome) == ([], "unchanged")
