# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A rollout's step on a host: a container is swapped for the wanted one, put back, or only its image is pulled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

from .container_state import digest, image_of
from .containers import Container
from .docker import Docker
from .gate import version_of
from .host import Host, HostError, Spec, usual_umask
from .host_lock import one_at_a_time
from .image_requirements import refuse_other_architecture, requirements
from .published_ports import ENGINE_PATIENCE, ensure_published
from .registry import ensure_image, ensure_login, login_of, pull_policy
from .replace_or_roll_back import FAILED, RESTORED, ROLLED_BACK, UNCHANGED

PULLED = "pulled"
PHASES = ("pull", "create", "stand_in", "stop", "start", "gate", "put_back", "total")


def swap(
    host: Host,
    spec: Spec,
    logins: Sequence[Spec] = (),
    *,
    state: str = "swapped",
    wanted_version: str | None = None,
    wanted_image: str | None = None,
) -> tuple[dict[str, Any], str]:
    """Bring a container to `state`: swapped, restored or pulled. Returns the result, and why it failed, or "".

    The result always says what serves now; see the module's documentation for its shape.
    """
    host.declaration = spec["name"]
    return Swap(host, spec, logins, wanted_version, state).run(wanted_image)


class Swap:
    """One call."""

    def __init__(self, host: Host, spec: Spec, logins: Sequence[Spec], wanted_version: str | None, state: str) -> None:
        self.host = host
        self.state = state
        self.docker = Docker(host, None)
        gate = dict(spec.get("gate") or {})
        if gate and (wanted_version or state == "restored"):
            # The declared version is that of the declared image, not of the restored one.
            gate["version"] = wanted_version
        self.spec = {**spec, "gate": gate}
        self.logins = logins
        self.container = Container(host, self.docker, self.spec, logins)
        self.replacement = self.container.replacement
        self.needs: dict[str, Any] | None = None
        self.image: Mapping[str, Any] | None = None
        self.as_declared: bool | None = None
        self.wanted_version = wanted_version
        self._met = False

    def run(self, wanted_image: str | None) -> tuple[dict[str, Any], str]:
        problem = ""
        before: dict[str, Any] | None = None
        try:
            alone = nullcontext() if self.state == "pulled" else one_at_a_time(self.host)
            with usual_umask(), alone, self.host.phase("total"):
                before = self._serving()
                self._met = True
                self._act(wanted_image)
        except HostError as error:
            problem = error.message
        return self._result(before, problem), problem

    def _act(self, wanted_image: str | None) -> None:
        if self.wanted_version and not self.spec["gate"]:
            raise HostError("A wanted version needs a gate in the container's declaration that can check it.")
        if self.spec.get("stand_in"):
            self.replacement.stand_in.check()
        # Without it no container can be published, not even the one that serves now.
        ensure_published(self.host, self.docker, [self.spec], mend=self.state != "pulled")
        if self.state == "restored" and self.container.restore(wanted_image):
            return
        if self._pulls():
            login = login_of(self.spec, self.logins)
            if login:
                ensure_login(self.host, login)
            if self.state == "pulled":
                self.needs = requirements(self.host, self.docker, self.spec, self.logins)
        if self.state != "pulled":
            self.container.ensure()
            return
        changes = len(self.host.changes)
        if pull_policy(self.spec) == "never":
            self.image = self.docker.image(self.spec["image"])
        else:
            self.image = ensure_image(self.host, self.docker, self.spec, self.logins)
        refuse_other_architecture(self.docker, self.spec["image"], self.image)
        self.as_declared = self.container.as_declared(self.image)
        self.replacement.outcome = PULLED if len(self.host.changes) > changes else UNCHANGED

    def _pulls(self) -> bool:
        policy = pull_policy(self.spec)
        return policy == "always" or (policy == "missing" and self.docker.image(self.spec["image"]) is None)

    # Result

    def _serving(self) -> dict[str, Any] | None:
        found = self.docker.container(self.container.name)
        if not found or not found["State"]["Running"]:
            return None
        return {**self._identity(found), "version": version_of(self.spec["gate"]) if self.spec["gate"] else None}

    def _identity(self, found: Mapping[str, Any]) -> dict[str, Any]:
        reference = image_of(found)
        return {
            "id": found["Id"],
            "image": reference,
            "digest": digest(reference, self.docker.image(found["Image"])),
            "version": None,
        }

    def _result(self, before: dict[str, Any] | None, problem: str) -> dict[str, Any]:
        replacement = self.replacement
        try:
            if problem and self._met:
                self.docker.await_answer(ENGINE_PATIENCE)
            serving = self._serving()
            old = self._identity(replacement.old) if replacement.old else before
        except HostError:
            # While the engine doesn't answer, it is not known what serves.
            serving, old = None, before
        if old and before and old["id"] == before["id"]:
            old = before
        casualty = replacement.casualty or {}
        outcome = replacement.outcome
        if problem and outcome in (UNCHANGED, RESTORED):
            outcome = FAILED if serving is None else UNCHANGED if outcome == UNCHANGED else ROLLED_BACK
        if problem and self.host.check_mode:
            outcome = UNCHANGED
        return {
            "outcome": outcome,
            "old": old,
            "new": self._new(problem, serving),
            "serving": serving,
            "image": self._image(),
            "as_declared": self.as_declared,
            "exit_code": casualty.get("exit_code"),
            "log": casualty.get("log") or [],
            "needs": self.needs,
            "seconds": {phase: self.host.timings.get(phase, 0.0) for phase in PHASES},
        }

    def _image(self) -> dict[str, Any]:
        reference = self.spec["image"]
        return {"reference": reference, "digest": digest(reference, self.image)}

    def _new(self, problem: str, serving: dict[str, Any] | None) -> dict[str, Any] | None:
        """The container that was to serve, even if it was never created."""
        casualty = self.replacement.casualty
        if casualty:
            return {key: casualty[key] for key in ("id", "image", "digest", "version")}
        if self.state == "restored" or not (problem or self.host.check_mode):
            return serving
        reference = self.spec["image"]
        return {"id": None, "image": reference, "digest": digest(reference, None), "version": self.wanted_version}
