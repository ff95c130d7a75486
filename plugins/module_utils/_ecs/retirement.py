# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Take services out of use without deleting them, and bring them back with as many tasks as they had.

The tag RECORD of a service has its number of tasks, and what of its scaling was suspended. It is set before the number
changes and removed after it is back, so that a run that is killed in between loses neither.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .._aws.api import Api, RefusedError
from .._common.progress import OperationError, Progress
from .scalable_target import SUSPENSIONS, ScalableTarget, Wanted

RECORD = "evenkeel:retired"
# The number of tasks, and the suspensions that were there before, such as "2 dynamic_scaling_in".
RECORDED = re.compile(r"(\d+)((?: [a-z_]+)*)")
LONGEST_PAUSE = 2.0
Service = Mapping[str, Any]


@dataclass
class RetirementReport(Progress):
    """The result of a call so far: by service, its number of tasks before and after."""

    changed: bool = False
    before: dict[str, int] = field(default_factory=dict)
    after: dict[str, int] = field(default_factory=dict)

    def result(self) -> dict[str, Any]:
        return {
            "changed": self.changed,
            "counts": self.after,
            "progress": self.progress,
            "seconds": round(self.seconds, 3),
            "diff": {"before": self.before, "after": self.after},
        }


def recorded(service: Service) -> str:
    tags = {one["key"]: one["value"] for one in service.get("tags", [])}
    return str(tags.get(RECORD, ""))


def remembered(service: Service) -> int | None:
    """The number of tasks that a described service had before it was retired; None where it is not."""
    found = RECORDED.fullmatch(recorded(service))
    return int(found.group(1)) if found else None


class Retirement:
    """The services of one cluster. `look` describes those that exist, with their tags."""

    def __init__(
        self,
        cluster: str,
        ecs: Api,
        scaling: Callable[[], Api],
        look: Callable[[Sequence[str]], Mapping[str, Service]],
    ) -> None:
        self._cluster = cluster
        self._ecs = ecs
        self._scaling = scaling
        self._look = look

    def retire(self, names: Sequence[str], report: RetirementReport, *, check_mode: bool) -> None:
        found = self._found(names)
        for name in names:
            service = found[name]
            report.before[name], report.after[name] = service["desiredCount"], 0
            if not service["desiredCount"]:
                continue
            report.changed = True
            if check_mode:
                continue
            target = self._target(name)
            scaled = target.find()
            # What is recorded already is of a run that was killed.
            before = RECORDED.fullmatch(recorded(service))
            suspended = [key for key, api in SUSPENSIONS.items() if _suspended(scaled, api)]
            words = [str(service["desiredCount"]), *(before.group(2).split() if before else suspended)]
            if recorded(service) != " ".join(words):
                self._tag(service, " ".join(words))
            if scaled and not all(_suspended(scaled, api) for api in SUSPENSIONS.values()):
                target.register(SuspendedState=dict.fromkeys(SUSPENSIONS.values(), True))
            self._count(name, 0)
            report.note(f"{name}: from {service['desiredCount']} tasks to 0")
        if not check_mode:
            self._await(names, report)

    def restore(self, names: Sequence[str], report: RetirementReport, *, check_mode: bool) -> None:
        """Services that were not retired keep the number of tasks that they have."""
        found = self._found(names)
        retired = [name for name in names if remembered(found[name]) is not None]
        for name in names:
            service, count = found[name], remembered(found[name])
            report.before[name] = service["desiredCount"]
            report.after[name] = service["desiredCount"] if count is None else max(count, service["desiredCount"])
            if count is None:
                continue
            report.changed = True
            if not check_mode and service["desiredCount"] != report.after[name]:
                self._count(name, report.after[name])
                report.note(f"{name}: from {service['desiredCount']} tasks to {report.after[name]}")
        if check_mode:
            return
        self._await(names, report)
        for name in retired:
            self._resume_scaling(name, found[name])
            about = f"the service {name}"
            self._ecs.call("UntagResource", about, resourceArn=found[name]["serviceArn"], tagKeys=[RECORD])

    def _resume_scaling(self, name: str, service: Service) -> None:
        matched = RECORDED.fullmatch(recorded(service))
        before = matched.group(2).split() if matched else []
        target = self._target(name)
        wanted = {api: key in before for key, api in SUSPENSIONS.items()}
        scaled = target.find()
        if scaled and any(_suspended(scaled, api) != value for api, value in wanted.items()):
            target.register(SuspendedState=wanted)

    def _found(self, names: Sequence[str]) -> Mapping[str, Service]:
        found = self._look(names)
        missing = [name for name in names if name not in found]
        if missing:
            raise OperationError(
                f"Nothing was changed: the cluster {self._cluster} has no active service {', '.join(missing)}. Correct "
                "the name."
            )
        return found

    def _await(self, names: Sequence[str], report: RetirementReport) -> None:
        """Until as many tasks run as are wanted, and no deployment goes on."""
        last: list[str] = []

        def arrived() -> bool:
            nonlocal last
            found = self._found(names)
            last = [
                f"{name}: {found[name]['runningCount']} of {found[name]['desiredCount']} tasks run"
                for name in names
                if found[name]["runningCount"] != found[name]["desiredCount"] or found[name].get("pendingCount")
            ]
            for line in last:
                report.note(line)
            return not last

        if report.timeout and not report.wait(arrived, LONGEST_PAUSE):
            raise OperationError(
                f"Not within {report.timeout:g} s: {'; '.join(last)}. AWS goes on with it; the same call waits for it. "
                "See ecs_status.yml for the reason."
            )

    def _count(self, name: str, count: int) -> None:
        about = f"the service {name} in the cluster {self._cluster}"
        self._ecs.call("UpdateService", about, cluster=self._cluster, service=name, desiredCount=count)

    def _tag(self, service: Service, value: str) -> None:
        about = f"the service {service['serviceName']}"
        try:
            self._ecs.call(
                "TagResource", about, resourceArn=service["serviceArn"], tags=[{"key": RECORD, "value": value}]
            )
        except RefusedError as error:
            raise OperationError(
                f"Nothing was changed on {about}: its number of tasks can't be remembered in the tag {RECORD}. {error}"
            ) from error

    def _target(self, name: str) -> ScalableTarget:
        return ScalableTarget(self._scaling(), Wanted(self._cluster, name).resource)


def _suspended(target: Mapping[str, Any], api: str) -> bool:
    return bool((target.get("SuspendedState") or {}).get(api))
