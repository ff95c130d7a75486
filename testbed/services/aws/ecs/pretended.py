# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An agent that runs nothing: a test says how the containers of an image fare."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from .agent import ContainerReport, Order, TaskReport

KILLED, TERMINATED = 137, 143
OUT_OF_MEMORY = "OutOfMemoryError: Container killed due to memory usage"


@dataclass(frozen=True)
class Behaviour:
    """Of an image's containers, in seconds after their start: when the health check passes (None: never), and exits."""

    healthy_after: float | None = 0.0
    exits_after: float | None = None
    exit_code: int = 0
    reason: str = ""
    cannot_start: str = ""
    starts_after: float = 0.0
    stops_after: float = 0.0
    exit_code_on_stop: int = TERMINATED


NEVER_HEALTHY = Behaviour(healthy_after=None)


def crashes(after: float = 0.0, code: int = 1) -> Behaviour:
    return Behaviour(exits_after=after, exit_code=code)


def out_of_memory(after: float = 0.0) -> Behaviour:
    return Behaviour(exits_after=after, exit_code=KILLED, reason=OUT_OF_MEMORY)


def no_image(image: str) -> Behaviour:
    return Behaviour(cannot_start=f"CannotPullContainerError: {image}: not found")


def no_secret(name: str) -> Behaviour:
    return Behaviour(
        cannot_start="ResourceInitializationError: unable to pull secrets or registry auth: execution resource "
        f"retrieval failed: unable to retrieve secret from asm: ResourceNotFoundException: can't find {name}"
    )


@dataclass
class _Running:
    order: Order
    number: int
    since: float
    stopping: float | None = None


@dataclass
class PretendedAgent:
    """behaviours are by image; others start at once, become healthy at once, and run until they are stopped."""

    behaviours: dict[str, Behaviour] = field(default_factory=dict)
    starts: list[str] = field(default_factory=list)
    stops: list[str] = field(default_factory=list)
    _tasks: dict[str, _Running] = field(default_factory=dict)

    def start(self, order: Order, now: float) -> None:
        self.starts.append(order.arn)
        self._tasks[order.arn] = _Running(order, len(self.starts), now)

    def stop(self, arn: str, now: float) -> None:
        task = self._tasks.get(arn)
        if task and task.stopping is None:
            self.stops.append(arn)
            task.stopping = now

    def forget(self, arn: str) -> None:
        self._tasks.pop(arn, None)

    def states(self, now: float) -> Mapping[str, TaskReport]:
        return {arn: self._report(task, now) for arn, task in self._tasks.items()}

    def _report(self, task: _Running, now: float) -> TaskReport:
        definitions = task.order.definition["containerDefinitions"]
        behaviours = {item["name"]: self.behaviours.get(item["image"], Behaviour()) for item in definitions}
        failed = next((item.cannot_start for item in behaviours.values() if item.cannot_start), "")
        address = f"10.{task.number >> 16 & 255}.{task.number >> 8 & 255}.{task.number & 255}"
        if failed:
            culprits = {name for name, item in behaviours.items() if item.cannot_start == failed}
            why = failed if failed.startswith("CannotPull") else ""
            reports = {name: ContainerReport("STOPPED", reason=why if name in culprits else "") for name in behaviours}
            return TaskReport(reports, failed, address)
        reports = {
            item["name"]: self._container(task, item["name"], item["image"], behaviours[item["name"]], now)
            for item in definitions
        }
        checked = {item["name"] for item in definitions if item.get("healthCheck")}
        reports = {name: report if name in checked else unchecked(report) for name, report in reports.items()}
        return TaskReport(reports, "", address)

    def _container(self, task: _Running, name: str, image: str, behaviour: Behaviour, now: float) -> ContainerReport:
        digest = f"sha256:{hashlib.sha256(image.encode()).hexdigest()}"
        runtime = hashlib.sha256(f"{task.order.arn} {name}".encode()).hexdigest()[:32]
        started = task.since + behaviour.starts_after
        ends = started + behaviour.exits_after if behaviour.exits_after is not None else None
        stops = task.stopping + behaviour.stops_after if task.stopping is not None else None
        if ends is not None and ends <= now and (stops is None or ends <= stops):
            return ContainerReport("STOPPED", "UNKNOWN", behaviour.exit_code, behaviour.reason, digest, runtime)
        if stops is not None and stops <= now:
            return ContainerReport("STOPPED", "UNKNOWN", behaviour.exit_code_on_stop, "", digest, runtime)
        if now < started:
            return ContainerReport()
        if behaviour.healthy_after is None:
            return ContainerReport("RUNNING", "UNHEALTHY", None, "", digest, runtime)
        health = "HEALTHY" if now >= started + behaviour.healthy_after else "UNKNOWN"
        return ContainerReport("RUNNING", health, None, "", digest, runtime)


def unchecked(report: ContainerReport) -> ContainerReport:
    return ContainerReport(
        report.status, "UNKNOWN", report.exit_code, report.reason, report.image_digest, report.runtime_id
    )
