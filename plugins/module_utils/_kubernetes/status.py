# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state of a gateway on Kubernetes, from its Deployment, the database and the autoscaler."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

SCHEMA = 1

Report = Mapping[str, Any]


def status_of(
    deployment: Report,
    *,
    namespace: str,
    name: str,
    color: str = "",
    leader: Report | None = None,
    journal: Report | None = None,
    autoscalers: Sequence[Report] = (),
) -> dict[str, Any]:
    """In the shape of its JSON. deployment: as deployment_rollout_info returns it; empty if there is none.

    leader, journal: the results of leader_info and rollout_info; one that failed has `msg`. `problems` has a sentence
    for each thing that the operator should check. What is not known is None.
    """
    leads = (leader or {}).get("leader")
    lock = (journal or {}).get("lock")
    pods = [
        {
            "name": pod["name"],
            "ready": pod["ready"],
            "ends": pod["ends"],
            "updated": pod["updated"],
            "image": pod["image"],
            "node": pod["node"],
            "restarts": pod["restarts"],
            "leads": pod["name"] == leads if leads else None,
            "trouble": pod["trouble"],
        }
        for pod in deployment.get("pods", ())
    ]
    return {
        "schema": SCHEMA,
        "namespace": namespace,
        "deployment": name,
        "color": color,
        "image": deployment.get("image", ""),
        "revision": deployment.get("revision", 0),
        "way_back": deployment.get("good", {}),
        "replicas": deployment.get("replicas", {}),
        "complete": deployment.get("complete", False),
        "last_rollout": deployment.get("annotations", {}),
        "autoscaler": _autoscaler(name, autoscalers),
        "leader": leads,
        "lock": lock,
        "pods": pods,
        "problems": list(_problems(deployment, pods, name, leader, journal, lock)),
    }


def rows(status: Report) -> list[list[str]]:
    """The table of the pods."""
    leads = {True: "leader", False: "", None: "?"}
    return [
        ["pod", "image", "state", "template", "restarts", "leads"],
        *(
            [
                pod["name"],
                short(pod["image"]),
                "ends" if pod["ends"] else "ready" if pod["ready"] else "not ready",
                "new" if pod["updated"] else "old",
                str(pod["restarts"]),
                leads[pod["leads"]],
            ]
            for pod in status["pods"]
        ),
    ]


def words(status: Report) -> list[str]:
    """What is no table."""
    replicas, back, scaled = status["replicas"], status["way_back"], status["autoscaler"]
    told = [
        f"{status['deployment']} in {status['namespace']}: {short(status['image'])}, revision {status['revision']}, "
        f"{replicas.get('available', 0)} of {replicas.get('wanted', 0)} pods available"
    ]
    if status["color"]:
        told.append(f"The Service selects {status['color']}.")
    if scaled:
        told.append(f"The autoscaler {scaled['name']} keeps {scaled['min']} to {scaled['max']} pods.")
    if back:
        told.append(f"A rollback goes to {short(back['image'])}, revision {back['revision']}.")
    noted = status["last_rollout"]
    if noted.get("updated-at"):
        told.append(
            f"Last rollout: {noted['updated-at']} by {noted.get('updated-by', '?')} ({noted.get('reason', '')})"
        )
    lock = status["lock"]
    if lock:
        expired = ", expired" if lock["expired"] else ""
        told.append(f"Locked by {lock['holder']} since {lock['since']} ({lock['reason']}){expired}")
    return told


def short(image: str) -> str:
    """Without most of its digest."""
    name, at, digest = image.partition("@sha256:")
    return f"{name}{at}{digest[:12]}"


def _autoscaler(name: str, found: Sequence[Report]) -> dict[str, Any]:
    for one in found:
        if one["spec"]["scaleTargetRef"].get("name") == name:
            spec = one["spec"]
            return {"name": one["metadata"]["name"], "min": spec.get("minReplicas", 1), "max": spec["maxReplicas"]}
    return {}


def _problems(
    deployment: Report,
    pods: Sequence[Report],
    name: str,
    leader: Report | None,
    journal: Report | None,
    lock: Report | None,
) -> list[str]:
    problems = [f"Pod {pod['name']} is not ready: {pod['trouble']}." for pod in pods if pod["trouble"]]
    if deployment.get("problem"):
        problems.append(f"{name} does not progress: {str(deployment['problem']).rstrip('.')}.")
    elif not deployment.get("complete") and not lock:
        problems.append(
            f"A rollout of {name} is not complete, and no rollout holds the lock: {deployment.get('words')}."
        )
    if deployment.get("paused"):
        problems.append(f"{name} is paused, so that nothing is rolled out.")
    if lock and lock["expired"]:
        problems.append(f"The rollout {lock['rollout_id']} of {lock['holder']} ended without releasing its lock.")
    for report in (leader, journal):
        if report and report.get("msg"):
            problems.append(str(report["msg"]))
    if leader and not leader.get("msg") and not leader.get("leader") and not leader.get("skipped"):
        problems.append("No instance leads.")
    return problems
