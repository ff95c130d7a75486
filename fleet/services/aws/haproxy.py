# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Target groups whose traffic is that of HAProxy's backends of the same name."""

from __future__ import annotations

import csv
import socket
from collections.abc import Mapping

from .targets import HEALTHY, State

FAILED: State = ("unhealthy", "Target.FailedHealthChecks", "Health checks failed")
NOT_IN_USE: State = ("unused", "Target.NotInUse", "Target group is not configured to receive traffic")


class HAProxy:
    """One HAProxy by its runtime API; servers by the ids of the targets that they are."""

    def __init__(self, host: str, port: int, servers: Mapping[str, str]) -> None:
        self._address = (host, port)
        self._servers = servers

    def begin(self, group: str, target: str) -> None:
        self._set(group, target, "ready")

    def stop(self, group: str, target: str) -> None:
        self._set(group, target, "drain")

    def cut(self, group: str, target: str) -> None:
        self._set(group, target, "maint")
        self._say(f"shutdown sessions server {group}/{self._servers[target]}")

    def busy(self, group: str, target: str) -> bool:
        row = self._row(group, target)
        return bool(row) and int(row["scur"]) > 0

    def health(self, group: str, target: str) -> State:
        row = self._row(group, target)
        if not row:
            return NOT_IN_USE
        # Health checks go on behind "drain" and "maint"; an ALB knows neither of a registered target.
        return HEALTHY if row["status"].startswith(("UP", "DRAIN", "no check")) else FAILED

    def _set(self, group: str, target: str, state: str) -> None:
        if target in self._servers:
            self._say(f"set server {group}/{self._servers[target]} state {state}")

    def _row(self, group: str, target: str) -> dict[str, str]:
        lines = self._say("show stat").lstrip("# ").splitlines()
        wanted = (group, self._servers.get(target))
        return next((row for row in csv.DictReader(lines) if (row["pxname"], row["svname"]) == wanted), {})

    def _say(self, command: str) -> str:
        with socket.create_connection(self._address, timeout=5) as connection:
            connection.sendall(f"{command}\n".encode())
            return b"".join(iter(lambda: connection.recv(65536), b"")).decode()
