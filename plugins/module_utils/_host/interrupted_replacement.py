# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Recovery after a call that was killed during a replacement (see containers.py for the states)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .container_declaration import matches
from .container_state import is_being_stopped, is_proven, paused_problem
from .host import HostError
from .replace_or_roll_back import RESTORED, SWAPPED, Replacement


class Recovery:
    """`recovered_from` is the name under which the container that serves again was found, or empty."""

    def __init__(self, replacement: Replacement) -> None:
        self.replacement = replacement
        self.operations = replacement.operations
        self.host = replacement.host
        self.resource = f"container {self.operations.name}"
        self.recovered_from = ""

    def recover(self, *, finish: bool = True) -> Mapping[str, Any] | None:
        """The container that serves under the name, once every interrupted replacement is ended.

        With `finish`, a new container that has not passed its gate may still do so, if it is the declared one.
        """
        operations = self.operations
        current = operations.find(operations.name)
        if current and current["State"].get("Paused"):
            # An operator paused it.
            raise HostError(f"{paused_problem(current)}\nNothing was changed; run this again after that.")
        self.replacement.stand_in.adopt()
        operations.discard_next()
        current = operations.find(operations.name)
        aside = operations.set_aside()
        if aside is None and current is None:
            aside = operations.find(operations.previous_name)
        if aside is None:
            return self._start_stopped(current) if current else None
        if current and is_proven(current):
            return self._keep_old(current, aside)
        if current and finish and self._may_pass(current):
            return self._finish(current, aside)
        left = str(aside["Name"]).lstrip("/")
        with self.host.change(
            self.resource, "restore", after=f"an interrupted replacement left {left}; it serves again\n"
        ) as apply:
            if apply:
                if current:
                    self.replacement.clear_away(current["Id"])
                self._put_back(aside)
        self.replacement.outcome, self.recovered_from = RESTORED, left
        return operations.find(operations.name) if apply else aside

    def _may_pass(self, unproven: Mapping[str, Any]) -> bool:
        """A container that has ended by itself has failed."""
        fresh = unproven["State"]["Running"] or unproven["State"]["Status"] == "created"
        spec = self.operations.spec
        return fresh and matches(spec, unproven, self.operations.docker.image(spec["image"]))

    def _keep_old(self, proven: Mapping[str, Any], aside: Mapping[str, Any]) -> Mapping[str, Any]:
        left, previous = str(aside["Name"]).lstrip("/"), self.operations.previous_name
        with self.host.change(self.resource, "finish", f"{left} is kept\n", f"{previous} is kept\n") as apply:
            if apply:
                self.operations.keep_as_previous()
        if left == self.operations.withdrawn_name:
            self.recovered_from = self.operations.name
        return proven

    def _finish(self, unproven: Mapping[str, Any], aside: Mapping[str, Any]) -> Mapping[str, Any] | None:
        self.replacement.old = aside
        with self.host.change(self.resource, "finish", f"{unproven['State']['Status']}\n", "running\n") as apply:
            if apply:
                self.replacement.prove(unproven["Id"])
            self.replacement.outcome = SWAPPED
        return self.operations.find(self.operations.name) if apply else unproven

    def _start_stopped(self, current: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Start a container that is stopped, or that the engine is stopping for a call that was killed."""
        running = current["State"]["Running"]
        if running and not is_being_stopped(current):
            return current
        status = "being stopped" if running else current["State"]["Status"]
        with self.host.change(self.resource, "start", f"{status}\n", "running\n") as apply:
            if apply:
                self._put_back(current)
        self.replacement.outcome, self.recovered_from = RESTORED, self.operations.name
        return self.operations.find(self.operations.name) if apply else current

    def _put_back(self, old: Mapping[str, Any]) -> None:
        try:
            self.operations.put_back(old)
        except HostError as error:
            # The container that replaces it may well start.
            self.host.warn(f"{self.resource} had been stopped and doesn't start again: {error.message}")
