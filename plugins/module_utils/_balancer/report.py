# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What both kinds of load balancer share: where a target stands, waiting for a change, telling about it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, Callable

FIRST_PAUSE = 0.3
PAUSE_GROWS = 1.4


class BalancerError(Exception):
    """What is wrong and what to do about it, in words."""


class NoAnswerError(BalancerError):
    """The load balancer did not answer, or asked for patience: worth another try."""


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
class Report:
    """What a call has seen and done so far; complete also where the call fails. Times are in seconds."""

    say: Callable[[str], None] = lambda _line: None
    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    changed: bool = False
    places: list[Place] = field(default_factory=list)
    progress: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    # What a place would become: for the diff of check mode, which does not wait for it.
    expected: str = ""
    timeout: float = 0
    cut_sessions: int = 0
    # Where the load balancer counts them.
    requests: int | None = None

    def __post_init__(self) -> None:
        self._started = self.now()

    @property
    def seconds(self) -> float:
        return self.now() - self._started

    def note(self, line: str) -> None:
        """A line of progress, unless it says the same as the one before."""
        if not self.progress or self.progress[-1].partition(" s: ")[2] != line:
            self.progress.append(f"{self.seconds:.1f} s: {line}")
            self.say(line)

    def stands(self, place: Place, state: str, reason: str = "") -> None:
        if (place.state, place.reason) != (state, reason):
            place.state, place.reason = state, reason
            self.note(place.words)

    def wait(self, arrived: Callable[[], bool], longest_pause: float) -> bool:
        """Ask until it is so; whether it was so in time. A question without an answer is asked again.

        The last unanswered question is raised where the time is over.
        """
        deadline = self.now() + self.timeout
        pause = FIRST_PAUSE
        unanswered: NoAnswerError | None = None
        while True:
            before = len(self.progress)
            try:
                if arrived():
                    return True
                unanswered = None
            except NoAnswerError as error:
                unanswered = error
                self.note(str(error))
            remaining = deadline - self.now()
            if remaining <= 0:
                if unanswered:
                    raise unanswered
                return False
            # Things happen close together: whoever has just seen something move looks again soon.
            pause = FIRST_PAUSE if len(self.progress) > before else min(pause * PAUSE_GROWS, longest_pause)
            self.sleep(min(pause, remaining))

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
