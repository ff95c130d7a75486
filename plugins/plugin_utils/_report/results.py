# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tasks and their results, read with care: they hold texts of other programs, and may lack anything."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.evenkeel.fleet.plugins.module_utils._common.redact import redacted

STEPS = {
    ("rollout_lock", "acquired"): "lock",
    ("container_swap", "pulled"): "pull",
    ("instance_drain", "drained"): "permit",
    ("target_drain", "drained"): "drain",
    ("container_swap", "swapped"): "swap",
    ("container_swap", "restored"): "put_back",
    ("target_drain", "in_service"): "admit",
    ("instance_drain", "active"): "active",
    ("health_gate", ""): "bake",
    ("leader_handover", ""): "handover",
    ("rollout_lock", "released"): "unlock",
}
# Of a deployment to Amazon ECS or a rollout on Kubernetes, whatever their state.
SERVICE_STEPS = {
    "ecs_task_definition": "register",
    "ecs_run": "migrate",
    "ecs_service": "service",
    "scalable_target": "scale",
    "ecs_deploy": "deploy",
    "deployment_rollout": "deploy",
}
HEADS_OF_LOGS = ("Its last lines:", "Its last log lines:")
DEFAULT_STATE = {"container_swap": "swapped", "instance_drain": "drained"}


def step_of(action: str, state: str) -> str:
    """What a task is to the rollout, or nothing. `action` is the module's name without its collection."""
    if action in SERVICE_STEPS:
        return SERVICE_STEPS[action]
    return STEPS.get((action, state or DEFAULT_STATE.get(action, "")), "")


def clean(text: str) -> str:
    """Untrusted text, without secrets and characters that move the cursor or change the direction of writing."""
    return "".join(_shown(redacted(text)))


def first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


def _shown(text: str) -> Iterator[str]:
    for character in text:
        if character in "\n\t" or unicodedata.category(character) not in ("Cc", "Cf", "Cs"):
            yield character
        elif character != "\r":
            yield "\N{REPLACEMENT CHARACTER}"


def own_seconds(result: Mapping[str, Any]) -> float | None:
    seconds = result.get("seconds", result.get("waited"))
    if isinstance(seconds, Mapping):
        seconds = seconds.get("total")
    return number(seconds)


def parts(result: Mapping[str, Any]) -> dict[str, float]:
    seconds = result.get("seconds")
    if not isinstance(seconds, Mapping):
        return {}
    values = {clean(str(part)): number(value) for part, value in seconds.items() if part != "total"}
    return {part: value for part, value in values.items() if value}


def number(value: Any) -> float | None:
    return None if isinstance(value, bool) or not isinstance(value, (int, float)) else float(value)


def mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def items(value: Any) -> Sequence[Any]:
    return value if isinstance(value, (list, tuple)) else ()


def strings(value: Any) -> list[str]:
    return [clean(str(item)) for item in items(value)]


def version(serving: Any) -> dict[str, Any] | None:
    if not isinstance(serving, Mapping):
        return None
    return {key: clean(str(serving[key])) if serving.get(key) else None for key in ("image", "digest", "version")}


def deployment(result: Mapping[str, Any]) -> dict[str, Any]:
    """The story of a deployment, from the result of ecs_deploy."""
    last = mapping(result.get("deployment"))
    running, requested = number(last.get("running")), number(last.get("requested"))
    return {
        "outcome": clean(str(result.get("outcome") or "")),
        "status": clean(str(last.get("status") or "")),
        "stage": clean(str(last.get("lifecycle_stage") or "")),
        "reason": clean(str(last.get("reason") or "")),
        "running": None if running is None else int(running),
        "requested": None if requested is None else int(requested),
        "rolled_back_to": revision(result.get("rolled_back_to")),
        "events": strings(result.get("events")),
        "progress": strings(result.get("progress")),
    }


def kubernetes_deployment(result: Mapping[str, Any], known: Mapping[str, Any] | None) -> dict[str, Any]:
    """The same of a Deployment of Kubernetes, from a result of deployment_rollout. `known` is that of earlier calls."""
    last = mapping(result.get("deployment"))
    replicas = mapping(last.get("replicas"))
    available, wanted = number(replicas.get("available")), number(replicas.get("wanted"))
    return {
        "outcome": clean(str(result.get("outcome") or "")),
        "status": clean(str(last.get("words") or "")),
        "stage": "",
        "reason": clean(str(last.get("problem") or "")),
        "running": None if available is None else int(available),
        "requested": None if wanted is None else int(wanted),
        "rolled_back_to": clean(str(result.get("rolled_back_to") or "")),
        "events": [],
        "progress": [*(known or {}).get("progress", ()), *strings(result.get("progress"))],
    }


def image(reference: Any) -> dict[str, Any] | None:
    """What a container runs, as version() has it."""
    if not reference:
        return None
    words = clean(str(reference))
    return {"image": words, "digest": words.partition("@")[2] or None, "version": None}


def revision(arn: Any) -> str:
    """The family and revision of a task definition's ARN."""
    return clean(str(arn or "")).rpartition("/")[2]


def failed_task(result: Mapping[str, Any]) -> tuple[int | None, list[str]]:
    """The exit code and log lines of the newest failed task or pod."""
    failures = [mapping(one) for one in items(result.get("failures"))]
    if not failures:
        return None, []
    codes = [mapping(one).get("exit_code") for one in (failures[-1], *items(failures[-1].get("containers")))]
    code = next((code for code in codes if isinstance(code, int) and code), None)
    return code, strings(failures[-1].get("log"))


def without_log(cause: str, log: Sequence[str]) -> str:
    """The log stands beside it."""
    known = {line.strip() for line in log}
    lines = [line for line in cause.splitlines() if line.strip() not in known]
    text = "\n".join(line for line in lines if line.strip() not in HEADS_OF_LOGS or not log)
    return re.sub(r"\n{2,}", "\n", text).strip()
