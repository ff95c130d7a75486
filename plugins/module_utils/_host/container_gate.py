# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wait until a container is healthy: by its declared gate, its own health check, or its uptime."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from .._common.http import PortMap
from .container_state import age, fatal_state, log_excerpt, log_lines, restart_count
from .docker import Docker
from .gate import Gate, GateError
from .host import Spec
from .published_ports import outside_url
from .stand_in import StandIn

SETTLE = 1.0
UNGATED_PATIENCE = 120.0
# The old container served before.
OLD_PATIENCE = 15.0


class ContainerGate:
    """The gate of a declared container. `version` is what the last failed new container reported."""

    def __init__(self, docker: Docker, spec: Spec, stand_in: StandIn) -> None:
        self.docker = docker
        self.name: str = spec["name"]
        self.spec: Spec = spec.get("gate") or {}
        self.stand_in = stand_in
        self.successes = int(self.spec.get("successes") or 2)
        self.hold = float(self.spec.get("hold") or 0)
        self.version: str | None = None

    def wait(
        self,
        container: str,
        *,
        successes: int,
        patience: float | None = None,
        hold: float = 0,
        of_new: bool = True,
        port_map: PortMap | None = None,
    ) -> None:
        """Wait until it is healthy, for `patience` seconds at most, and then `hold` seconds that it stays healthy.

        Raises GateError.
        """
        spec = dict(self.spec)
        if patience:
            spec["timeout"] = patience
        if not of_new:
            spec["version"] = None
        found = self.docker.container(container)
        restarts = restart_count(found)
        gate: Gate | None = None
        if self.spec:
            spec["published_url"] = outside_url(found, spec["url"]) if found else ""
            port_map = port_map or self.stand_in.port_map(container)
            gate = Gate(spec, lambda: fatal_state(self.docker, container, restarts), port_map)
        try:
            if gate:
                gate.wait(successes)
                if hold:
                    gate.hold(hold)
            else:
                self._wait_without_gate(container, restarts, patience or (UNGATED_PATIENCE if of_new else OLD_PATIENCE))
        except GateError as error:
            self.version = gate.report()["version"] if gate and of_new else None
            raise GateError(f"The container {self.name} isn't healthy. {error.message}") from error

    def wait_for_stand_in(self, container: str, port_map: PortMap) -> None:
        try:
            self.wait(container, successes=self.successes, of_new=False, port_map=port_map)
        except GateError as error:
            raise GateError(error.message + log_excerpt(log_lines(self.docker, container))) from error

    def _wait_without_gate(self, container: str, restarts: int, patience: float) -> None:
        """Its own health check decides where it has one; else it must stay up for a moment."""
        started = time.monotonic()
        while True:
            why = fatal_state(self.docker, container, restarts)
            if why:
                raise GateError(why)
            state: Mapping[str, Any] = (self.docker.container(container) or {}).get("State") or {}
            health = (state.get("Health") or {}).get("Status", "none")
            waited = time.monotonic() - started
            if health == "healthy" or (health == "none" and (waited > SETTLE or age(state) > SETTLE)):
                return
            if waited > patience:
                raise GateError(f"Its health check still says {health} after {patience:g} s.")
            time.sleep(0.25)
