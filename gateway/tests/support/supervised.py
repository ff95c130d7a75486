"""The processes below a supervisor."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from support.wait import until

if TYPE_CHECKING:
    from support.gateway import GatewayProcess


def children(pid: int) -> dict[str, int]:
    """The control plane and HAProxy, by the names of their programs."""
    found = {}
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        command = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
        found["haproxy" if b"-db" in command else "control"] = int(child)
    return found


def control_of(process: GatewayProcess) -> int:
    until(lambda: "control" in children(process.pid), 30, "a control plane")
    return children(process.pid)["control"]
