# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A standard queue as SQS documents it: visibility time-outs, receive counts, redrive to a dead-letter queue.

All state is in memory. The caller passes the clock, in seconds, and holds the only reference, so nothing here locks.
"""

from __future__ import annotations

import hashlib
import heapq
import itertools
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import uuid4

MAX_BATCH = 10


class RefusedError(Exception):
    """A refusal, with the code that SQS gives it."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass
class Message:
    body: str
    sent: float
    attributes: dict[str, object] = field(default_factory=dict)
    id: str = field(default_factory=lambda: str(uuid4()))
    received: int = 0
    first_received: float | None = None
    receipt: str = ""
    """The handle of the last receive; empty while the message is visible."""
    visible_at: float = 0.0
    md5: str = ""

    def __post_init__(self) -> None:
        self.md5 = hashlib.md5(self.body.encode(), usedforsecurity=False).hexdigest()


class Queue:
    def __init__(self, name: str, clock: Callable[[], float], visibility: float = 30.0) -> None:
        self.name = name
        self.visibility = visibility
        self.wait = 0.0
        self.dead_letters: Queue | None = None
        self.max_receives = 0
        self._clock = clock
        self._visible: deque[Message] = deque()
        self._in_flight: dict[str, Message] = {}
        # A change of the visibility pushes another entry; those that no longer agree with the message are skipped.
        self._due: list[tuple[float, int, Message]] = []
        self._numbers = itertools.count()
        self._delayed: set[str] = set()
        self.arrived: Callable[[], None] = lambda: None
        """Called when a message becomes visible by a call, so that a long poll can end."""

    def redrive(self, to: Queue, max_receives: int) -> None:
        self.dead_letters, self.max_receives = to, max_receives

    def send(self, body: str, attributes: dict[str, object] | None = None, delay: float = 0.0) -> Message:
        now = self._clock()
        message = Message(body, now, attributes or {})
        self._place(message, now + delay)
        return message

    def receive(self, count: int = 1, visibility: float | None = None) -> list[Message]:
        """Return up to count visible messages, each with a new receipt."""
        self.expire()
        now = self._clock()
        found: list[Message] = []
        while self._visible and len(found) < count:
            message = self._visible.popleft()
            if self.dead_letters and message.received >= self.max_receives:
                self.dead_letters.take(message)
                continue
            message.received += 1
            message.first_received = message.first_received or now
            message.receipt = f"{message.id}#{message.received}"
            self._in_flight[message.receipt] = message
            self._hide(message, now + (self.visibility if visibility is None else visibility))
            found.append(message)
        return found

    def take(self, message: Message) -> None:
        """Move a message here; it keeps its id and the time it was sent."""
        message.received = 0
        self._place(message, self._clock())

    def delete(self, receipt: str) -> None:
        """An older receipt of a message is accepted and deletes nothing, as SQS warns."""
        self.expire()
        self._check(receipt)
        message = self._in_flight.pop(receipt, None)
        if message:
            message.receipt, message.visible_at = "", 0.0  # what is due later no longer agrees with it

    def change_visibility(self, receipt: str, seconds: float) -> None:
        self.expire()
        self._check(receipt)
        message = self._in_flight.get(receipt)
        if message is None:
            raise RefusedError("MessageNotInflight", f"The message of {receipt} is not in flight.")
        if seconds > 0:
            self._hide(message, self._clock() + seconds)
        else:
            self._show(message)

    def purge(self) -> None:
        self._visible.clear()
        self._in_flight.clear()
        self._due.clear()
        self._delayed.clear()

    @property
    def visible(self) -> int:
        self.expire()
        return len(self._visible)

    @property
    def in_flight(self) -> int:
        self.expire()
        return len(self._in_flight)

    @property
    def delayed(self) -> int:
        self.expire()
        return len(self._delayed)

    @property
    def next_due(self) -> float | None:
        """The time at which the next hidden message may become visible."""
        return self._due[0][0] if self._due else None

    def expire(self) -> None:
        """Show the messages whose visibility time-out or delay is over."""
        now = self._clock()
        while self._due and self._due[0][0] <= now:
            due, _, message = heapq.heappop(self._due)
            if message.visible_at == due and (not message.receipt or self._in_flight.get(message.receipt) is message):
                self._show(message)

    def _place(self, message: Message, visible_at: float) -> None:
        if visible_at > self._clock():
            self._delayed.add(message.id)
            self._hide(message, visible_at)
        else:
            self._show(message)

    def _show(self, message: Message) -> None:
        self._in_flight.pop(message.receipt, None)
        self._delayed.discard(message.id)
        message.receipt, message.visible_at = "", 0.0
        self._visible.append(message)
        self.arrived()

    def _hide(self, message: Message, until: float) -> None:
        message.visible_at = until
        heapq.heappush(self._due, (until, next(self._numbers), message))

    def _check(self, receipt: str) -> None:
        if "#" not in receipt:
            raise RefusedError("ReceiptHandleIsInvalid", f"The input receipt handle {receipt!r} is invalid.")
