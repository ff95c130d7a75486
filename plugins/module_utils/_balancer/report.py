# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state of a target at each load balancer, and the result of a call that changes it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Callable

from .._common.progress import Progress


@dataclass
class Place:
    """A target in one target group, or in one backend of one HAProxy.

    before and state: the load balancer's own terms. reason: the cause that it reports.
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
class TargetReport(Progress):
    """The states of a target, and the result of a call so far."""

    changed: bool = False
    places: list[Place] = field(default_factory=list)
    # The state that a change would lead to: for the diff of check mode, which does not wait.
    expected: str = ""
    cut_sessions: int = 0
    # None where the load balancer does not count them.
    requests: int | None = None

    def update(self, place: Place, state: str, reason: str = "") -> None:
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
            "diff": {"before": self._states(lambda place: place.before), "after": self._states(self._after)},
        }

    def _after(self, place: Place) -> str:
        return self.expected or place.state

    def _states(self, state: Callable[[Place], str]) -> dict[str, dict[str, str]]:
        states: dict[str, dict[str, str]] = {}
        for place in self.places:
            states.setdefault(place.balancer, {})[place.target] = state(place)
        return states
