# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state of the gateway, which each task keeps up to date; reading it never waits."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from evenkeel_gateway.election import Election
    from evenkeel_gateway.identity import Identity
    from evenkeel_gateway.secrets import Secrets


@dataclass
class RedisStatus:
    """Redis as /health reports it: up, degraded (reachable, but refuses or is too slow) or down."""

    status: str = "unknown"
    error: str | None = None
    settled: float = field(default_factory=time.monotonic)

    @property
    def age(self) -> float:
        """Seconds since the counts were last settled."""
        return time.monotonic() - self.settled


@dataclass
class GatewayState:
    identity: Identity | None = None
    secrets: Secrets | None = None
    election: Election | None = None
    redis: RedisStatus | None = None
    registered: bool = False
    draining_since: float | None = None
    """Monotonic time."""
    problems: dict[str, str] = field(default_factory=dict)
    """Why a step of the start does not succeed yet, by its name."""
    configuration: str | None = None
    """Why the configuration that was read last is not in force."""
    stale: str | None = None
    """Why the last refresh of the secrets failed."""
    keys: str | None = None
    """Why the last read of the JWK set failed."""
    started: float = field(default_factory=time.monotonic)

    @property
    def draining(self) -> bool:
        return self.draining_since is not None

    def drain(self, *, draining: bool) -> None:
        if draining != self.draining:
            self.draining_since = time.monotonic() if draining else None

    @property
    def drained_seconds(self) -> float:
        """For how long it has been draining."""
        return 0.0 if self.draining_since is None else time.monotonic() - self.draining_since

    @property
    def status(self) -> str:
        if self.draining:
            return "draining"
        return "healthy" if self.registered and not self.missing_secrets else "starting"

    @property
    def ready(self) -> bool:
        return self.status == "healthy"

    @property
    def uptime(self) -> int:
        return int(time.monotonic() - self.started)

    @property
    def missing_secrets(self) -> list[str]:
        return self.secrets.missing if self.secrets else []

    @property
    def reasons(self) -> list[str]:
        if self.draining:
            return ["draining: this instance is stopping"]
        reasons = [f"{part}: {text}" for part, text in self.problems.items()]
        if self.secrets:
            reasons += [f"secret {name}: not in {self.secrets.source}" for name in self.secrets.missing]
        if not reasons and not self.ready:
            reasons.append("starting: not registered yet")
        return reasons
