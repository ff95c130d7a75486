# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Engine calls on one declared container, under each of its names during a replacement (see containers.py)."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from . import container_declaration as declared
from .container_state import is_being_stopped
from .docker import Docker, DockerError
from .host import Host, HostError, Spec
from .port_conflicts import taken_ports
from .published_ports import restart_engine, restart_loses

REMOVAL_PATIENCE = 10.0
# The engine's error for a port that it has allocated already.
PORT_GIVEN = "port is already allocated"


class ContainerOperations:
    """Find, create, start, stop, rename and remove."""

    def __init__(self, host: Host, docker: Docker, spec: Spec) -> None:
        self.host = host
        self.docker = docker
        self.spec = spec
        self.name: str = spec["name"]
        self.replaced_name = f"{self.name}-replaced"
        self.withdrawn_name = f"{self.name}-withdrawn"
        self.previous_name = f"{self.name}-previous"
        self.next_name = f"{self.name}-next"
        self._stopping = False

    def find(self, name: str) -> dict[str, Any] | None:
        """A container by its name. Waits for the end of a removal in progress."""
        deadline = time.monotonic() + REMOVAL_PATIENCE
        while True:
            found = self.docker.container(name)
            leaves = found and found["State"]["Status"] in ("removing", "dead")
            if not leaves or self.host.check_mode or time.monotonic() > deadline:
                return found
            if found and found["State"]["Status"] == "dead":
                self.docker.request("DELETE", f"/containers/{found['Id']}", force=1, v=1)
            time.sleep(0.1)

    def set_aside(self) -> dict[str, Any] | None:
        """The container that serves again if the new one fails."""
        return self.find(self.replaced_name) or self.find(self.withdrawn_name)

    def create(self) -> str:
        """Create the declared container as <name>-next; returns its id."""
        body = declared.body(self.spec)
        try:
            try:
                new = str(self.docker.post("/containers/create", body, name=self.next_name)["Id"])
            except DockerError as error:
                if error.status != 409:
                    raise
                # The request of a call that was killed may still have been carried out.
                self.discard_next()
                new = str(self.docker.post("/containers/create", body, name=self.next_name)["Id"])
            for network in list(self.spec.get("networks") or [])[1:]:
                self.docker.post(
                    f"/networks/{network}/connect", {"Container": new, "EndpointConfig": declared.endpoint(self.spec)}
                )
        except DockerError as error:
            raise HostError(
                f"The container {self.name} can't be created; nothing was stopped. {error.message}"
            ) from error
        return new

    def discard_next(self) -> None:
        """Remove a created container that was never started."""
        leftover = self.find(self.next_name)
        if leftover:
            with self.host.change(f"container {self.next_name}", "remove") as apply:
                if apply:
                    self.remove(leftover["Id"])

    def start_new(self, new: str) -> None:
        try:
            self.start(new)
        except DockerError as error:
            taken = "\n".join(taken_ports(self.docker, self.spec))
            raise HostError(f"The container {self.name} doesn't start: {taken or error.message}") from error

    def start(self, container: str) -> None:
        """Start a container. An engine that was killed during a start may keep its port allocated: restart it."""
        path = f"/containers/{container}/start"
        try:
            self.docker.post(path)
        except DockerError as error:
            if PORT_GIVEN not in error.message or taken_ports(self.docker, self.spec) or not self._restart_engine():
                raise
            self.docker.post(path)

    def _restart_engine(self) -> bool:
        """Unless that would stop a container."""
        if restart_loses(self.docker):
            return False
        self.host.warn(
            "the Docker engine kept a port allocated that no container and no process uses; it was restarted"
        )
        return restart_engine(self.host, self.docker)

    def stop(self, container: Mapping[str, Any]) -> None:
        # With the policy "always" it would start beside the new one when the engine restarts. "no" also shows the next
        # call that a stop was requested, which the engine completes even if this call dies.
        self.docker.post(f"/containers/{container['Id']}/update", {"RestartPolicy": {"Name": "no"}})
        self._stopping = True
        with self.host.phase("stop"):
            self._await_stop(container["Id"])

    def _await_stop(self, container: str) -> None:
        seconds = declared.stop_timeout(self.spec)
        self.docker.post(f"/containers/{container}/stop", t=seconds, timeout=seconds + 30)

    def put_back(self, old: Mapping[str, Any]) -> None:
        """Start the old container under its name, with its restart policy."""
        if old["State"]["Running"] and (self._stopping or is_being_stopped(old)):
            self._await_stop(old["Id"])
        if old["Name"] != f"/{self.name}":
            self.rename(old["Id"], self.name)
        self.set_restart_policy(old["Id"])
        self.start(old["Id"])

    def keep_as_previous(self) -> None:
        """The container that was set aside becomes <name>-previous."""
        aside = self.set_aside()
        if aside:
            previous = self.find(self.previous_name)
            if previous:
                self.remove(previous["Id"])
            self.rename(aside["Id"], self.previous_name)

    def set_restart_policy(self, container: str) -> None:
        policy = declared.restart_policy(self.spec)
        self.docker.post(f"/containers/{container}/update", {"RestartPolicy": policy})

    def rename(self, container: str, name: str) -> None:
        self.docker.post(f"/containers/{container}/rename", name=name)

    def remove(self, container: str) -> None:
        seconds = min(declared.stop_timeout(self.spec), 10)
        self.docker.request("POST", f"/containers/{container}/stop", t=seconds, timeout=seconds + 30)
        self.docker.delete(f"/containers/{container}", force=1, v=1)
