# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is read of a Deployment and around it, in as few requests as it takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from .api import DEPLOYMENT, EVENT, POD, REPLICA_SET, ClusterApi, RefusedRequestError
from .deployment import (
    Annotations,
    Deployment,
    PodTemplate,
    current_template,
    deployment_of,
    good_template,
    pods_of,
    templates_of,
)
from .pods import Pod, Trouble, pod_of


@dataclass(frozen=True)
class Reading:
    """A Deployment, its templates and its pods, at one time."""

    deployment: Deployment
    templates: Sequence[PodTemplate]
    pods: Sequence[Pod]

    @property
    def current(self) -> PodTemplate | None:
        return current_template(self.deployment, self.templates)

    @property
    def new_pods(self) -> list[Pod]:
        """Those of the newest template."""
        return pods_of(self.current, self.pods)

    @property
    def old_pods(self) -> list[Pod]:
        new = {pod.name for pod in self.new_pods}
        return [pod for pod in self.pods if pod.runs and pod.name not in new]

    def good(self, annotations: Annotations) -> PodTemplate | None:
        return good_template(self.deployment, self.templates, annotations)

    def last_good(self, annotations: Annotations) -> PodTemplate | None:
        """What a rollout that begins now goes back to; the present template, if it is known to be good."""
        current = self.current
        is_good = self.deployment.complete or bool(
            current and self.deployment.annotations.get(annotations.good) == current.hash
        )
        return current if is_good else self.good(annotations)

    def result(self, annotations: Annotations) -> dict[str, Any]:
        """As modules return it."""
        deployment, good = self.deployment, self.good(annotations)
        current = self.current
        return {
            "image": deployment.image,
            "container": deployment.container,
            "complete": deployment.complete,
            "paused": deployment.paused,
            "replicas": {"wanted": deployment.wanted, "updated": deployment.updated, "available": deployment.available},
            "words": deployment.words,
            "template": current.hash if current else "",
            "revision": deployment.revision,
            "good": {"image": good.image, "template": good.hash, "revision": good.revision} if good else {},
            "annotations": {
                name.partition("/")[2]: value
                for name, value in sorted(deployment.annotations.items())
                if name.startswith(f"{annotations.prefix}/")
            },
            "pods": [self._pod(pod) for pod in sorted(self.pods, key=lambda one: (one.created, one.name))],
            "problem": deployment.deadline_exceeded or deployment.replica_failure,
        }

    def _pod(self, pod: Pod) -> dict[str, Any]:
        shown = {**asdict(pod), "updated": pod.name in {one.name for one in self.new_pods}}
        return {**shown, "trouble": pod.trouble.words if pod.trouble else ""}


class Reader:
    """The Deployment of a name."""

    def __init__(self, api: ClusterApi, namespace: str, name: str, container: str) -> None:
        self.api = api
        self.namespace = namespace
        self.name = name
        self._container = container

    def deployment(self) -> Deployment:
        return deployment_of(self.api.get(DEPLOYMENT, self.namespace, self.name), self._container)

    def read(self) -> Reading:
        deployment = self.deployment()
        selector = deployment.selector
        replica_sets = self.api.objects(REPLICA_SET, self.namespace, labelSelector=selector)
        pods = self.api.objects(POD, self.namespace, labelSelector=selector)
        templates = templates_of(deployment, replica_sets)
        hashes = {one.hash for one in templates}
        own = [pod_of(one, deployment.container) for one in pods]
        return Reading(deployment, templates, [pod for pod in own if pod.template in hashes])

    def log(self, trouble: Trouble, lines: int) -> list[str]:
        """The last lines of the container that failed; none where they can't be read."""
        for previous in (True, False):
            try:
                found = self.api.log(self.namespace, trouble.pod, trouble.container, lines, previous=previous)
            except RefusedRequestError:
                continue
            if found:
                return found
        return []

    def last_warning(self, name: str) -> str:
        """The message of the newest warning about an object, such as a readiness probe's; empty if there is none."""
        try:
            events = self.api.objects(EVENT, self.namespace, fieldSelector=f"involvedObject.name={name},type=Warning")
        except RefusedRequestError:
            return ""
        newest = max(events, key=lambda one: one.get("lastTimestamp") or one.get("eventTime") or "", default=None)
        return str(newest.get("message", "")).strip() if newest else ""
