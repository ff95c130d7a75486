# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What both kinds of load balancer share: where a target stands, and telling about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Callable

from .._common.progress import Progress


@dataclass
class Place:
    """A target at one place: in a target group, or in a backend of one HAProxy.

    before and state are the load balancer's own words, reason is why it says so.
    """

    balancer: str
    target: str
    before: str
    state: str
    reason: str = ""

    def result(self) -> dict[str, str]:
        return {
            "balancer": self.balancer,
            "target": self.target,
            "before": self.before,
            "state": self.state,
            "reason": self.reason,
        }

    @property
    def words(self) -> str:
        return f"{self.target} is {self.state} in {self.balancer}" + (f" ({self.reason})" if self.reason else "")


@dataclass
class Report(Progress):
    """Where a target stands, and what a call has done so far."""

    changed: bool = False
    places: list[Place] = field(default_factory=list)
    # What a place would become: for the diff of check mode, which does not wait for it.
    expected: str = ""
    cut_sessions: int = 0
    # Where the load balancer counts them.
    requests: int | None = None

    def stands(self, place: Place, state: str, reason: str = "") -> None:
        if (place.state, place.reason) != (state, reason):
            place.state, place.reason = state, reason
            self.note(place.words)

    def result(self) -> dict[str, Any]:
        return {
            "changed": self.changed,
            "places": [place.result() for place in self.places],
            "progress": self.progress,
            "timeout": self.timeout,
            "seconds": round(self.seconds, 3),
            "cut_sessions": self.cut_sessions,
            "requests": self.requests,
            "diff": {"before": self._standings(lambda place: place.before), "after": self._standings(self._after)},
        }

    def _after(self, place: Place) -> str:
        return self.expected or place.state

    def _standings(self, state: Callable[[Place], str]) -> dict[str, dict[str, str]]:
        standings: dict[str, dict[str, str]] = {}
        for place in self.places:
            standings.setdefault(place.balancer, {})[place.target] = state(place)
        return standings
