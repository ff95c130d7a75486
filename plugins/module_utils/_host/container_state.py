# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts from the engine's description of a container (GET /containers/<id>/json) and from its log."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from .._common.redact import redacted
from .docker import Docker

# Labels of a container: the fingerprint of its declaration, and the declaration itself without secrets.
CONFIG_LABEL = "evenkeel.config"
SPEC_LABEL = "evenkeel.spec"
LINE = 400
LINES = 20


def digest(reference: str, image: Mapping[str, Any] | None) -> str | None:
    """The registry's digest of an image: the declared one, or the one by which it was pulled."""
    if "@" in reference:
        return reference.partition("@")[2]
    repository = reference.rpartition(":")[0] if ":" in reference.rpartition("/")[2] else reference
    for entry in (image or {}).get("RepoDigests") or []:
        name, _separator, found = str(entry).partition("@")
        if name == repository:
            return found
    return None


def image_of(container: Mapping[str, Any]) -> str:
    return str(container["Config"].get("Image") or container["Image"])


def limits(host_config: Mapping[str, Any]) -> dict[str, Any]:
    """What can be changed in place, as the body of an API request."""
    policy = host_config.get("RestartPolicy") or {}
    return {
        "Memory": host_config.get("Memory") or 0,
        "RestartPolicy": {
            "Name": policy.get("Name") or "no",
            "MaximumRetryCount": policy.get("MaximumRetryCount") or 0,
        },
    }


def bound_ports(container: Mapping[str, Any]) -> set[tuple[str, str]]:
    """Host port and protocol of each port that a container publishes."""
    bindings = container["HostConfig"].get("PortBindings") or {}
    return {
        (binding["HostPort"], inner.rpartition("/")[2])
        for inner, entries in bindings.items()
        for binding in entries or []
    }


def recorded_declaration(container: Mapping[str, Any]) -> str:
    """The declaration from which a container was made, for a diff."""
    labels = container["Config"].get("Labels") or {}
    return str(labels.get(SPEC_LABEL) or f"(not made by this collection: {image_of(container)})\n")


def is_proven(container: Mapping[str, Any]) -> bool:
    """It runs with a restart policy, which it gets once it has passed its gate."""
    return bool(container["State"]["Running"] and limits(container["HostConfig"])["RestartPolicy"]["Name"] != "no")


def is_being_stopped(container: Mapping[str, Any]) -> bool:
    """Its restart policy is "no" though another one was declared: a call has begun to stop it."""
    declaration = (container["Config"].get("Labels") or {}).get(SPEC_LABEL) or "{}"
    wanted = json.loads(declaration).get("restart_policy") or "no"
    return bool(wanted != "no" and limits(container["HostConfig"])["RestartPolicy"]["Name"] == "no")


def age(state: Mapping[str, Any]) -> float:
    """Seconds since a container started."""
    started = datetime.fromisoformat(str(state["StartedAt"])[:19]).replace(tzinfo=timezone.utc)
    return time.time() - started.timestamp()


def fatal_state(docker: Docker, container: str, restarts: int = 0) -> str | None:
    """Why a container can't become healthy any more, or None; `restarts`: its restart count before."""
    found = docker.container(container)
    if found is None:
        return "It was removed while this call waited for it."
    state = found["State"]
    if state.get("OOMKilled"):
        return f"It was killed for using more memory than its limit ({found['HostConfig']['Memory'] // 2**20} MiB)."
    if state.get("Restarting") or restart_count(found) > restarts:
        return f"It keeps restarting, with exit code {state['ExitCode']}."
    if state.get("Paused"):
        return paused_problem(found)
    if not state["Running"]:
        return f"It ended with exit code {state['ExitCode']}. {state.get('Error') or ''}".rstrip()
    if (state.get("Health") or {}).get("Status") == "unhealthy":
        output = str(((state["Health"].get("Log") or [{}])[-1]).get("Output", "")).strip()
        return f"Its health check says unhealthy: {redacted(output[-400:])}"
    return None


def paused_problem(container: Mapping[str, Any]) -> str:
    return f"It is paused and does not answer. Resume it: docker unpause {str(container['Name']).lstrip('/')}"


def restart_count(container: Mapping[str, Any] | None) -> int:
    return int((container or {}).get("RestartCount") or 0)


def log_lines(docker: Docker, container: str) -> list[str]:
    """The end of a container's log, without secrets."""
    response = docker.request("GET", f"/containers/{container}/logs", stdout=1, stderr=1, tail=LINES)
    text = redacted(demultiplexed(response.body)).strip() if response.status == 200 else ""
    return [line if len(line) <= LINE else f"{line[:LINE]}…" for line in text.splitlines()]


def log_excerpt(lines: list[str]) -> str:
    """The end of a log, for a message."""
    return "\n".join(["\nIts last lines:", *lines]) if lines else "\nIts log is empty."


def demultiplexed(stream: bytes) -> str:
    """The text of a log stream: frames of a kind, three zero bytes and a length; or plain, from a terminal."""
    text = b""
    rest = stream
    while len(rest) >= 8 and rest[0] in (0, 1, 2) and rest[1:4] == b"\0\0\0":
        length = int.from_bytes(rest[4:8], "big")
        text += rest[8 : 8 + length]
        rest = rest[8 + length :]
    return (text + rest).decode("utf-8", "replace")
