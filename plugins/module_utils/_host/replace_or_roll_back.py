# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The transaction that replaces a container: the new one serves, or the old one serves again (see containers.py)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from .container_gate import OLD_PATIENCE, ContainerGate
from .container_operations import ContainerOperations
from .container_state import digest, image_of, log_excerpt, log_lines
from .docker import Docker
from .gate import GateError, ask, is_good, last_answer
from .host import Host, HostError, Spec
from .image_requirements import misfit
from .published_ports import ENGINE_PATIENCE, outside_url
from .stand_in import StandIn, published

# A container that serves responds at once, and one of its responses may be lost.
SERVING_PATIENCE = 3.0
EXEC_FORMAT = "exec format error"

# How a call ended.
UNCHANGED, SWAPPED, RESTORED, ROLLED_BACK, FAILED = "unchanged", "swapped", "restored", "rolled_back", "failed"


class Replacement:
    """The replacement of one declared container.

    `casualty` describes the container that failed: id, image, digest, version if it reported one, exit_code, log.
    """

    def __init__(self, host: Host, docker: Docker, spec: Spec) -> None:
        self.host = host
        self.docker = docker
        self.spec = spec
        self.operations = ContainerOperations(host, docker, spec)
        self.stand_in = StandIn(host, docker, spec)
        self.gate = ContainerGate(docker, spec, self.stand_in)
        self.name = self.operations.name
        self.outcome = UNCHANGED
        self.old: Mapping[str, Any] | None = None
        self.casualty: dict[str, Any] | None = None

    def switch(self, new: str, old: Mapping[str, Any] | None, aside: str) -> None:
        """Stop the old container, set it aside under the name `aside`, start the new one and wait for its gate.

        Raises HostError; the old container serves again then.
        """
        self.old = old
        try:
            self._refuse_unreachable(old)
            self._start_stand_in(old)
        except HostError as error:
            prepared = self.operations.find(self.operations.next_name)
            if prepared:
                self.operations.remove(prepared["Id"])
            raise HostError(f"The container {self.name} stays; nothing was stopped. {error.message}") from error
        try:
            if old:
                self.operations.stop(old)
                self.stand_in.forget_connections(old)
                self.operations.rename(old["Id"], aside)
            self.operations.rename(new, self.name)
        except HostError as error:
            raise self._rolled_back(error, new) from error
        self.prove(new)

    def _refuse_unreachable(self, old: Mapping[str, Any] | None) -> None:
        """If the old one is only reachable on the loopback address, the new one would not be reachable either."""
        url = self.gate.spec.get("url")
        if not url or not old or not old["State"]["Running"] or self.stand_in.answers:
            return
        outside, patience = outside_url(old, url), float(self.gate.spec.get("request_timeout") or 3)
        if not outside or not is_good(ask(url, patience)):
            return
        answer = ask(outside, patience)
        if not is_good(answer):
            raise HostError(
                f"It answers on the loopback address, but not on the host's own address. {last_answer(outside, answer)}"
            )

    def prove(self, new: str) -> None:
        """Start the new container, pass the gate, and keep the old one as the previous; or put the old one back."""
        try:
            with self.host.phase("start"):
                self.operations.start_new(new)
            with self.host.phase("gate"):
                self.gate.wait(new, successes=self.gate.successes, hold=self.gate.hold)
            self.operations.set_restart_policy(new)
        except HostError as error:
            raise self._rolled_back(error, new) from error
        try:
            self.operations.keep_as_previous()
        except HostError as error:
            self.outcome = SWAPPED
            raise HostError(
                f"The new {self.name} serves, but the old one couldn't be kept as {self.operations.previous_name}: "
                f"{error.message} Run this again."
            ) from error

    # Rollback

    def _rolled_back(self, error: HostError, new: str) -> HostError:
        """Restore the old container; returns the error with the outcome."""
        self.outcome = FAILED
        message = error.message
        try:
            with self.host.phase("put_back"):
                self.docker.await_answer(ENGINE_PATIENCE)
                message += self.record_failure(new, message)
                return HostError(f"{message}\n{self._give_up(new)}")
        except HostError as trouble:
            by_hand = f" Run this again, or start it by hand: docker start {self.old['Id'][:12]}" if self.old else ""
            return HostError(f"{message}\nAND THE OLD CONTAINER COULDN'T BE PUT BACK: {trouble.message}{by_hand}")

    def record_failure(self, container: str, message: str) -> str:
        """Record how a container failed; returns the end of its log for the message."""
        found = self.docker.container(container)
        if found is None or found["State"]["Status"] == "created":
            return ""
        lines = log_lines(self.docker, container)
        image = image_of(found)
        self.casualty = {
            "id": container,
            "image": image,
            "digest": digest(image, self.docker.image(found["Image"])),
            "version": self.gate.version,
            "exit_code": None if found["State"]["Running"] else found["State"]["ExitCode"],
            "log": lines,
        }
        excerpt = log_excerpt(lines)
        return f"\n{misfit(self.docker, container)}{excerpt}" if EXEC_FORMAT in message + excerpt else excerpt

    def _give_up(self, new: str) -> str:
        gone = self.clear_away(new)
        old = self.operations.set_aside() or self.operations.find(self.name)
        if not old:
            return f"{gone}; there was no earlier {self.name} to put back."
        self.operations.put_back(old)
        image = image_of(old)
        try:
            self.gate.wait(old["Id"], successes=1, of_new=False)
        except GateError as error:
            return f"{gone}; the old one ({image}) is back, but is not healthy: {error.message}"
        self.outcome = ROLLED_BACK
        return f"{gone}; the old one is back and serves ({image})."

    def clear_away(self, failed: str) -> str:
        """Remove a new container. A previous one whose restore failed becomes the previous one again."""
        operations = self.operations
        found = self.docker.container(failed)
        previous = f"The failed container is {operations.previous_name} again"
        if found and found["Name"] == f"/{operations.previous_name}":
            return previous
        if found and operations.find(operations.withdrawn_name):
            operations.stop(found)
            operations.rename(failed, operations.previous_name)
            return previous
        if found:
            operations.remove(failed)
        return "The failed container was removed"

    # Stand-in

    def _start_stand_in(self, old: Mapping[str, Any] | None) -> None:
        """Where a stand-in is declared and the old container serves on published ports."""
        wanted = self.spec.get("stand_in") and old and old["State"]["Running"] and published(old)
        if not wanted or not old or self.stand_in.answers:
            return
        try:
            self.gate.wait(old["Id"], successes=1, patience=SERVING_PATIENCE, of_new=False)
        except GateError as error:
            self.host.warn(f"no stand-in was started for {self.name}, because it is not healthy now: {error.message}")
            return
        with self.host.phase("stand_in"):
            self.stand_in.take_over(old, self.gate.wait_for_stand_in)

    @contextmanager
    def ending_stand_in(self) -> Iterator[None]:
        """At the end, remove a stand-in, if the container itself serves."""
        try:
            yield
        except HostError as error:
            error.message += self._end_stand_in()
            raise
        trouble = self._end_stand_in()
        if trouble:
            raise HostError(trouble.strip())

    def _end_stand_in(self) -> str:
        if not self.stand_in.answers:
            return ""
        if not self.host.check_mode:
            try:
                current = self.operations.find(self.name)
                if current is None:
                    raise HostError(f"There is no container {self.name}.")
                self.gate.wait(current["Id"], successes=1, patience=OLD_PATIENCE, of_new=False)
            except HostError as error:
                name = self.stand_in.name
                return f"\n{name}, a second container of the old image, serves in its place for now. {error.message}"
        try:
            with self.host.phase("stand_in"):
                self.stand_in.leave()
        except HostError as error:
            return f"\n{self.stand_in.name} can't be removed; run this again to remove it. {error.message}"
        return ""
