# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The worker's process: its threads, its health, and its stop."""

from __future__ import annotations

import logging
import signal
import threading
import time
from typing import TYPE_CHECKING

from evenkeel_permissions import aws, database, metrics, migrations
from evenkeel_permissions.health import HealthServer
from evenkeel_permissions.worker.gate import Gate
from evenkeel_permissions.worker.holding import Holding
from evenkeel_permissions.worker.poller import Poller
from evenkeel_permissions.worker.queue import Queue
from evenkeel_permissions.worker.store import EventStore, UnavailableError

if TYPE_CHECKING:
    from evenkeel_permissions.database import Connection
    from evenkeel_permissions.settings import WorkerSettings

log = logging.getLogger(__name__)

# Beyond the longest a turn may take, so that only a thread that hangs is reported.
_STUCK_MARGIN = 60.0
# Kept of the stop's seconds to return what is still held.
_RETURN_SECONDS = 1.0


class Worker:
    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self._stop = threading.Event()
        self._queue = Queue(settings)
        self._holding = Holding(self._queue, settings.database_timeout_seconds)
        self._probe_store = EventStore(self._connect)
        self._gate = Gate(self._probe, self._stop)
        self._pollers = [
            Poller(number, self._queue, EventStore(self._connect), self._holding, self._gate)
            for number in range(settings.audit_pollers)
        ]

    def start(self) -> None:
        self._advise()
        for thread in (self._gate.thread, self._holding.thread, *(poller.thread for poller in self._pollers)):
            thread.start()

    def stop(self) -> bool:
        """Finish or return what is held. Return whether all threads ended in time."""
        settings = self._settings
        end = time.monotonic() + settings.audit_stop_seconds
        self._stop.set()
        for poller in self._pollers:
            poller.stop()
        self._join(end - min(_RETURN_SECONDS, settings.audit_stop_seconds / 2))
        for poller in self._running():
            poller.interrupt()
        self._join(end)
        returned = self._holding.return_all()
        self._holding.stop()
        left = len(self._running())
        log.info("stopped", extra={"fields": {"returned": returned, "polls_cut": left}})
        return not left

    def alive(self) -> list[str]:
        settings = self._settings
        longest = settings.audit_sqs_wait_time + 3 * settings.database_timeout_seconds + _STUCK_MARGIN
        now = time.monotonic()
        return [
            f"{poller.thread.name} hangs or has ended"
            for poller in self._pollers
            if not poller.thread.is_alive() or (self._gate.is_open and now - poller.alive_at > longest)
        ]

    def ready(self) -> list[str]:
        reasons = [] if self._gate.is_open else [f"database: {self._gate.reason}"]
        return reasons + sorted({f"queue: {poller.cause}" for poller in self._pollers if poller.cause})

    def _running(self) -> list[Poller]:
        return [poller for poller in self._pollers if poller.thread.is_alive()]

    def _join(self, end: float) -> None:
        for poller in self._pollers:
            poller.thread.join(max(0.0, end - time.monotonic()))

    def _connect(self) -> Connection:
        settings = self._settings
        return database.connect(settings.database_url, "permissions-worker", echo=settings.sql_echo)

    def _probe(self) -> None:
        if self._settings.migrate:
            try:
                with self._connect() as connection:
                    migrations.migrate(connection)
            except database.ERRORS as error:
                raise UnavailableError(database.describe(error)) from None
        self._probe_store.probe()
        self._probe_store.close()

    def _advise(self) -> None:
        """Log what would lose events or store them late."""
        try:
            attributes = self._queue.attributes()
        except aws.ERRORS as error:
            cause = aws.describe(error, "sqs:GetQueueAttributes", self._queue.url)
            log.warning("queue attributes can't be read", extra={"fields": {"cause": cause}})
            return
        if "RedrivePolicy" not in attributes:
            log.warning(
                "queue has no dead-letter queue: a message that can't be stored is received again until its retention"
                " ends; set a RedrivePolicy",
                extra={"fields": {"queue": self._queue.url}},
            )


def run(settings: WorkerSettings) -> int:
    """Run until SIGTERM or SIGINT."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    worker = Worker(settings) if settings.audit_sqs_url else None
    health = HealthServer(
        settings.audit_health_host,
        settings.audit_health_port,
        worker.alive if worker else list,
        worker.ready if worker else list,
    )
    health.start()
    if worker:
        fields = {"queue": settings.audit_sqs_url, "pollers": settings.audit_pollers}
        log.info("audit worker starts", extra={"fields": fields})
        worker.start()
    else:
        metrics.DATABASE_UP.set(0)
        log.warning("audit worker is off: EPR_AUDIT_SQS_URL is empty; it stays healthy and stores nothing")
    stop.wait()
    log.info("stop requested")
    if worker:
        worker.stop()
    health.stop()
    return 0
