# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Create, update and delete a service on ECS."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .._aws.api import Api
from .._aws.tags import ours_of, recorded
from .._common.progress import OperationError, Progress
from .definition_lookup import NEW_REVISION, described_definition
from .service import described, differences, fixed_settings, merged, only_declared, unknown_settings
from .service_deployment import short
from .tags import as_pairs, change_tags

LONGEST_PAUSE = 5.0


@dataclass(frozen=True)
class DeclaredService:
    """`definition` has parameters of CreateService. None for the count or the tags: they are left as they are."""

    name: str
    cluster: str
    task_definition: str
    keep_task_definition: bool
    desired_count: int | None
    definition: Mapping[str, Any]
    tags: Mapping[str, str] | None


@dataclass
class ServiceReport(Progress):
    """The result of a call so far; before and after are the declared settings."""

    changed: bool = False
    arn: str = ""
    scaled_by_target: bool = False
    differences: list[str] = field(default_factory=list)
    before: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)

    def result(self) -> dict[str, Any]:
        return {
            "changed": self.changed,
            "service_arn": self.arn,
            "differences": self.differences,
            "scaled_by_target": self.scaled_by_target,
            "diff": {"before": self.before, "after": self.after},
        }


def refuse_draining(service: Mapping[str, Any]) -> None:
    """OperationError for a described service that is being deleted."""
    if service["status"] == "DRAINING":
        raise OperationError(
            f"Nothing was changed: the service {service['serviceName']} is being deleted (DRAINING). AWS creates one "
            "of this name when it is INACTIVE. Run the same again then."
        )


class Services:
    """The services of one cluster. `parameters` gives the names that an operation of the API takes."""

    def __init__(self, ecs: Api, scaling: Callable[[], Api], parameters: Callable[[str], list[str]]) -> None:
        self._ecs = ecs
        self._scaling = scaling
        self._parameters = parameters

    def ensure(self, wanted: DeclaredService, report: ServiceReport, *, check_mode: bool) -> None:
        self.refuse_unknown(wanted.definition)
        there = self._find(wanted)
        if there:
            refuse_draining(there)
        if there and there["status"] == "ACTIVE":
            self._update(wanted, there, report, check_mode=check_mode)
        else:
            self._create(wanted, report, check_mode=check_mode)

    def refuse_unknown(self, definition: Mapping[str, Any]) -> None:
        """OperationError for settings that CreateService does not take."""
        wrong = unknown_settings(definition, self._parameters("CreateService"))
        if wrong:
            raise OperationError(f"Nothing was changed: {'; '.join(wrong)}.")

    def remove(self, wanted: DeclaredService, report: ServiceReport, *, check_mode: bool) -> None:
        """Delete the service with its tasks, and wait until it is INACTIVE."""
        there = self._find(wanted)
        if not there or there["status"] == "INACTIVE":
            return
        report.arn, report.changed = there["serviceArn"], there["status"] == "ACTIVE"
        report.before = {"service": wanted.name, "taskDefinition": short(there.get("taskDefinition", ""))}
        if check_mode:
            return
        if report.changed:
            self._call("DeleteService", wanted, service=wanted.name, force=True)

        def gone() -> bool:
            now = self._find(wanted)
            report.note(f"{now['status']}, {now.get('runningCount', 0)} tasks running" if now else "deleted")
            return not now or now["status"] == "INACTIVE"

        if report.timeout and not report.wait(gone, LONGEST_PAUSE):
            raise OperationError(
                f"The service {wanted.name} is not deleted within {report.timeout:g} s: {report.progress[-1]}. AWS "
                "goes on with it; the same call waits for it."
            )

    def _create(self, wanted: DeclaredService, report: ServiceReport, *, check_mode: bool) -> None:
        if not wanted.task_definition and not check_mode:
            raise OperationError(
                f"Nothing was changed: the service {wanted.name} does not exist in {wanted.cluster}, and without "
                "task_definition it can't be created."
            )
        count = {} if wanted.desired_count is None else {"desiredCount": wanted.desired_count}
        tags = recorded(wanted.tags or {})
        report.after = {
            **wanted.definition,
            "taskDefinition": short(self._definition(wanted.task_definition))
            if wanted.task_definition
            else NEW_REVISION,
            **count,
            **({"tags": dict(tags)} if tags else {}),
        }
        report.changed = True
        if check_mode:
            return
        made = self._call(
            "CreateService",
            wanted,
            serviceName=wanted.name,
            taskDefinition=wanted.task_definition,
            **count,
            **wanted.definition,
            **({"tags": as_pairs(tags)} if tags else {}),
        )
        report.arn = made["service"]["serviceArn"]

    def _update(
        self, wanted: DeclaredService, there: Mapping[str, Any], report: ServiceReport, *, check_mode: bool
    ) -> None:
        report.arn = there["serviceArn"]
        declared: dict[str, Any] = dict(wanted.definition)
        if wanted.task_definition and not wanted.keep_task_definition:
            declared["taskDefinition"] = self._definition(wanted.task_definition)
        if wanted.desired_count is not None and there["desiredCount"] != wanted.desired_count:
            report.scaled_by_target = self._has_scalable_target(wanted)
            if not report.scaled_by_target:
                declared["desiredCount"] = wanted.desired_count
        found = described(there)
        report.differences = differences(declared, found)
        report.before, report.after = only_declared(declared, found), merged(declared, only_declared(declared, found))
        tags = {one["key"]: one["value"] for one in there.get("tags", [])}
        if wanted.tags is not None:
            report.before["tags"], report.after["tags"] = ours_of(tags, wanted.tags), recorded(wanted.tags)
        retag = wanted.tags is not None and report.before["tags"] != report.after["tags"]
        fixed = fixed_settings(report.differences, self._parameters("UpdateService"))
        if fixed:
            raise OperationError(
                f"Nothing was changed: AWS can't change {', '.join(fixed)} of the service {wanted.name}, which exists. "
                f"It has {', '.join(f'{key} {found.get(key)!r}' for key in fixed)}. Declare that, or create a service "
                "of another name and delete this one."
            )
        report.changed = bool(report.differences) or retag
        if check_mode or not report.changed:
            return
        names = list(dict.fromkeys(path.partition(".")[0] for path in report.differences))
        if names:
            sent = {key: merged(declared[key], found.get(key)) for key in names}
            # Without it, AWS refuses another strategy.
            forced = {"forceNewDeployment": True} if "capacityProviderStrategy" in sent else {}
            self._call("UpdateService", wanted, service=wanted.name, **sent, **forced)
        if retag and wanted.tags is not None:
            change_tags(self._ecs, report.arn, tags, wanted.tags, report.arn)

    def _find(self, wanted: DeclaredService) -> dict[str, Any] | None:
        said = self._call("DescribeServices", wanted, services=[wanted.name], include=["TAGS"])
        found: list[dict[str, Any]] = said["services"]
        return found[0] if found else None

    def _definition(self, name: str) -> str:
        return str(described_definition(self._ecs, name)["taskDefinitionArn"])

    def _has_scalable_target(self, wanted: DeclaredService) -> bool:
        """Whether Application Auto Scaling sets the count."""
        resource = f"service/{short(wanted.cluster)}/{wanted.name}"
        said = self._scaling().call(
            "DescribeScalableTargets",
            resource,
            ServiceNamespace="ecs",
            ResourceIds=[resource],
            ScalableDimension="ecs:service:DesiredCount",
        )
        return bool(said["ScalableTargets"])

    def _call(self, operation: str, wanted: DeclaredService, **arguments: Any) -> dict[str, Any]:
        about = f"the service {wanted.name} in the cluster {wanted.cluster}"
        return self._ecs.call(operation, about, cluster=wanted.cluster, **arguments)
