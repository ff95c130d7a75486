# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A thread that receives a batch, stores it, and deletes it."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from evenkeel_permissions import aws, metrics
from evenkeel_permissions.events import PoisonError, ReceivedEvent, read
from evenkeel_permissions.worker.store import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from evenkeel_permissions.worker.gate import Gate
    from evenkeel_permissions.worker.holding import Holding
    from evenkeel_permissions.worker.queue import Message, Queue
    from evenkeel_permissions.worker.store import EventStore, Stored

log = logging.getLogger(__name__)

_LONGEST_PAUSE = 15.0


class Poller:
    def __init__(self, number: int, queue: Queue, store: EventStore, holding: Holding, gate: Gate) -> None:
        self._queue = queue
        self._store = store
        self._holding = holding
        self._gate = gate
        self._stop = threading.Event()
        self._failures = 0
        self._consumes = False
        self.cause = ""
        """Why the last receive failed."""
        self.alive_at = time.monotonic()
        self.thread = threading.Thread(target=self._run, name=f"poller-{number}", daemon=True)

    def stop(self) -> None:
        self._stop.set()

    def interrupt(self) -> None:
        self._store.interrupt()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                if self._gate.wait():
                    self.alive_at = time.monotonic()
                    self._turn()
                    self._failures, self.cause = 0, ""
            except aws.ERRORS as error:
                metrics.FAILURES.labels("receive").inc()
                self._failed(aws.describe(error, "sqs:ReceiveMessage", self._queue.url))
            except Exception as error:
                log.exception("batch failed")
                self._failed(type(error).__name__)
        self._store.close()

    def _failed(self, cause: str) -> None:
        if cause != self.cause:
            log.error("receive failed", extra={"fields": {"cause": cause}})
        self.cause = cause
        self._failures += 1
        self._stop.wait(min(0.5 * 2 ** min(self._failures, 10), _LONGEST_PAUSE))

    def _turn(self) -> None:
        messages = self._queue.receive()
        received = time.monotonic()
        if not messages:
            metrics.LAG.set(0)
            return
        metrics.BATCH_SIZE.observe(len(messages))
        if self._stop.is_set() or not self._gate.is_open:
            self._queue.put_back(messages)
            return
        readable = _readable(messages)
        if readable:
            self._store_and_delete(readable, received)

    def _store_and_delete(self, readable: Sequence[tuple[Message, ReceivedEvent]], received: float) -> None:
        messages = [message for message, _ in readable]
        batch = self._holding.hold(messages, received, self.interrupt)
        try:
            stored = self._store.insert([event for _, event in readable])
        except UnavailableError as error:
            metrics.FAILURES.labels("insert").inc()
            self._gate.close(str(error))
            if self._holding.end(batch):
                self._queue.put_back(messages)
            return
        finally:
            # Before the delete: no heartbeat may meet a deleted message.
            self._holding.end(batch)
        self._gate.stored()
        for index, reason in stored.refused.items():
            message, event = readable[index]
            _poison(message, reason, str(event.event_id))
        done = [message for index, message in enumerate(messages) if index not in stored.refused]
        _count(done, stored)
        self._queue.delete(done)
        if done and not self._consumes:
            self._consumes = True
            # For the operator who waits until a new worker consumes.
            log.info("first batch stored", extra={"fields": {"messages": len(done)}})


def _readable(messages: Sequence[Message]) -> list[tuple[Message, ReceivedEvent]]:
    found = []
    for message in messages:
        try:
            found.append((message, read(message.body)))
        except PoisonError as error:
            _poison(message, str(error))
    return found


def _count(done: Sequence[Message], stored: Stored) -> None:
    now = time.time()
    ages = [max(0.0, now - message.sent) for message in done]
    for age in ages:
        metrics.AGES.observe(age)
    metrics.LAG.set(max(ages, default=0.0))
    metrics.EVENTS.labels("stored").inc(stored.new)
    metrics.EVENTS.labels("duplicate").inc(len(done) - stored.new)


def _poison(message: Message, reason: str, event_id: str = "") -> None:
    """It stays in the queue, which moves it to its dead-letter queue."""
    metrics.EVENTS.labels("poison").inc()
    fields = {"message_id": message.id, "receives": message.receives, "cause": reason}
    log.warning("message can't be stored", extra={"fields": fields | ({"event_id": event_id} if event_id else {})})
