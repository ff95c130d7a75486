# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The messages that the worker holds. While it holds them they stay hidden, and a frozen database is cut."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from evenkeel_permissions.worker.queue import Message, Queue

log = logging.getLogger(__name__)


class Batch:
    """Messages from their receive until they are deleted or returned."""

    def __init__(self, messages: Sequence[Message], interrupt: Callable[[], None], due: float, cut_at: float) -> None:
        self.messages = messages
        self.interrupt = interrupt
        self.due = due
        self.cut_at = cut_at
        self.lock = threading.Lock()
        self.ended = False


class Holding:
    """Sends the heartbeats of all batches, at half of the visibility time-out."""

    def __init__(self, queue: Queue, longest: float) -> None:
        """Cut the database after `longest` seconds."""
        self._queue = queue
        self._longest = longest
        self._half = queue.visibility / 2
        self._tick = min(0.5, self._half / 4)
        self._batches: set[Batch] = set()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self.thread = threading.Thread(target=self._run, name="heartbeats", daemon=True)

    def hold(self, messages: Sequence[Message], received: float, interrupt: Callable[[], None]) -> Batch:
        """`received`: the monotonic time from which the visibility time-out counts."""
        batch = Batch(messages, interrupt, received + self._half, time.monotonic() + self._longest)
        with self._lock:
            self._batches.add(batch)
        return batch

    def end(self, batch: Batch) -> bool:
        """End its heartbeats: none is under way afterwards. False: it was ended already, and its messages returned."""
        with batch.lock:
            ended, batch.ended = batch.ended, True
        with self._lock:
            self._batches.discard(batch)
        return not ended

    def return_all(self) -> int:
        """Make all messages that are still held visible; return their number."""
        with self._lock:
            batches = list(self._batches)
        count = 0
        for batch in batches:
            if self.end(batch):
                self._queue.put_back(batch.messages)
                count += len(batch.messages)
        return count

    def stop(self) -> None:
        self._stop.set()

    def _run(self) -> None:
        while not self._stop.wait(self._tick):
            with self._lock:
                batches = list(self._batches)
            for batch in batches:
                try:
                    self._look_after(batch, time.monotonic())
                except Exception:
                    log.exception("heartbeat failed")

    def _look_after(self, batch: Batch, now: float) -> None:
        if now >= batch.cut_at:
            log.warning("database does not answer, the connection is cut", extra={"fields": {"seconds": self._longest}})
            batch.cut_at = now + self._longest
            batch.interrupt()
        if now >= batch.due:
            with batch.lock:
                if not batch.ended:
                    batch.due = now + self._half
                    self._queue.extend(batch.messages)
