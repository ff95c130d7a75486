# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wait for operations of other services, and report progress. Imports without Ansible."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Callable

FIRST_PAUSE = 0.3
PAUSE_GROWS = 1.4


class OperationError(Exception):
    """A message with the cause and the remedy."""


class NoAnswerError(OperationError):
    """The service did not answer, or asked to retry later. The call can be repeated."""


@dataclass
class Progress:
    """What a call has seen so far; complete also where the call fails. Times are in seconds."""

    say: Callable[[str], None] = lambda _line: None
    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    progress: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    timeout: float = 0

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

    def wait(self, arrived: Callable[[], bool], longest_pause: float) -> bool:
        """Call it until it returns True; returns whether that was in time. A call without an answer is repeated.

        After the timeout, the NoAnswerError of the last call is raised.
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
            # Changes often follow each other: after one, poll again soon.
            pause = FIRST_PAUSE if len(self.progress) > before else min(pause * PAUSE_GROWS, longest_pause)
            self.sleep(min(pause, remaining))
