# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a pod's status says: whether it is ready, and why it is not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

HASH_LABEL = "pod-template-hash"
DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
# Reasons of a waiting container that do not end without a change.
_STUCK: dict[str, What] = {
    "ErrImagePull": "image",
    "ImagePullBackOff": "image",
    "ErrImageNeverPull": "image",
    "InvalidImageName": "image",
    "ImageInspectError": "image",
    "RegistryUnavailable": "image",
    "CreateContainerConfigError": "configuration",
    "CreateContainerError": "configuration",
    "RunContainerError": "configuration",
    "CrashLoopBackOff": "crash",
}
# A container that has ended so often is in a crash loop, also in the moment in which it runs again.
CRASHES = 2

What = Literal["image", "configuration", "crash", "scheduling", "quota", "evicted"]


@dataclass(frozen=True)
class Trouble:
    """Why a pod does not become ready. `container` is empty where the pod itself is the cause."""

    pod: str
    what: What
    reason: str
    message: str
    container: str = ""
    exit_code: int | None = None

    @property
    def has_log(self) -> bool:
        return self.what == "crash"

    @property
    def words(self) -> str:
        where = f"pod {self.pod}" + (f", container {self.container}" if self.container else "")
        code = f" (exit code {self.exit_code})" if self.exit_code is not None else ""
        said = f": {self.message.rstrip('.')}" if self.message else ""
        return f"{where}: {self.reason}{code}{said}"


@dataclass(frozen=True)
class Pod:
    """One pod; `created` is in ISO 8601 as the API has it."""

    name: str
    template: str
    ready: bool
    ends: bool
    phase: str
    created: str
    image: str
    address: str
    node: str
    restarts: int
    deletion_cost: str
    trouble: Trouble | None = None

    @property
    def runs(self) -> bool:
        return not self.ends and self.phase not in ("Succeeded", "Failed")


def pod_of(found: Mapping[str, Any], container: str) -> Pod:
    """`container` is the one whose image a rollout changes."""
    metadata, status = found["metadata"], found.get("status", {})
    conditions = {one["type"]: one for one in status.get("conditions") or ()}
    return Pod(
        name=metadata["name"],
        template=(metadata.get("labels") or {}).get(HASH_LABEL, ""),
        ready=conditions.get("Ready", {}).get("status") == "True",
        ends="deletionTimestamp" in metadata,
        phase=status.get("phase", ""),
        created=metadata.get("creationTimestamp", ""),
        image=next((one["image"] for one in found["spec"]["containers"] if one["name"] == container), ""),
        address=status.get("podIP", ""),
        node=found["spec"].get("nodeName", ""),
        restarts=sum(one.get("restartCount", 0) for one in status.get("containerStatuses") or ()),
        deletion_cost=(metadata.get("annotations") or {}).get(DELETION_COST, ""),
        trouble=trouble_of(metadata["name"], status, conditions),
    )


def trouble_of(name: str, status: Mapping[str, Any], conditions: Mapping[str, Mapping[str, Any]]) -> Trouble | None:
    """Why a pod does not become ready, as far as its status has a reason; a readiness probe that fails is none."""
    if status.get("phase") == "Failed":
        return Trouble(name, "evicted", status.get("reason", "Failed"), status.get("message", ""))
    scheduled = conditions.get("PodScheduled", {})
    if scheduled.get("status") == "False":
        reason = scheduled.get("reason", "")
        return Trouble(name, "scheduling", f"FailedScheduling ({reason})", scheduled.get("message", ""))
    for one in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        trouble = _trouble_of_container(name, one)
        if trouble:
            return trouble
    return None


def _trouble_of_container(pod: str, status: Mapping[str, Any]) -> Trouble | None:
    state, last = status.get("state") or {}, (status.get("lastState") or {}).get("terminated") or {}
    waiting = state.get("waiting") or {}
    ended = state.get("terminated") or last
    crashed = not status.get("ready") and bool(ended.get("exitCode") or waiting.get("reason") == "CrashLoopBackOff")
    what = _STUCK.get(waiting.get("reason", ""))
    if what in ("image", "configuration"):
        return Trouble(pod, what, waiting["reason"], waiting.get("message", ""), status["name"])
    if what == "crash" or (crashed and status.get("restartCount", 0) >= CRASHES):
        reason = ended.get("reason", "")
        words = "CrashLoopBackOff" if what == "crash" else "crashes again and again"
        message = ended.get("message", "") or (f"{reason}, {status.get('restartCount', 0)} restarts" if reason else "")
        return Trouble(pod, "crash", words, message, status["name"], ended.get("exitCode"))
    return None


def failing(pods: list[Pod]) -> Iterator[Trouble]:
    """The troubles of pods that still count."""
    for pod in pods:
        if pod.trouble and not pod.ends and not pod.ready:
            yield pod.trouble
