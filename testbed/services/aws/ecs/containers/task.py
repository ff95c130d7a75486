# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One task: its containers from the first start to their removal."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from dataclasses import dataclass, field, replace
from typing import Any

import docker.errors

from ..agent import ContainerReport, Order, TaskReport
from . import definition, images, logs, secrets
from .definition import CannotStartError, Definition
from .images import Clients
from .place import Place, Seen

log = logging.getLogger(__name__)
LOOK = 0.2
OUT_OF_MEMORY = "OutOfMemoryError: Container killed due to memory usage"
KILLED = 137
GRACE = 2.0
PULLS = threading.Semaphore(4)  # tasks that start at the same time


@dataclass(frozen=True)
class Surroundings:
    """What all tasks of an agent share. pause: the image of pause containers. environment: of all containers.

    second: how long a second of a health check is.
    """

    place: Place
    clients: Clients
    pause: str
    environment: dict[str, str] = field(default_factory=dict)
    second: float = 1.0


@dataclass
class _Running:
    """A container that exists: the definition, and what has happened to it."""

    definition: Definition
    id: str
    digest: str
    stop_signal: str
    created: float
    started: bool = False
    terminated: float | None = None
    killed: bool = False


class RunningTask:
    """A task in a thread of its own."""

    def __init__(self, order: Order, around: Surroundings) -> None:
        self._order = order
        self._around = around
        self._definitions: list[Definition] = order.definition["containerDefinitions"]
        self._id = order.arn.rpartition("/")[2]
        self._containers: dict[str, _Running] = {}
        self._made: list[str] = []
        self._volumes: dict[str, str] = {}
        self._streams: dict[str, logs.LogStream] = {}
        self._reports = {item["name"]: ContainerReport() for item in self._definitions}
        self._failure = ""
        self._address = ""
        self._stopping = False
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"task-{self._id[:8]}", daemon=True)
        self._thread.start()

    def report(self) -> TaskReport:
        return TaskReport(dict(self._reports), self._failure, self._address)

    def stop(self) -> None:
        self._stopping = True

    def forget(self) -> None:
        """Remove what is left of it."""
        self._over.set()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def join(self, timeout: float) -> None:
        self._thread.join(timeout)

    def _run(self) -> None:
        try:
            with PULLS:
                self._create()
            while not self._over.wait(LOOK) and not self._failure:
                self._look(self._around.place.seen())
        except CannotStartError as error:
            self._fail(str(error), error.container)
        except Exception as error:
            log.exception("task %s", self._id)
            self._fail(f"InternalError: {error}", "")
        for identifier in self._made:
            self._around.place.remove(identifier)
        for volume in self._volumes.values():
            with contextlib.suppress(docker.errors.APIError):
                self._around.place.engine.volumes.get(volume).remove(force=True)

    def _fail(self, reason: str, container: str) -> None:
        """The task never becomes what it should: all its containers end."""
        for name in self._containers:
            if self._containers[name].started and name in self._streams:
                self._streams[name].flush(at_end=True)
        reports = {
            name: report if report.status == "STOPPED" else replace(report, status="STOPPED", health="UNKNOWN")
            for name, report in self._reports.items()
        }
        if container:
            reports[container] = replace(reports[container], reason=reason)
        self._failure, self._reports = reason, reports

    def _create(self) -> None:
        """All that can be refused comes before the first container is made."""
        around, place = self._around, self._around.place
        found = {}
        for item in self._definitions:
            try:
                found[item["name"]] = images.find(place.engine, around.clients, item["image"])
            except CannotStartError as error:
                raise CannotStartError(str(error), item["name"]) from None
        values = {item["name"]: secrets.resolved(around.clients, item) for item in self._definitions}
        self._streams = logs.streams(around.clients, self._definitions, self._id)
        for volume in self._order.definition.get("volumes", []):
            name = f"{place.name}-{self._id[:12]}-{volume['name']}"
            place.engine.volumes.create(name, labels=place.labelled("task"))
            self._volumes[volume["name"]] = name
        pause = self._make("pause", around.pause, command=["sleep", "infinity"], network=place.network)
        place.engine.api.start(pause)
        self._address = place.address(pause)
        for item in self._definitions:
            image = found[item["name"]]
            declared = {one["name"]: one["value"] for one in item.get("environment", [])}
            environment = {**around.environment, **declared, **values[item["name"]]}
            given = definition.arguments(item, self._order.definition, environment, self._volumes, around.second)
            identifier = self._make(item["name"], image.id, network_mode=f"container:{pause}", **given)
            config = place.engine.api.inspect_container(identifier)["Config"]
            signal = config.get("StopSignal") or "SIGTERM"
            self._containers[item["name"]] = _Running(item, identifier, image.digest, signal, time.monotonic())

    def _make(self, name: str, image: str, **given: Any) -> str:
        place = self._around.place
        try:
            made = place.engine.containers.create(
                image,
                name=f"{place.name}-{self._id[:12]}-{name}",
                labels={**place.labelled("task"), "evenkeel.task": self._order.arn},
                **given,
            )
        except docker.errors.APIError as error:
            raise CannotStartError(f"CannotCreateContainerError: {error.explanation}", name) from None
        self._made.append(made.id)
        return str(made.id)

    def _look(self, seen: dict[str, Seen]) -> None:
        reports = dict(self._reports)
        for name, running in self._containers.items():
            if reports[name].status == "STOPPED":
                continue
            if not running.started:
                reports[name] = self._wait(name, running, reports)
                continue
            found = seen.get(running.id) or self._unseen(running)
            if name in self._streams:
                self._streams[name].flush()
            if found.state == "running":
                reports[name] = ContainerReport("RUNNING", found.health, None, "", running.digest, running.id)
            elif found.state in ("exited", "dead"):
                reports[name] = self._ended(name, running)
            elif found.state == "removed":
                reports[name] = ContainerReport("STOPPED", "UNKNOWN", KILLED, "", running.digest, running.id)
            if self._stopping and reports[name].status != "STOPPED":
                self._terminate(name, running, reports)
        self._reports = reports

    def _unseen(self, running: _Running) -> Seen:
        """Of a container that the engine does not list: not yet, or no longer."""
        return Seen("created" if time.monotonic() - running.created < GRACE else "removed", "UNKNOWN")

    def _wait(self, name: str, running: _Running, reports: dict[str, ContainerReport]) -> ContainerReport:
        if self._stopping:
            return ContainerReport("STOPPED")
        if not definition.may_start(running.definition, reports):
            limit = self._timeout(running.definition)
            if time.monotonic() - running.created > limit:
                raise CannotStartError(f"Container {name} waited {limit:g} s for its dependencies", name)
            return reports[name]
        try:
            self._around.place.engine.api.start(running.id)
        except docker.errors.APIError as error:
            raise CannotStartError(f"CannotStartContainerError: {error.explanation}", name) from None
        running.started = True
        if name in self._streams:
            self._streams[name].follow(self._around.place.engine, running.id)
        return replace(reports[name], image_digest=running.digest, runtime_id=running.id)

    def _timeout(self, container: Definition) -> float:
        """startTimeout of what it depends on, which is how long ECS waits for it."""
        named = {item["name"]: item for item in self._definitions}
        limits = [
            named[item["containerName"]].get("startTimeout", definition.START_TIMEOUT)
            for item in container.get("dependsOn", [])
        ]
        return float(max(limits, default=definition.START_TIMEOUT))

    def _ended(self, name: str, running: _Running) -> ContainerReport:
        state = self._around.place.engine.api.inspect_container(running.id)["State"]
        if name in self._streams:
            self._streams[name].flush(at_end=True)
        reason = OUT_OF_MEMORY if state["ExitCode"] == KILLED and self._out_of_memory(running, state) else ""
        return ContainerReport("STOPPED", "UNKNOWN", state["ExitCode"], reason, running.digest, running.id)

    def _out_of_memory(self, running: _Running, state: dict[str, Any]) -> bool:
        """An engine with cgroup v1 on a newer kernel does not notice it: then no SIGKILL was sent by its API."""
        if state["OOMKilled"]:
            return True
        filters = {"container": running.id, "event": "kill"}
        now = time.time()
        since = now - (time.monotonic() - running.created) - 1
        return not running.killed and not list(
            self._around.place.engine.api.events(since=since, until=now, filters=filters, decode=True)
        )

    def _terminate(self, name: str, running: _Running, reports: dict[str, ContainerReport]) -> None:
        """The stop signal once those that depend on it have ended, and SIGKILL after its stopTimeout."""
        now = time.monotonic()
        if running.terminated is None:
            if definition.may_stop(name, self._definitions, reports):
                running.terminated = now
                self._signal(running, running.stop_signal)
        elif not running.killed and now - running.terminated >= running.definition.get(
            "stopTimeout", definition.STOP_TIMEOUT
        ):
            running.killed = True
            self._signal(running, "SIGKILL")

    def _signal(self, running: _Running, signal: str) -> None:
        # It may have ended a moment ago.
        with contextlib.suppress(docker.errors.APIError):
            self._around.place.engine.api.kill(running.id, signal)
