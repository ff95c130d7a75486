# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The row of a rollout, which holds the lock until it is finished or has expired."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from .scope import FLEET
from .times import seconds, timestamp


@dataclass(frozen=True)
class RolloutRecord:
    """The lock on changing what `scope` names; its history is that of the rollouts. `holder` is `user@host`."""

    id: int
    holder: str
    reason: str
    digest: str | None
    started_at: datetime
    expires_at: datetime
    finished_at: datetime | None = None
    result: str | None = None
    scope: str = FLEET.name

    def expired(self, now: datetime) -> bool:
        """Whether its time is over and another rollout may acquire the lock."""
        return self.expires_at <= now

    def shown(self, now: datetime) -> dict[str, Any]:
        return {
            "rollout_id": self.id,
            "scope": self.scope,
            "holder": self.holder,
            "host": self.holder.rpartition("@")[2] if "@" in self.holder else None,
            "reason": self.reason,
            "digest": self.digest,
            "since": timestamp(self.started_at),
            "expires_at": timestamp(self.expires_at),
            "expires_in": seconds(self.expires_at, now),
            "expired": self.finished_at is None and self.expired(now),
            "finished_at": timestamp(self.finished_at),
            "result": self.result,
            "seconds": seconds(self.finished_at or now, self.started_at),
        }
