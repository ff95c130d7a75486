# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers: replaced as a transaction.

While a container is being replaced the old one is called <name>-replaced and the new one <name>; on success the old one
becomes <name>-previous. So whatever ends a call half-way, the names tell the next one where it stopped:

* <name>-next: created and never started; thrown away.
* <name>-replaced without <name>: the new one had not been started; the old one serves again at once.
* <name>-replaced beside <name>: the new one has not proven itself, unless it has its restart policy by now; it passes
  its gate now, or the old one comes back.
* <name>-withdrawn: the same, where the new one is the previous one put back; if it fails it is the previous one again.
* <name>-stand-in: a second one of the old image that answers meanwhile, where that is declared (see stand_in.py).
* <name> alone, stopped or about to be (restart policy "no" though declared otherwise): the stop was interrupted; it
  serves again.

Whatever fails within a call goes back the same way, so that there is one way only.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import Any

from .._common.http import Ways
from . import container_body as declared
from .docker import Docker, DockerError, container_name
from .gate import Gate, GateError, about, ask, is_good, last_answer
from .host import Glance, Host, HostError, Spec
from .images import misfit, refuse_other_architecture
from .ports import listeners
from .published import ENGINE_PATIENCE, outside_url, restart_engine, restart_loses
from .registry import pull
from .stand_in import StandIn, published
from .vitals import hopeless, last_lines, paused, restart_count, said

SETTLE = 1.0
UNGATED_PATIENCE = 120.0
# The old one served before.
OLD_PATIENCE = 15.0
# One that serves answers at once, and one of its answers may be lost.
SERVING_PATIENCE = 3.0
# Good enough for one answer; a container that needs more is one for the call itself to wait for.
GLANCE_PATIENCE = 0.5
REMOVAL_PATIENCE = 10.0
# What the engine says of a port that it has given away, by its own books.
PORT_GIVEN = "port is already allocated"

EXEC_FORMAT = "exec format error"

# What came of a call.
UNCHANGED, SWAPPED, RESTORED, ROLLED_BACK, FAILED = "unchanged", "swapped", "restored", "rolled_back", "failed"


def ensure_container(host: Host, docker: Docker, spec: Spec, logins: Sequence[Spec]) -> dict[str, Any]:
    """Bring one container to its declared state; returns what runs now."""
    return Container(host, docker, spec, logins).ensure()


class Container:
    """One declared container."""

    def __init__(self, host: Host, docker: Docker, spec: Spec, logins: Sequence[Spec]) -> None:
        self.host = host
        self.docker = docker
        self.spec = spec
        self.logins = logins
        self.name: str = spec["name"]
        self.resource = f"container {self.name}"
        self.replaced_name = f"{self.name}-replaced"
        self.withdrawn_name = f"{self.name}-withdrawn"
        self.previous_name = f"{self.name}-previous"
        self.next_name = f"{self.name}-next"
        self.stand_in = StandIn(host, docker, spec)
        self.outcome = UNCHANGED
        # Where that which serves again was found.
        self.recovered_from = ""
        self.old: Mapping[str, Any] | None = None
        # The one that failed: id, image, digest, version as far as it said one, exit_code and log.
        self.casualty: dict[str, Any] | None = None
        self._stopping = False
        self._version: str | None = None

    def ensure(self) -> dict[str, Any]:
        with self._relieved():
            current = self.recover()
            image = self.image()
            replaced = not self._matches(current, image)
            if replaced:
                self._replace(current, image)
            elif current is not None:
                self._update_in_place(current)
                self._check(current)
        return self._report(image, replaced=replaced)

    def restore(self, wanted: str | None) -> bool:
        """Put the previous one back in place of the current one, which becomes the previous one.

        `wanted`: the image that is to serve then, as a reference or a digest. Without it, a call that finds a
        replacement interrupted takes undoing that for what was meant. False where the previous one is of another
        image, or gone, and the declared one is of this one: then that is to take its place.
        """
        with self._relieved():
            return self._restore(wanted)

    def _restore(self, wanted: str | None) -> bool:
        current = self.recover(finish=False)
        previous = self.find(self.previous_name)
        interrupted = bool(self.recovered_from) and self.recovered_from != self.withdrawn_name
        if current and (self._runs(current, wanted) if wanted else interrupted):
            self._check(current)
            return True
        if wanted and not (previous and self._runs(previous, wanted)) and self._declares(wanted):
            return False
        if previous is None:
            raise HostError(f"There is no {self.previous_name} that could be put back; nothing was stopped.")
        if wanted and not self._runs(previous, wanted):
            raise HostError(
                f"{self.previous_name} is of the image {image_of(previous)}, not of {wanted}; nothing was stopped. "
                "Roll that image out instead."
            )
        before = _spec_of(current) if current else ""
        with self.host.change(self.resource, "restore", before, _spec_of(previous)) as apply:
            if apply:
                self._switch(previous["Id"], current, self.withdrawn_name)
            self.outcome = RESTORED
        return True

    # What is there

    def as_declared(self, image: Mapping[str, Any] | None) -> bool:
        """Whether the container runs, of this image and with these settings."""
        current = self.find(self.name)
        if not current or not current["State"]["Running"]:
            return False
        return self._matches(current, image) and _limits(current["HostConfig"]) == self._wanted_limits()

    def _matches(self, current: Mapping[str, Any] | None, image: Mapping[str, Any] | None) -> bool:
        if current is None:
            return False
        labels = current["Config"].get("Labels") or {}
        same_image = image is not None and current["Image"] == image["Id"]
        # A limit can be changed in place, but not taken away.
        limited = bool(current["HostConfig"].get("Memory")) == bool(declared.memory(self.spec))
        return same_image and limited and labels.get(declared.CONFIG_LABEL) == declared.fingerprint(self.spec)

    def find(self, name: str) -> dict[str, Any] | None:
        """A container by its name. One that is on its way out is waited for."""
        deadline = time.monotonic() + REMOVAL_PATIENCE
        while True:
            found = self.docker.container(name)
            leaves = found and found["State"]["Status"] in ("removing", "dead")
            if not leaves or self.host.check_mode or time.monotonic() > deadline:
                return found
            if found and found["State"]["Status"] == "dead":
                self.docker.request("DELETE", f"/containers/{found['Id']}", force=1, v=1)
            time.sleep(0.1)

    def _runs(self, container: Mapping[str, Any], wanted: str) -> bool:
        """Whether a container is of an image, by reference or by digest."""
        references = [container["Image"], image_of(container)]
        references += (self.docker.image(container["Image"]) or {}).get("RepoDigests") or []
        digests = [reference.rpartition("@")[2] for reference in references if "sha256:" in reference]
        return wanted in references or ("sha256:" in wanted and wanted.rpartition("@")[2] in digests)

    def _declares(self, wanted: str) -> bool:
        reference: str = self.spec["image"]
        return wanted == reference or ("@" in reference and wanted.rpartition("@")[2] == reference.rpartition("@")[2])

    @property
    def pull_policy(self) -> str:
        return self.spec.get("pull") or ("missing" if "@sha256:" in self.spec["image"] else "always")

    def image(self) -> dict[str, Any] | None:
        """The local image behind the reference, pulled where needed; None in check mode where it isn't there yet."""
        reference = self.spec["image"]
        present = self.docker.image(reference)
        policy = self.pull_policy
        if policy == "never":
            if present is None and not self.host.check_mode:
                raise HostError(f"The image {reference} isn't on this host, and pull is set to never.")
            return present
        if present is not None and policy == "missing":
            return present
        if self.host.check_mode:
            self.host.would_act()
            if present is not None:
                return present
            with self.host.change(f"image {reference}", "pull", after=f"{reference}\n"):
                return None
        with self.host.phase("pull"):
            pull(self.host, self.spec, self.logins)
        pulled = self.docker.image(reference)
        if pulled is None:
            raise HostError(f"The image {reference} was pulled, and yet the engine doesn't know it.")
        if present is None or present["Id"] != pulled["Id"]:
            with self.host.change(f"image {reference}", "pull", _line(present), _line(pulled)):
                pass
        return pulled

    # Half-way states

    def recover(self, *, finish: bool = True) -> Mapping[str, Any] | None:
        """What serves under the name, once what an interrupted call left behind is put right.

        A new one that hasn't proven itself does it now, where it is the declared one and `finish` is set.
        """
        current = self.find(self.name)
        if current and current["State"].get("Paused"):
            # Somebody looks at it, or keeps it from doing something: nothing that is ours to end.
            raise HostError(f"{paused(current)} lets it go on. Nothing was changed; run this again then.")
        self.stand_in.adopt()
        self._discard_next()
        current = self.find(self.name)
        aside = self._aside()
        if aside is None and current is None:
            aside = self.find(self.previous_name)
        if aside is None:
            return self._awake(current) if current else None
        if current and _proven(current):
            return self._tidied(current, aside)
        if current and finish and self._promising(current):
            return self._finished(current, aside)
        left = str(aside["Name"]).lstrip("/")
        with self.host.change(
            self.resource, "restore", after=f"an interrupted replacement left {left}; it serves again\n"
        ) as apply:
            if apply:
                if current:
                    self._clear_away(current["Id"])
                self._wake(aside)
        self.outcome, self.recovered_from = RESTORED, left
        return self.find(self.name) if apply else aside

    def _discard_next(self) -> None:
        leftover = self.find(self.next_name)
        if leftover:
            with self.host.change(f"container {self.next_name}", "remove") as apply:
                if apply:
                    self._remove(leftover["Id"])

    def _aside(self) -> dict[str, Any] | None:
        """The one that serves again if the new one fails."""
        return self.find(self.replaced_name) or self.find(self.withdrawn_name)

    def _promising(self, unproven: Mapping[str, Any]) -> bool:
        """Whether proving it is worth a try: one that has ended by itself had its chance."""
        fresh = unproven["State"]["Running"] or unproven["State"]["Status"] == "created"
        return fresh and self._matches(unproven, self.docker.image(self.spec["image"]))

    def _tidied(self, proven: Mapping[str, Any], aside: Mapping[str, Any]) -> Mapping[str, Any]:
        left = str(aside["Name"]).lstrip("/")
        with self.host.change(self.resource, "finish", f"{left} is kept\n", f"{self.previous_name} is kept\n") as apply:
            if apply:
                self._keep_the_old_one()
        if left == self.withdrawn_name:
            self.recovered_from = self.name
        return proven

    def _finished(self, unproven: Mapping[str, Any], aside: Mapping[str, Any]) -> Mapping[str, Any] | None:
        self.old = aside
        with self.host.change(self.resource, "finish", f"{unproven['State']['Status']}\n", "running\n") as apply:
            if apply:
                self._prove(unproven["Id"])
            self.outcome = SWAPPED
        return self.find(self.name) if apply else unproven

    def _awake(self, current: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """A container that is stopped, or is being stopped by the engine for a call that is gone, serves again."""
        running = current["State"]["Running"]
        if running and not _being_stopped(current):
            return current
        status = "being stopped" if running else current["State"]["Status"]
        with self.host.change(self.resource, "start", f"{status}\n", "running\n") as apply:
            if apply:
                self._wake(current)
        self.outcome, self.recovered_from = RESTORED, self.name
        return self.find(self.name) if apply else current

    def _wake(self, old: Mapping[str, Any]) -> None:
        try:
            self._put_back(old)
        except HostError as error:
            # What is to replace it may well start.
            self.host.warn(f"{self.resource} had been stopped and doesn't start again: {error.message}")

    # Unchanged

    def _check(self, current: Mapping[str, Any]) -> None:
        if isinstance(self.host, Glance):
            self._gate(current["Id"], successes=1, patience=GLANCE_PATIENCE)
        elif not self.host.check_mode:
            try:
                with self.host.phase("gate"):
                    self._gate(current["Id"], successes=1 if self.outcome == UNCHANGED else self._successes)
            except GateError as error:
                raise GateError(error.message + self._last_words(current["Id"], error.message)) from error

    def _update_in_place(self, current: Mapping[str, Any]) -> None:
        """The memory limit and the restart policy change without a restart."""
        before = _limits(current["HostConfig"])
        after = self._wanted_limits()
        if before == after:
            return
        with self.host.change(self.resource, "update", f"{before}\n", f"{after}\n") as apply:
            if apply:
                # Swap as on creation; the engine refuses a memory limit above the swap limit of before.
                self.docker.post(f"/containers/{current['Id']}/update", {**after, "MemorySwap": after["Memory"] * 2})

    def _wanted_limits(self) -> dict[str, Any]:
        return {"Memory": declared.memory(self.spec), "RestartPolicy": declared.restart_policy(self.spec)}

    # Replacing

    def _replace(self, current: Mapping[str, Any] | None, image: Mapping[str, Any] | None) -> None:
        before = _spec_of(current) if current else ""
        action = "replace" if current else "create"
        refuse_other_architecture(self.docker, self.spec["image"], image)
        self._refuse_taken_ports(current)
        with self.host.change(self.resource, action, before, declared.shown(self.spec)) as apply:
            if apply:
                with self.host.phase("create"):
                    new = self._create()
                self._switch(new, current, self.replaced_name)
            self.outcome = SWAPPED

    def _create(self) -> str:
        body = declared.body(self.spec)
        try:
            try:
                new = str(self.docker.post("/containers/create", body, name=self.next_name)["Id"])
            except DockerError as error:
                if error.status != 409:
                    raise
                # A call that is gone had asked for it a moment ago.
                self._discard_next()
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

    def _switch(self, new: str, old: Mapping[str, Any] | None, aside: str) -> None:
        """The old one stops and steps aside, the new one starts and proves itself; or all is as it was."""
        self.old = old
        try:
            self._refuse_unreachable(old)
            self._cover(old)
        except HostError as error:
            prepared = self.find(self.next_name)
            if prepared:
                self._remove(prepared["Id"])
            raise HostError(f"The container {self.name} stays; nothing was stopped. {error.message}") from error
        try:
            if old:
                self._stop(old)
                self._rename(old["Id"], aside)
            self._rename(new, self.name)
        except HostError as error:
            raise self._undone(error, new) from error
        self._prove(new)

    def _refuse_unreachable(self, old: Mapping[str, Any] | None) -> None:
        """Where the old one is answered on the loopback address alone, the new one would not be reached either."""
        url = self._gate_spec.get("url")
        if not url or not old or not old["State"]["Running"] or self.stand_in.answers:
            return
        outside, patience = outside_url(old, url), float(self._gate_spec.get("request_timeout") or 3)
        if not outside or not is_good(ask(url, patience)):
            return
        answer = ask(outside, patience)
        if not is_good(answer):
            raise HostError(f"It answers on this host, and not by the host's address. {last_answer(outside, answer)}")

    def _stop(self, container: Mapping[str, Any]) -> None:
        # With the policy "always" it would come back beside the new one when the engine restarts. And it tells the next
        # call that a stop was under way, which the engine finishes even if this call is gone.
        self.docker.post(f"/containers/{container['Id']}/update", {"RestartPolicy": {"Name": "no"}})
        self._stopping = True
        with self.host.phase("stop"):
            self._await_stop(container["Id"])

    def _await_stop(self, container: str) -> None:
        seconds = declared.stop_timeout(self.spec)
        self.docker.post(f"/containers/{container}/stop", t=seconds, timeout=seconds + 30)

    def _prove(self, new: str) -> None:
        """Start, pass the gate, and keep the old one as the previous; or put it back."""
        try:
            with self.host.phase("start"):
                self._start(new)
            with self.host.phase("gate"):
                self._gate(new, successes=self._successes, hold=float(self._gate_spec.get("hold") or 0))
            self._set_restart_policy(new)
        except HostError as error:
            raise self._undone(error, new) from error
        try:
            self._keep_the_old_one()
        except HostError as error:
            self.outcome = SWAPPED
            raise HostError(
                f"The new {self.name} serves, but the old one couldn't be kept as {self.previous_name}: "
                f"{error.message} Run this again."
            ) from error

    def _keep_the_old_one(self) -> None:
        aside = self._aside()
        if aside:
            previous = self.find(self.previous_name)
            if previous:
                self._remove(previous["Id"])
            self._rename(aside["Id"], self.previous_name)

    def _start(self, new: str) -> None:
        try:
            self._begin(new)
        except DockerError as error:
            taken = "\n".join(self._taken_ports(None))
            raise HostError(f"The container {self.name} doesn't start: {taken or error.message}") from error

    def _begin(self, container: str) -> None:
        """Start it. An engine that was killed in a start may hold a port for ever after that nobody has."""
        start = f"/containers/{container}/start"
        try:
            self.docker.post(start)
        except DockerError as error:
            if PORT_GIVEN not in error.message or self._taken_ports(None) or not self._restarts_engine():
                raise
            self.docker.post(start)

    def _restarts_engine(self) -> bool:
        """Unless that stopped a container."""
        if restart_loses(self.docker):
            return False
        self.host.warn("the Docker engine held a port that no container and no process has; it was restarted")
        return restart_engine(self.host, self.docker)

    # Going back

    def _undone(self, error: HostError, new: str) -> HostError:
        """All as it was before, and an error that says so."""
        self.outcome = FAILED
        message = error.message
        try:
            with self.host.phase("put_back"):
                self.docker.await_answer(ENGINE_PATIENCE)
                message += self._last_words(new, message)
                return HostError(f"{message}\n{self._give_up(new)}")
        except HostError as trouble:
            by_hand = f" Run this again, or start it by hand: docker start {self.old['Id'][:12]}" if self.old else ""
            return HostError(f"{message}\nAND THE OLD CONTAINER COULDN'T BE PUT BACK: {trouble.message}{by_hand}")

    def _last_words(self, container: str, message: str) -> str:
        """Remember how a container failed, and say it."""
        found = self.docker.container(container)
        if found is None or found["State"]["Status"] == "created":
            return ""
        lines = last_lines(self.docker, container)
        image = image_of(found)
        self.casualty = {
            "id": container,
            "image": image,
            "digest": digest(image, self.docker.image(found["Image"])),
            "version": self._version,
            "exit_code": None if found["State"]["Running"] else found["State"]["ExitCode"],
            "log": lines,
        }
        words = said(lines)
        return f"\n{misfit(self.docker, container)}{words}" if EXEC_FORMAT in message + words else words

    def _give_up(self, new: str) -> str:
        gone = self._clear_away(new)
        old = self._aside() or self.find(self.name)
        if not old:
            return f"{gone}; there was no earlier {self.name} to put back."
        self._put_back(old)
        image = image_of(old)
        try:
            self._gate(old["Id"], successes=1, of_new=False)
        except GateError as error:
            return f"{gone}; the old one ({image}) is back, but see: {error.message}"
        self.outcome = ROLLED_BACK
        return f"{gone}; the old one is back and serves ({image})."

    def _clear_away(self, failed: str) -> str:
        """A new one is removed. A previous one that was put back in vain is the previous one again."""
        found = self.docker.container(failed)
        previous = f"The failed container is {self.previous_name} again"
        if found and found["Name"] == f"/{self.previous_name}":
            return previous
        if found and self.find(self.withdrawn_name):
            self._stop(found)
            self._rename(failed, self.previous_name)
            return previous
        if found:
            self._remove(failed)
        return "The failed container was removed"

    def _put_back(self, old: Mapping[str, Any]) -> None:
        if old["State"]["Running"] and (self._stopping or _being_stopped(old)):
            self._await_stop(old["Id"])
        if old["Name"] != f"/{self.name}":
            self._rename(old["Id"], self.name)
        self._set_restart_policy(old["Id"])
        self._begin(old["Id"])

    def _set_restart_policy(self, container: str) -> None:
        policy = declared.restart_policy(self.spec)
        self.docker.post(f"/containers/{container}/update", {"RestartPolicy": policy})

    def _rename(self, container: str, name: str) -> None:
        self.docker.post(f"/containers/{container}/rename", name=name)

    def _remove(self, container: str) -> None:
        seconds = min(declared.stop_timeout(self.spec), 10)
        self.docker.request("POST", f"/containers/{container}/stop", t=seconds, timeout=seconds + 30)
        self.docker.delete(f"/containers/{container}", force=1, v=1)

    # Meanwhile

    def _cover(self, old: Mapping[str, Any] | None) -> None:
        """Have somebody stand in for the old one, where that is wanted and there is anything to lose."""
        wanted = self.spec.get("stand_in") and old and old["State"]["Running"] and published(old)
        if not wanted or not old or self.stand_in.answers:
            return
        try:
            self._gate(old["Id"], successes=1, patience=SERVING_PATIENCE, of_new=False)
        except GateError as error:
            self.host.warn(f"nobody stands in for {self.name}, as it doesn't serve now: {error.message}")
            return
        with self.host.phase("stand_in"):
            self.stand_in.take_over(old, self._stand_in_serves)

    def _stand_in_serves(self, container: str, ways: Ways) -> None:
        try:
            self._gate(container, successes=self._successes, of_new=False, ways=ways)
        except GateError as error:
            raise GateError(error.message + said(last_lines(self.docker, container))) from error

    @contextmanager
    def _relieved(self) -> Iterator[None]:
        """Whoever stands in at the end leaves, if there is somebody to leave it to."""
        try:
            yield
        except HostError as error:
            error.message += self._relieve()
            raise
        trouble = self._relieve()
        if trouble:
            raise HostError(trouble.strip())

    def _relieve(self) -> str:
        if not self.stand_in.answers:
            return ""
        if not self.host.check_mode:
            try:
                current = self.find(self.name)
                if current is None:
                    raise HostError(f"There is no container {self.name}.")
                self._gate(current["Id"], successes=1, patience=OLD_PATIENCE, of_new=False)
            except HostError as error:
                name = self.stand_in.name
                return f"\n{name}, a second one of the image of before, answers in its place for now. {error.message}"
        try:
            with self.host.phase("stand_in"):
                self.stand_in.leave()
        except HostError as error:
            return f"\n{self.stand_in.name} can't be removed; the next call does it. {error.message}"
        return ""

    # Ports

    def _refuse_taken_ports(self, current: Mapping[str, Any] | None) -> None:
        taken = self._taken_ports(current)
        if taken:
            raise HostError(f"The container {self.name} can't start; nothing was stopped. {' '.join(taken)}")

    def _taken_ports(self, current: Mapping[str, Any] | None) -> list[str]:
        """What is in the way of the declared ports. The container to be replaced holds its own by right."""
        own = _published(current) if current and current["State"]["Running"] else set()
        taken = []
        for _address, outer, inner in map(declared.port, self.spec.get("ports") or []):
            if (outer, inner.rpartition("/")[2]) in own or not inner.endswith("/tcp"):
                continue
            # A proxy of the engine's, where no container has the port, is one that _begin deals with.
            strangers = [name for name in listeners(int(outer)) if not name.startswith("docker-proxy ")]
            holders = self._containers_on(int(outer)) or strangers
            if holders:
                taken.append(f"Port {outer} is taken by {', '.join(holders)}: stop that, or declare another port.")
        return taken

    def _containers_on(self, port: int) -> list[str]:
        return [
            f"the container {container_name(entry)}"
            for entry in self.docker.get("/containers/json") or []
            if any(published.get("PublicPort") == port for published in entry.get("Ports") or [])
        ]

    # Health

    @property
    def _gate_spec(self) -> Spec:
        return self.spec.get("gate") or {}

    @property
    def _successes(self) -> int:
        return int(self._gate_spec.get("successes") or 2)

    def _gate(
        self,
        container: str,
        *,
        successes: int,
        patience: float | None = None,
        hold: float = 0,
        of_new: bool = True,
        ways: Ways | None = None,
    ) -> None:
        """Wait until it is healthy, for so many seconds at most, and see it stay so for a while."""
        spec = dict(self._gate_spec)
        if patience:
            spec["timeout"] = patience
        if not of_new:
            spec["version"] = None
        found = self.docker.container(container)
        restarts = restart_count(found)
        gate: Gate | None = None
        if self._gate_spec:
            spec["published_url"] = outside_url(found, spec["url"]) if found else ""
            ways = ways or self.stand_in.ways(container)
            gate = Gate(spec, lambda: hopeless(self.docker, container, restarts), ways)
        try:
            if gate:
                gate.wait(successes)
                if hold:
                    gate.hold(hold)
            else:
                self._wait_without_gate(container, restarts, patience or (UNGATED_PATIENCE if of_new else OLD_PATIENCE))
        except GateError as error:
            self._version = gate.report()["version"] if gate and of_new else None
            raise GateError(f"The container {self.name} isn't healthy. {error.message}") from error

    def _wait_without_gate(self, container: str, restarts: int, patience: float) -> None:
        """Its own health check decides where it has one; else it must at least stay up for a moment."""
        started = time.monotonic()
        while True:
            why = hopeless(self.docker, container, restarts)
            if why:
                raise GateError(why)
            state = (self.docker.container(container) or {}).get("State") or {}
            health = (state.get("Health") or {}).get("Status", "none")
            waited = time.monotonic() - started
            if health == "healthy" or (health == "none" and (waited > SETTLE or _age(state) > SETTLE)):
                return
            if waited > patience:
                raise GateError(f"Its health check still says {health} after {patience:g} s.")
            time.sleep(0.25)

    def _report(self, image: Mapping[str, Any] | None, *, replaced: bool) -> dict[str, Any]:
        current = self.docker.container(self.name)
        gate = self.spec.get("gate") or {}
        running = bool(current and current["State"]["Running"])
        report = {
            "id": current["Id"] if current else None,
            "image": self.spec["image"],
            "digest": digest(self.spec["image"], image),
            "status": current["State"]["Status"] if current else "absent",
            "replaced": replaced,
            "about": None,
        }
        if gate.get("about_url") and running and not (replaced and self.host.check_mode):
            report["about"] = about(gate["about_url"], float(gate.get("request_timeout") or 3))
        return report


def digest(reference: str, image: Mapping[str, Any] | None) -> str | None:
    """The registry's digest of an image: the declared one, or the one it was pulled by."""
    if "@" in reference:
        return reference.partition("@")[2]
    repository = reference.rpartition(":")[0] if ":" in reference.rpartition("/")[2] else reference
    for entry in (image or {}).get("RepoDigests") or []:
        name, _separator, found = str(entry).partition("@")
        if name == repository:
            return found
    return None


def _limits(host_config: Mapping[str, Any]) -> dict[str, Any]:
    policy = host_config.get("RestartPolicy") or {}
    return {
        "Memory": host_config.get("Memory") or 0,
        "RestartPolicy": {
            "Name": policy.get("Name") or "no",
            "MaximumRetryCount": policy.get("MaximumRetryCount") or 0,
        },
    }


def _published(container: Mapping[str, Any]) -> set[tuple[str, str]]:
    bindings = container["HostConfig"].get("PortBindings") or {}
    return {
        (binding["HostPort"], inner.rpartition("/")[2])
        for inner, entries in bindings.items()
        for binding in entries or []
    }


def _spec_of(container: Mapping[str, Any]) -> str:
    labels = container["Config"].get("Labels") or {}
    return str(labels.get(declared.SPEC_LABEL) or f"(not made by this collection: {image_of(container)})\n")


def image_of(container: Mapping[str, Any]) -> str:
    return str(container["Config"].get("Image") or container["Image"])


def _proven(container: Mapping[str, Any]) -> bool:
    """It runs with a restart policy, which it gets once it has passed its gate."""
    return bool(container["State"]["Running"] and _limits(container["HostConfig"])["RestartPolicy"]["Name"] != "no")


def _being_stopped(container: Mapping[str, Any]) -> bool:
    """Its restart policy is "no" though it was declared otherwise: its stop was asked for."""
    declaration = (container["Config"].get("Labels") or {}).get(declared.SPEC_LABEL) or "{}"
    wanted = json.loads(declaration).get("restart_policy") or "no"
    return bool(wanted != "no" and _limits(container["HostConfig"])["RestartPolicy"]["Name"] == "no")


def _line(image: Mapping[str, Any] | None) -> str:
    return f"{image['Id']}\n" if image else ""


def _age(state: Mapping[str, Any]) -> float:
    """Seconds since a container started."""
    started = datetime.fromisoformat(str(state["StartedAt"])[:19]).replace(tzinfo=timezone.utc)
    return time.time() - started.timestamp()
