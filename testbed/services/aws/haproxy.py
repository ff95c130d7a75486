# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Target groups whose traffic goes through a backend of HAProxy."""

from __future__ import annotations

import csv
import socket
from collections.abc import Mapping

from .targets import HEALTHY, State

FAILED: State = ("unhealthy", "Target.FailedHealthChecks", "Health checks failed")
NOT_IN_USE: State = ("unused", "Target.NotInUse", "Target group is not configured to receive traffic")


class HAProxy:
    """A backend of one HAProxy by its runtime API; servers by the ids of the targets that they are.

    Whatever group a target is in, it is the same server: a testbed has one port for its clients.
    """

    def __init__(self, host: str, port: int, backend: str, servers: Mapping[str, str]) -> None:
        self._address = (host, port)
        self._backend = backend
        self._servers = servers

    def begin(self, _group: str, target: str, _port: int) -> None:
        self._set(target, "state ready")

    def stop(self, _group: str, target: str, _port: int) -> None:
        self._set(target, "state drain")

    def cut(self, _group: str, target: str, _port: int) -> None:
        self._set(target, "state maint")
        self._say(f"shutdown sessions server {self._backend}/{self._servers[target]}")

    def weigh(self, _group: str, target: str, _port: int, weight: int) -> None:
        self._set(target, f"weight {weight}")

    def busy(self, _group: str, target: str, _port: int) -> bool:
        row = self._row(target)
        return bool(row) and int(row["scur"]) > 0

    def health(self, _group: str, target: str, _port: int) -> State:
        row = self._row(target)
        if not row:
            return NOT_IN_USE
        # Health checks go on behind "drain" and "maint"; an ALB knows neither of a registered target.
        return HEALTHY if row["status"].startswith(("UP", "DRAIN", "no check")) else FAILED

    def _set(self, target: str, what: str) -> None:
        if target in self._servers:
            self._say(f"set server {self._backend}/{self._servers[target]} {what}")

    def _row(self, target: str) -> dict[str, str]:
        lines = self._say("show stat").lstrip("# ").splitlines()
        wanted = (self._backend, self._servers.get(target))
        return next((row for row in csv.DictReader(lines) if (row["pxname"], row["svname"]) == wanted), {})

    def _say(self, command: str) -> str:
        with socket.create_connection(self._address, timeout=5) as connection:
            connection.sendall(f"{command}\n".encode())
            return b"".join(iter(lambda: connection.recv(65536), b"")).decode()
