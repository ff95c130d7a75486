# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a container is: whether waiting for it makes sense, and what it said last."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .._common.redact import redacted
from .docker import Docker

LINE = 400
LINES = 20


def hopeless(docker: Docker, container: str, restarts: int = 0) -> str | None:
    """Why it won't become healthy any more, or None; `restarts` is how often it had been restarted before."""
    found = docker.container(container)
    if found is None:
        return "It was removed while it was waited for."
    state = found["State"]
    if state.get("OOMKilled"):
        return f"It was killed for using more memory than its limit ({found['HostConfig']['Memory'] // 2**20} MiB)."
    if state.get("Restarting") or restart_count(found) > restarts:
        return f"It keeps ending, with exit code {state['ExitCode']}."
    if state.get("Paused"):
        return paused(found)
    if not state["Running"]:
        return f"It ended with exit code {state['ExitCode']}. {state.get('Error') or ''}".rstrip()
    if (state.get("Health") or {}).get("Status") == "unhealthy":
        output = str(((state["Health"].get("Log") or [{}])[-1]).get("Output", "")).strip()
        return f"Its health check says unhealthy: {redacted(output[-400:])}"
    return None


def paused(container: Mapping[str, Any]) -> str:
    return f"It is paused, so that it answers nothing: docker unpause {str(container['Name']).lstrip('/')}"


def restart_count(container: Mapping[str, Any] | None) -> int:
    return int((container or {}).get("RestartCount") or 0)


def last_lines(docker: Docker, container: str) -> list[str]:
    """The end of its log, without secrets."""
    response = docker.request("GET", f"/containers/{container}/logs", stdout=1, stderr=1, tail=LINES)
    text = redacted(demultiplexed(response.body)).strip() if response.status == 200 else ""
    return [line if len(line) <= LINE else f"{line[:LINE]}…" for line in text.splitlines()]


def said(lines: list[str]) -> str:
    """The end of a log for a message."""
    return "\n".join(["\nIts last lines:", *lines]) if lines else "\nIt wrote nothing."


def demultiplexed(stream: bytes) -> str:
    """The text of a log stream: frames of a kind, three zero bytes and a length; or plain, from a terminal."""
    text = b""
    rest = stream
    while len(rest) >= 8 and rest[0] in (0, 1, 2) and rest[1:4] == b"\0\0\0":
        length = int.from_bytes(rest[4:8], "big")
        text += rest[8 : 8 + length]
        rest = rest[8 + length :]
    return (text + rest).decode("utf-8", "replace")
