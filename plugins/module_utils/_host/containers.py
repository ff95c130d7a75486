# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A declared container: compared, changed in place, replaced as a transaction, or put back.

While a container is being replaced the old one is called <name>-replaced and the new one <name>; on success the old one
becomes <name>-previous. So after an interrupted call, the names show the next call where it stopped:

* <name>-next: created and never started; removed.
* <name>-replaced without <name>: the new one had not been started; the old one serves again at once.
* <name>-replaced beside <name>: the new one has not passed its gate, unless it has its restart policy by now. It passes
  its gate now, or the old one comes back.
* <name>-withdrawn: the same, where the new one is the restored previous one; if it fails it becomes that again.
* <name>-stand-in: a second container of the old image that answers meanwhile, where that is declared (stand_in.py).
* <name> alone, stopped or about to be (restart policy "no" though declared otherwise): the stop was interrupted; it
  serves again.

A failure within a call is undone in the same way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from . import container_declaration as declared
from .container_state import bound_ports, digest, image_of, limits, recorded_declaration
from .docker import Docker
from .gate import GateError, about
from .host import DifferenceProbe, Host, HostError, Spec
from .image_requirements import refuse_other_architecture
from .interrupted_replacement import Recovery
from .port_conflicts import taken_ports
from .registry import ensure_image
from .replace_or_roll_back import RESTORED, SWAPPED, UNCHANGED, Replacement

# Enough for one response. For a slower container, the call itself waits.
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
        self.replacement = Replacement(host, docker, spec)
        self.recovery = Recovery(self.replacement)
        self.operations = self.replacement.operations

    def ensure(self) -> dict[str, Any]:
        with self.replacement.ending_stand_in():
            current = self.recovery.recover()
            image = ensure_image(self.host, self.docker, self.spec, self.logins)
            replaced = not declared.matches(self.spec, current, image)
            if replaced:
                self._replace(current, image)
            elif current is not None:
                self._update_in_place(current)
                self._check(current)
        return self._report(image, replaced=replaced)

    def restore(self, wanted: str | None) -> bool:
        """Put the previous container back in place of the current one, which becomes the previous one.

        `wanted`: the image that is to serve then, as a reference or a digest, or a container's id. Without it, a call
        that finds an interrupted replacement only undoes that. False where the previous container is of another image,
        or gone, and the declared one is of this image: then the caller replaces the container by the declared one.
        """
        with self.replacement.ending_stand_in():
            return self._restore(wanted)

    def _restore(self, wanted: str | None) -> bool:
        current = self.recovery.recover(finish=False)
        previous = self.operations.find(self.operations.previous_name)
        recovered_from = self.recovery.recovered_from
        interrupted = bool(recovered_from) and recovered_from != self.operations.withdrawn_name
        if current and (self._runs(current, wanted) if wanted else interrupted):
            self._check(current)
            return True
        if wanted and not (previous and self._runs(previous, wanted)) and self._declares(wanted):
            return False
        if previous is None:
            raise HostError(f"There is no {self.operations.previous_name} that could be restored; nothing was stopped.")
        if wanted and not self._runs(previous, wanted):
            raise HostError(
                f"{self.operations.previous_name} is of the image {image_of(previous)}, not of {wanted}; nothing was "
                "stopped. Roll that image out instead."
            )
        before = recorded_declaration(current) if current else ""
        with self.host.change(self.resource, "restore", before, recorded_declaration(previous)) as apply:
            if apply:
                self.replacement.switch(previous["Id"], current, self.operations.withdrawn_name)
            self.replacement.outcome = RESTORED
        return True

    def as_declared(self, image: Mapping[str, Any] | None) -> bool:
        """Whether the container runs, of this image and with the declared settings."""
        current = self.operations.find(self.name)
        if not current or not current["State"]["Running"]:
            return False
        wanted = declared.limits(self.spec)
        return declared.matches(self.spec, current, image) and limits(current["HostConfig"]) == wanted

    def _runs(self, container: Mapping[str, Any], wanted: str) -> bool:
        """Whether a container is the one with this id, or of an image, by reference or by digest."""
        references = [container["Id"], container["Image"], image_of(container)]
        references += (self.docker.image(container["Image"]) or {}).get("RepoDigests") or []
        digests = [reference.rpartition("@")[2] for reference in references if "sha256:" in reference]
        return wanted in references or ("sha256:" in wanted and wanted.rpartition("@")[2] in digests)

    def _declares(self, wanted: str) -> bool:
        reference: str = self.spec["image"]
        return wanted == reference or ("@" in reference and wanted.rpartition("@")[2] == reference.rpartition("@")[2])

    def _check(self, current: Mapping[str, Any]) -> None:
        gate = self.replacement.gate
        if isinstance(self.host, DifferenceProbe):
            gate.wait(current["Id"], successes=1, patience=GLANCE_PATIENCE)
        elif not self.host.check_mode:
            unchanged = self.replacement.outcome == UNCHANGED
            try:
                with self.host.phase("gate"):
                    gate.wait(current["Id"], successes=1 if unchanged else gate.successes)
            except GateError as error:
                excerpt = self.replacement.record_failure(current["Id"], error.message)
                raise GateError(error.message + excerpt) from error

    def _update_in_place(self, current: Mapping[str, Any]) -> None:
        """The memory limit and the restart policy change without a restart."""
        before = limits(current["HostConfig"])
        after = declared.limits(self.spec)
        if before == after:
            return
        with self.host.change(self.resource, "update", f"{before}\n", f"{after}\n") as apply:
            if apply:
                # Swap as on creation; the engine refuses a memory limit above the old swap limit.
                self.docker.post(f"/containers/{current['Id']}/update", {**after, "MemorySwap": after["Memory"] * 2})

    def _replace(self, current: Mapping[str, Any] | None, image: Mapping[str, Any] | None) -> None:
        before = recorded_declaration(current) if current else ""
        action = "replace" if current else "create"
        refuse_other_architecture(self.docker, self.spec["image"], image)
        own = bound_ports(current) if current and current["State"]["Running"] else ()
        taken = taken_ports(self.docker, self.spec, own)
        if taken:
            raise HostError(f"The container {self.name} can't start; nothing was stopped. {' '.join(taken)}")
        with self.host.change(self.resource, action, before, declared.shown(self.spec)) as apply:
            if apply:
                with self.host.phase("create"):
                    new = self.operations.create()
                self.replacement.switch(new, current, self.operations.replaced_name)
            self.replacement.outcome = SWAPPED

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
