# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers: replaced as a transaction.

While a container is being replaced the old one is called <name>-replaced and the new one <name>; on success the old one
becomes <name>-previous. So whatever ends a call half-way, the names tell the next one where it stopped:

* <name>-next: created and never started; thrown away.
* <name>-replaced without <name>: the new one had not been started; the old one serves again at once.
* <name>-replaced beside <name>: the new one has not proven itself; it passes its gate now, or the old one comes back.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from . import container_body as declared
from .docker import Docker, DockerError, container_name
from .gate import GateError, about, wait
from .host import Glance, Host, HostError, Spec
from .ports import listeners
from .redact import redacted
from .registry import pull

SETTLE = 1.0
LINE = 400
UNGATED_PATIENCE = 120.0
# The old one served before; the new one's gate needn't fit it.
OLD_PATIENCE = 15.0
# Good enough for one answer; a container that needs more is one for the call itself to wait for.
GLANCE_PATIENCE = 0.5


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
        self.previous_name = f"{self.name}-previous"
        self.next_name = f"{self.name}-next"

    def ensure(self) -> dict[str, Any]:
        current = self._repaired()
        image = self._image()
        replaced = not self._matches(current, image)
        if replaced:
            self._replace(current)
        elif current is not None:
            self._keep(current)
        return self._report(image, replaced=replaced)

    # What is there

    def _matches(self, current: Mapping[str, Any] | None, image: Mapping[str, Any] | None) -> bool:
        if current is None:
            return False
        labels = current["Config"].get("Labels") or {}
        same_image = image is not None and current["Image"] == image["Id"]
        # A limit can be changed in place, but not taken away.
        limited = bool(current["HostConfig"].get("Memory")) == bool(declared.memory(self.spec))
        return same_image and limited and labels.get(declared.CONFIG_LABEL) == declared.fingerprint(self.spec)

    def _image(self) -> dict[str, Any] | None:
        """The local image behind the reference, pulled where needed; None in check mode where it isn't there yet."""
        reference = self.spec["image"]
        present = self.docker.image(reference)
        policy = self.spec.get("pull") or ("missing" if "@sha256:" in reference else "always")
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

    def _repaired(self) -> Mapping[str, Any] | None:
        """What serves under the name, once what an interrupted call left behind is put right."""
        leftover = self.docker.container(self.next_name)
        if leftover:
            with self.host.change(f"container {self.next_name}", "remove") as apply:
                if apply:
                    self._remove(leftover)
        current = self.docker.container(self.name)
        if current:
            return current
        for name in (self.replaced_name, self.previous_name):
            old = self.docker.container(name)
            if old:
                with self.host.change(
                    self.resource, "restore", after=f"an interrupted replacement left {name}; it serves again\n"
                ) as apply:
                    if apply:
                        self._put_back(old)
                return self.docker.container(self.name) if apply else old
        return None

    # Unchanged

    def _keep(self, current: Mapping[str, Any]) -> None:
        self._update_in_place(current)
        unproven = self.docker.container(self.replaced_name)
        started = not current["State"]["Running"]
        if started or unproven:
            action = "start" if started else "finish"
            with self.host.change(self.resource, action, f"{current['State']['Status']}\n", "running\n") as apply:
                if apply:
                    self._prove(current["Id"], unproven)
        elif isinstance(self.host, Glance):
            self._gate(current["Id"], successes=1, patience=GLANCE_PATIENCE)
        elif not self.host.check_mode:
            self._gate(current["Id"], successes=1)

    def _update_in_place(self, current: Mapping[str, Any]) -> None:
        """The memory limit and the restart policy change without a restart."""
        before = _limits(current["HostConfig"])
        policy = declared.restart_policy(self.spec)
        limit = declared.memory(self.spec)
        after = {"Memory": limit, "RestartPolicy": policy}
        if before == after:
            return
        with self.host.change(self.resource, "update", f"{before}\n", f"{after}\n") as apply:
            if apply:
                # Swap as on creation; the engine refuses a memory limit above the swap limit of before.
                self.docker.post(f"/containers/{current['Id']}/update", {**after, "MemorySwap": limit * 2})

    # Replacing

    def _replace(self, current: Mapping[str, Any] | None) -> None:
        before = _spec_of(current) if current else ""
        action = "replace" if current else "create"
        self._refuse_taken_ports(current)
        with self.host.change(self.resource, action, before, declared.shown(self.spec)) as apply:
            if not apply:
                return
            new = self._create()
            old = self._settle_unproven(current)
            if old:
                self._stop(old, self.replaced_name)
            self._rename(new, self.name)
            self._prove(new, self.docker.container(self.replaced_name))

    def _settle_unproven(self, current: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        """Of an interrupted replacement the proven container is the one worth keeping."""
        if current and self.docker.container(self.replaced_name):
            self._remove(current)
            return None
        return current

    def _create(self) -> str:
        try:
            new = str(self.docker.post("/containers/create", declared.body(self.spec), name=self.next_name)["Id"])
        except DockerError as error:
            raise HostError(
                f"The container {self.name} can't be created; nothing was stopped. {error.message}"
            ) from error
        for network in list(self.spec.get("networks") or [])[1:]:
            self.docker.post(
                f"/networks/{network}/connect", {"Container": new, "EndpointConfig": declared.endpoint(self.spec)}
            )
        return new

    def _stop(self, container: Mapping[str, Any], name: str) -> None:
        seconds = declared.stop_timeout(self.spec)
        # With the policy "always" it would come back beside the new one when the engine restarts.
        self.docker.post(f"/containers/{container['Id']}/update", {"RestartPolicy": {"Name": "no"}})
        with self.host.phase("stop"):
            self.docker.post(f"/containers/{container['Id']}/stop", t=seconds, timeout=seconds + 30)
        self._rename(container["Id"], name)

    def _prove(self, new: str, old: Mapping[str, Any] | None) -> None:
        """Start, pass the gate, and keep the old one as the previous; or put it back."""
        try:
            self._start(new)
            self._gate(new, successes=int((self.spec.get("gate") or {}).get("successes") or 2))
        except HostError as error:
            raise HostError(f"{error.message}{self._last_words(new)}\n{self._give_up(new, old)}") from error
        self._set_restart_policy(new)
        if old:
            previous = self.docker.container(self.previous_name)
            if previous:
                self._remove(previous)
            self._rename(old["Id"], self.previous_name)

    def _start(self, new: str) -> None:
        try:
            self.docker.post(f"/containers/{new}/start")
        except DockerError as error:
            taken = "\n".join(self._taken_ports(None))
            raise HostError(f"The container {self.name} doesn't start: {taken or error.message}") from error

    def _give_up(self, new: str, old: Mapping[str, Any] | None) -> str:
        try:
            self._remove({"Id": new})
            if not old:
                return f"The failed container was removed; there was no earlier {self.name} to put back."
            self._put_back(old)
        except HostError as error:
            by_hand = f" Start it by hand: docker start {old['Id'][:12]}" if old else ""
            return f"AND THE OLD CONTAINER COULDN'T BE PUT BACK: {error.message}{by_hand}"
        image = _image_of(old)
        try:
            self._gate(old["Id"], successes=1, patience=OLD_PATIENCE)
        except GateError as error:
            return f"The failed container was removed; the old one ({image}) is back, but see: {error.message}"
        return f"The failed container was removed; the old one is back and serves ({image})."

    def _put_back(self, old: Mapping[str, Any]) -> None:
        self._rename(old["Id"], self.name)
        self._set_restart_policy(old["Id"])
        self.docker.post(f"/containers/{old['Id']}/start")

    def _set_restart_policy(self, container: str) -> None:
        policy = declared.restart_policy(self.spec)
        self.docker.post(f"/containers/{container}/update", {"RestartPolicy": policy})

    def _rename(self, container: str, name: str) -> None:
        self.docker.post(f"/containers/{container}/rename", name=name)

    def _remove(self, container: Mapping[str, Any]) -> None:
        identity = container["Id"]
        seconds = min(declared.stop_timeout(self.spec), 10)
        self.docker.request("POST", f"/containers/{identity}/stop", t=seconds, timeout=seconds + 30)
        self.docker.delete(f"/containers/{identity}", force=1, v=1)

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
            holders = self._containers_on(int(outer)) or listeners(int(outer))
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

    def _gate(self, container: str, *, successes: int, patience: float | None = None) -> None:
        gate = self.spec.get("gate")
        restarts = (self.docker.container(container) or {}).get("RestartCount") or 0
        with self.host.phase("gate"):
            try:
                if gate:
                    limited = {**gate, "timeout": patience} if patience else gate
                    wait(limited, lambda: self._hopeless(container, restarts), successes=successes)
                else:
                    self._wait_without_gate(container, restarts, patience or UNGATED_PATIENCE)
            except GateError as error:
                raise GateError(f"The container {self.name} isn't healthy. {error.message}") from error

    def _wait_without_gate(self, container: str, restarts: int, patience: float) -> None:
        """Its own health check decides where it has one; else it must at least stay up for a moment."""
        started = time.monotonic()
        while True:
            why = self._hopeless(container, restarts)
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

    def _hopeless(self, container: str, restarts: int) -> str | None:
        found = self.docker.container(container)
        if found is None:
            return "It was removed while it was waited for."
        state = found["State"]
        if state.get("OOMKilled"):
            return f"It was killed for using more memory than its limit ({self.spec.get('memory')})."
        if state.get("Restarting") or (found.get("RestartCount") or 0) > restarts:
            return f"It keeps ending, with exit code {state['ExitCode']}."
        if not state["Running"]:
            return f"It ended with exit code {state['ExitCode']}. {state.get('Error') or ''}".rstrip()
        if (state.get("Health") or {}).get("Status") == "unhealthy":
            output = str(((state["Health"].get("Log") or [{}])[-1]).get("Output", "")).strip()
            return f"Its health check says unhealthy: {redacted(output[-400:])}"
        return None

    def _last_words(self, container: str) -> str:
        response = self.docker.request("GET", f"/containers/{container}/logs", stdout=1, stderr=1, tail=20)
        text = redacted(demultiplexed(response.body)).strip() if response.status == 200 else ""
        lines = [line if len(line) <= LINE else f"{line[:LINE]}…" for line in text.splitlines()]
        return "\n".join(["\nIts last lines:", *lines]) if lines else "\nIt wrote nothing."

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


def demultiplexed(stream: bytes) -> str:
    """The text of a log stream: frames of a kind, three zero bytes and a length; or plain, from a terminal."""
    text = b""
    rest = stream
    while len(rest) >= 8 and rest[0] in (0, 1, 2) and rest[1:4] == b"\0\0\0":
        length = int.from_bytes(rest[4:8], "big")
        text += rest[8 : 8 + length]
        rest = rest[8 + length :]
    return (text + rest).decode("utf-8", "replace")


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
    return str(labels.get(declared.SPEC_LABEL) or f"(not made by this collection: {_image_of(container)})\n")


def _image_of(container: Mapping[str, Any]) -> str:
    return str(container["Config"].get("Image") or container["Image"])


def _line(image: Mapping[str, Any] | None) -> str:
    return f"{image['Id']}\n" if image else ""


def _age(state: Mapping[str, Any]) -> float:
    """Seconds since a container started."""
    started = datetime.fromisoformat(str(state["StartedAt"])[:19]).replace(tzinfo=timezone.utc)
    return time.time() - started.timestamp()
