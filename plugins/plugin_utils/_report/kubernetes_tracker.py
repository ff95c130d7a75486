# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The timeline of a rollout on Kubernetes. Its members are Deployments; the one host is the controller.

The role kubernetes sets the facts kubernetes_plan, kubernetes_phase and kubernetes_result.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import results
from .records import CURRENT, DONE, FAILED, KUBERNETES, ROLLED_BACK
from .results import clean
from .states import OF_THE_FLEET
from .tracker import Tracker


class KubernetesTracker(Tracker):
    progress_in = ("deploy", "switch", "watch", "put_back")

    def __init__(self, began_at: str) -> None:
        super().__init__(began_at, KUBERNETES)

    def starts(self, at: float, host: str, action: str, state: str) -> None:
        super().starts(at, self._member(action, state) or host, action, state)

    def ends(
        self, at: float, host: str, action: str, state: str, status: str, result: Mapping[str, Any], *, whole: bool
    ) -> None:
        member = self._member(action, state)
        if member:
            code, log = results.failed_task(result)
            result = {**result, "exit_code": code, "log": log}
        super().ends(at, member or host, action, state, status, result, whole=whole and not member)

    def _step_of(self, action: str, state: str) -> str:
        name = super()._step_of(action, state)
        return "bake" if name == "deploy" and self.phases[-1].kind == "watch" else name

    def _member(self, action: str, state: str) -> str:
        """The Deployment of the phase, for a step that concerns one."""
        name = self._step_of(action, state)
        return next(iter(self.phases[-1].hosts or self.hosts), "") if name and name not in OF_THE_FLEET else ""

    def _learn(self, at: float, host: str, name: str, result: Mapping[str, Any]) -> None:
        if name not in ("deploy", "bake"):
            # Not every playbook looks the leader up before.
            if name == "handover" and result.get("old"):
                self.leader = self.leader or clean(str(result["old"]))
            super()._learn(at, host, name, result)
            return
        member = self._host(host)
        member.deployment = results.kubernetes_deployment(result, member.deployment)
        member.before = member.before or results.image(result.get("before"))
        member.after = results.image(results.mapping(result.get("deployment")).get("image")) or member.after

    def _facts(self, at: float, facts: Mapping[str, Any]) -> None:
        plan, phase, became = (facts.get(f"kubernetes_{name}") for name in ("plan", "phase", "result"))
        if isinstance(plan, Mapping):
            self.image = clean(str(plan.get("image") or ""))
            self.plan = tuple(results.strings(plan.get("words")))
            for name in results.strings(plan.get("deployments")):
                self._host(name)
        if isinstance(phase, Mapping):
            self._step(at, {"kind": phase.get("kind"), "hosts": [phase.get("deployment")]})
        if isinstance(became, Mapping):
            for name in self.hosts:
                self._became(at, name, succeeded=became.get("result") == "succeeded")

    def _step(self, at: float, step: Mapping[str, Any]) -> None:
        began = {name: member.began for name, member in self.hosts.items()}
        super()._step(at, step)
        for name in self.phases[-1].hosts:
            # All phases belong to one change.
            known = began.get(name)
            self._host(name).began = at if known is None else known

    def _became(self, at: float, name: str, *, succeeded: bool) -> None:
        """The end of a Deployment. One that was not touched was as wanted before, or the rollout was refused."""
        member = self._host(name)
        if member.ended is not None or (member.began is None and not succeeded):
            return
        seconds = member.seconds(at)
        member.ended = None if member.began is None else at
        if succeeded:
            self._state(at, name, CURRENT if seconds is None else DONE, f" in {seconds:.1f} s" if seconds else "")
        else:
            self._state(at, name, ROLLED_BACK if member.went_back else FAILED)
