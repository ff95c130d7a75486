# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Deployment as the API has it: its counts, the ReplicaSets of its templates, and how far a rollout is."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .._common.progress import OperationError
from .pods import HASH_LABEL, Pod

REVISION = "deployment.kubernetes.io/revision"


@dataclass(frozen=True)
class Annotations:
    """The names of what a rollout notes at the Deployment, below a prefix."""

    prefix: str

    @property
    def good(self) -> str:
        """The pod-template-hash of the last template whose rollout was complete."""
        return f"{self.prefix}/good-template"

    @property
    def rolling_back(self) -> str:
        """The pod-template-hash of the template that an unfinished rollback goes back to."""
        return f"{self.prefix}/rolling-back-to"

    def note(self, *, time: str, user: str, rollout_id: str, reason: str, good: str) -> dict[str, str]:
        noted = {"updated-at": time, "updated-by": user, "rollout-id": rollout_id, "reason": reason}
        # The last one is what `kubectl rollout history` shows.
        return {
            **{f"{self.prefix}/{name}": value for name, value in noted.items()},
            self.good: good,
            "kubernetes.io/change-cause": reason,
        }


@dataclass(frozen=True)
class PodTemplate:
    """One of a Deployment's templates: that of a ReplicaSet."""

    hash: str
    revision: int
    image: str
    replicas: int
    ready: int
    available: int
    created: str
    body: Mapping[str, Any]

    @property
    def words(self) -> str:
        return f"{self.image} (revision {self.revision})"


@dataclass(frozen=True)
class Deployment:
    """One reading of it."""

    found: Mapping[str, Any]
    container: str

    @property
    def name(self) -> str:
        return str(self.found["metadata"]["name"])

    @property
    def annotations(self) -> Mapping[str, str]:
        return self.found["metadata"].get("annotations") or {}

    @property
    def index(self) -> int:
        """The place of the container in the template."""
        names = [one["name"] for one in self.found["spec"]["template"]["spec"]["containers"]]
        return names.index(self.container)

    @property
    def image(self) -> str:
        return str(self.found["spec"]["template"]["spec"]["containers"][self.index]["image"])

    @property
    def revision(self) -> int:
        return int(self.annotations.get(REVISION, 0))

    @property
    def wanted(self) -> int:
        return int(self.found["spec"].get("replicas", 1))

    @property
    def paused(self) -> bool:
        return bool(self.found["spec"].get("paused"))

    @property
    def deadline(self) -> float:
        return float(self.found["spec"].get("progressDeadlineSeconds", 600))

    @property
    def selector(self) -> str:
        labels = self.found["spec"]["selector"].get("matchLabels") or {}
        expressions = [_expression(one) for one in self.found["spec"]["selector"].get("matchExpressions") or ()]
        return ",".join([*(f"{key}={value}" for key, value in sorted(labels.items())), *expressions])

    @property
    def seen(self) -> bool:
        """Whether the controller has seen the newest change: only then its status is about that."""
        return bool(self._status("observedGeneration") >= self.found["metadata"]["generation"])

    @property
    def updated(self) -> int:
        return self._status("updatedReplicas")

    @property
    def available(self) -> int:
        return self._status("availableReplicas")

    @property
    def counts(self) -> tuple[int, ...]:
        """They change while a rollout, or a scaling, makes progress."""
        names = ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")
        return tuple(self._status(name) for name in names)

    @property
    def complete(self) -> bool:
        """As kubectl rollout status takes it."""
        total = self._status("replicas")
        return self.seen and self.updated >= self.wanted and total <= self.updated and self.available >= self.updated

    @property
    def deadline_exceeded(self) -> str:
        """The message of the controller, or empty."""
        condition = self._condition("Progressing")
        exceeded = self.seen and condition.get("reason") == "ProgressDeadlineExceeded"
        return str(condition.get("message") or "ProgressDeadlineExceeded") if exceeded else ""

    @property
    def replica_failure(self) -> str:
        """Why no pod can be created, such as a quota or an admission; or empty."""
        condition = self._condition("ReplicaFailure")
        return str(condition.get("message", "")) if self.seen and condition.get("status") == "True" else ""

    @property
    def words(self) -> str:
        if not self.seen:
            return "the controller has not seen the change yet"
        old = max(self._status("replicas") - self.updated, 0)
        left = f", {old} old {'one is' if old == 1 else 'ones are'} left" if old else ""
        return f"{self.updated} of {self.wanted} pods updated, {self.available} available{left}"

    def _status(self, name: str) -> int:
        return int((self.found.get("status") or {}).get(name, 0))

    def _condition(self, kind: str) -> Mapping[str, Any]:
        conditions = (self.found.get("status") or {}).get("conditions") or ()
        return next((one for one in conditions if one["type"] == kind), {})


def deployment_of(found: Mapping[str, Any], container: str) -> Deployment:
    """OperationError where it has no such container, or where several are there and none is named."""
    name = found["metadata"]["name"]
    names = [one["name"] for one in found["spec"]["template"]["spec"]["containers"]]
    if not container and len(names) > 1:
        container = name if name in names else ""
        if not container:
            raise OperationError(
                f"The Deployment {name} has several containers: {', '.join(names)}. Set container to the one whose "
                "image is to change."
            )
    if container and container not in names:
        raise OperationError(
            f"The Deployment {name} has no container {container}, but {', '.join(names)}. Set container to one of them."
        )
    return Deployment(found, container or names[0])


def templates_of(deployment: Deployment, replica_sets: Iterable[Mapping[str, Any]]) -> list[PodTemplate]:
    """Those of its own ReplicaSets, the newest revision first."""
    uid = deployment.found["metadata"]["uid"]
    own = [
        one
        for one in replica_sets
        if any(owner["uid"] == uid for owner in one["metadata"].get("ownerReferences") or ())
    ]
    found = [_template(one, deployment.container) for one in own]
    return sorted(found, key=lambda one: one.revision, reverse=True)


def _template(replica_set: Mapping[str, Any], container: str) -> PodTemplate:
    metadata, spec, status = replica_set["metadata"], replica_set["spec"], replica_set.get("status") or {}
    containers = spec["template"]["spec"]["containers"]
    return PodTemplate(
        hash=(metadata.get("labels") or {}).get(HASH_LABEL, ""),
        revision=int((metadata.get("annotations") or {}).get(REVISION, 0)),
        image=next((one["image"] for one in containers if one["name"] == container), ""),
        replicas=int(spec.get("replicas", 0)),
        ready=int(status.get("readyReplicas", 0)),
        available=int(status.get("availableReplicas", 0)),
        created=metadata.get("creationTimestamp", ""),
        body=_without_hash(spec["template"]),
    )


def _without_hash(template: Mapping[str, Any]) -> dict[str, Any]:
    body = copy.deepcopy(dict(template))
    labels = body.get("metadata", {}).get("labels") or {}
    labels.pop(HASH_LABEL, None)
    return body


def current_template(deployment: Deployment, templates: Sequence[PodTemplate]) -> PodTemplate | None:
    """The one that the Deployment has now; None until its controller has created the ReplicaSet."""
    if not deployment.seen:
        return None
    return next((one for one in templates if one.revision == deployment.revision), None)


def good_template(
    deployment: Deployment, templates: Sequence[PodTemplate], annotations: Annotations
) -> PodTemplate | None:
    """What to go back to, if the newest rollout fails.

    The one that the rollout noted; else, after a rollout by other means, the one that serves with the most pods.
    """
    current = current_template(deployment, templates)
    others = [one for one in templates if current is None or one.hash != current.hash]
    noted = deployment.annotations.get(annotations.good, "")
    for one in others:
        if noted and one.hash == noted:
            return one
    serving = [one for one in others if one.available]
    return max(serving, key=lambda one: (one.available, one.revision), default=None)


def chosen_template(templates: Sequence[PodTemplate], wanted: str) -> PodTemplate | None:
    """By its revision's number, its pod-template-hash or its image."""
    return next((one for one in templates if wanted in (str(one.revision), one.hash, one.image)), None)


def pods_of(template: PodTemplate | None, pods: Sequence[Pod]) -> list[Pod]:
    return [pod for pod in pods if template and pod.template == template.hash and pod.runs]


def _expression(one: Mapping[str, Any]) -> str:
    key, operator, values = one["key"], one["operator"], ",".join(one.get("values") or ())
    words: dict[str, str] = {
        "In": f"{key} in ({values})",
        "NotIn": f"{key} notin ({values})",
        "Exists": key,
        "DoesNotExist": f"!{key}",
    }
    return words[operator]
