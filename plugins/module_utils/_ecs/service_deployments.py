# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The calls of the API on the deployments of one service."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from .._aws.api import Api
from .._common.progress import OperationError
from .definition_lookup import described_definition
from .service_deployment import ENDING, STARTING_OR_RUNNING, ServiceDeployment, StoppedTask, short
from .usage import TASKS_AT_ONCE, portions

GOOD = ("SUCCESSFUL", "ROLLBACK_SUCCESSFUL")


class ServiceDeployments:
    """Of one service. What never changes, such as the task definition of a revision, is asked once."""

    def __init__(self, ecs: Api, cluster: str, service: str) -> None:
        self._ecs = ecs
        self._cluster = cluster
        self.name = service
        self.about = f"the service {service} in the cluster {cluster}"
        self._definitions: dict[str, str] = {}
        self._stopped: set[str] = set()
        self._ended: dict[str, ServiceDeployment] = {}

    def find(self) -> dict[str, Any] | None:
        """The service as DescribeServices has it; None where there is none, or where it is being deleted."""
        said = self.call("DescribeServices", services=[self.name])
        return next((one for one in said["services"] if one["status"] == "ACTIVE"), None)

    def service(self) -> dict[str, Any]:
        """The service, which must exist and be deployed by ECS itself."""
        found = self.find()
        if found is None:
            raise OperationError(
                f"The cluster {self._cluster} has no active service {self.name}. Create it with ecs_service first."
            )
        controller = found.get("deploymentController", {}).get("type", "ECS")
        if controller != "ECS":
            raise OperationError(
                f"The service {self.name} is deployed by {controller}. Only the deployment controller ECS is supported."
            )
        return found

    def definition(self, name: str) -> str:
        """The ARN of an active task definition, given as ARN, `family:revision` or family."""
        described = described_definition(self._ecs, name)
        if described.get("status", "ACTIVE") != "ACTIVE":
            raise OperationError(
                f"The task definition {short(described['taskDefinitionArn'])} is {described['status']}. AWS starts no "
                "tasks of it: register it again, and deploy the new revision."
            )
        return str(described["taskDefinitionArn"])

    def newest(self, listed: Sequence[Mapping[str, Any]] | None = None) -> ServiceDeployment | None:
        """`listed`: what listed() answered a moment ago."""
        found = next(iter(self.listed() if listed is None else listed), None)
        return self.described(found["serviceDeploymentArn"]) if found else None

    def listed(self, **only: Any) -> list[Mapping[str, Any]]:
        """From the newest."""
        pages = self.pages("ListServiceDeployments", "serviceDeployments", service=self.name, maxResults=100, **only)
        listed = list(pages)
        return sorted(listed, key=lambda one: one["createdAt"], reverse=True)

    def described(self, arn: str) -> ServiceDeployment:
        """As it is now; one that has ended is asked once."""
        if arn in self._ended:
            return self._ended[arn]
        said = self._ecs.call("DescribeServiceDeployments", arn, serviceDeploymentArns=[arn])
        if not said["serviceDeployments"]:
            raise OperationError(f"AWS does not know the deployment {arn} (it forgets them after 90 days).")
        found = ServiceDeployment.of(said["serviceDeployments"][0])
        if found.status not in (*STARTING_OR_RUNNING, *ENDING):
            self._ended[arn] = found
        return found

    def brought_by(self, deployment: ServiceDeployment) -> str:
        """The ARN of the task definition that a deployment brings."""
        return self.definition_of(deployment.target.arn) if deployment.target else ""

    def definition_of(self, revision: str) -> str:
        """The ARN of the task definition of a service revision, or ""."""
        if revision and revision not in self._definitions:
            said = self._ecs.call("DescribeServiceRevisions", revision, serviceRevisionArns=[revision])
            found = said["serviceRevisions"]
            self._definitions[revision] = found[0]["taskDefinition"] if found else ""
        return self._definitions.get(revision, "")

    def good_revisions(self, listed: Sequence[Mapping[str, Any]] | None = None) -> Iterator[str]:
        """The service revisions that a deployment brought or a rollback restored, from the newest that succeeded."""
        for one in self.listed(status=list(GOOD)) if listed is None else listed:
            if one["status"] not in GOOD:
                continue
            described = self.described(one["serviceDeploymentArn"])
            brought = described.target.arn if described.target else ""
            revision = brought if described.status == "SUCCESSFUL" else described.rolled_back_to
            if revision:
                yield revision

    def last_good(self, besides: str = "", listed: Sequence[Mapping[str, Any]] | None = None) -> str:
        """The task definition of the newest deployment that succeeded, or that a rollback restored; "" for none."""
        definitions = (self.definition_of(revision) for revision in self.good_revisions(listed))
        return next((one for one in definitions if one and one != besides), "")

    def ignore_stopped_tasks(self) -> None:
        """Leave the tasks that have stopped until now out of failed_tasks."""
        self._stopped.update(self._stopped_tasks())

    def failed_tasks(self, definition: str = "", since: datetime | None = None) -> list[StoppedTask]:
        """The tasks that failed, of one task definition and started since then. A later call has only the new ones.

        AWS keeps stopped tasks for an hour, and they change no more: each is described once.
        """
        found = []
        for arns in portions([arn for arn in self._stopped_tasks() if arn not in self._stopped], TASKS_AT_ONCE):
            for said in self.call("DescribeTasks", tasks=arns)["tasks"]:
                if said["lastStatus"] != "STOPPED":
                    continue
                task = StoppedTask.of(said)
                self._stopped.add(task.arn)
                late = since is None or "createdAt" not in said or said["createdAt"] >= since
                ours = not definition or task.definition == definition
                if task.failed and ours and late:
                    found.append(task)
        return found

    def _stopped_tasks(self) -> Iterator[str]:
        return self.pages("ListTasks", "taskArns", serviceName=self.name, desiredStatus="STOPPED")

    def call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        return self._ecs.call(operation, self.about, cluster=self._cluster, **arguments)

    def roll_back(self, deployment: str) -> None:
        """Let AWS go back to the revision that the deployment replaces."""
        self._ecs.call("StopServiceDeployment", self.about, serviceDeploymentArn=deployment, stopType="ROLLBACK")

    def pages(self, operation: str, key: str, **arguments: Any) -> Iterator[Any]:
        return self._ecs.pages(operation, self.about, key, cluster=self._cluster, **arguments)
