# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs that only the leader runs.

A job is a coroutine function. It is called when this instance becomes the leader, and then at its interval:

    async def report(leadership: Leadership) -> None:
        async with leadership.transaction() as connection:
            await connection.execute("INSERT INTO report …")

    Job("report", every=60, run=report)

Add it to `leader_jobs.own`. Rules:
- Write to the database through `leadership.transaction()` only: it is fenced, so that it fails once the term is over.
  It delays the next renewal, so keep it short (it has a second) and split large work into many transactions.
- For writes outside the database, pass `leadership.term` on and have the other side refuse a smaller one.
- It is cancelled at an await when this instance may no longer trust its lease, and when it stops: it may be half
  done, and the next leader starts again. Don't block the event loop.
- An exception is logged and counted, and the job runs again at its interval. Other jobs and the election go on.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prometheus_client import Counter, Gauge, Histogram

from evenkeel_gateway.database import describe
from evenkeel_gateway.metrics import REGISTRY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from evenkeel_gateway.database import Connection, Database
    from evenkeel_gateway.election import Election

log = logging.getLogger(__name__)

TRANSACTION_SECONDS = 1.0
# The event loop's clock stops while the machine is suspended, the lease's does not.
_LOOK_SECONDS = 1.0

_RUNS = Counter("gateway_job_runs_total", "Runs of a leader's job by outcome", ["job", "outcome"], registry=REGISTRY)
_SECONDS = Histogram("gateway_job_seconds", "Duration of a leader's job", ["job"], registry=REGISTRY)
_RUNNING = Gauge("gateway_job_running", "1 while the job runs on this instance", ["job"], registry=REGISTRY)
_LAST_SUCCESS = Gauge(
    "gateway_job_last_success_timestamp_seconds",
    "Unix time of its last success here",
    ["job"],
    registry=REGISTRY,
)


class Leadership:
    """One term of this instance as the leader."""

    def __init__(self, election: Election, database: Database, term: int) -> None:
        self._election = election
        self._database = database
        self.term = term

    @property
    def trusted(self) -> bool:
        return self._election.leads and self._election.term == self.term

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """Commit at the end, unless the term is over."""
        async with self._database.transaction(
            seconds=TRANSACTION_SECONDS, lock_seconds=TRANSACTION_SECONDS
        ) as connection:
            await connection.execute("SELECT leader_fence(%s)", (self.term,))
            yield connection


@dataclass(frozen=True)
class Job:
    name: str
    every: float
    run: Callable[[Leadership], Awaitable[None]]


class Jobs:
    def __init__(self, election: Election, database: Database, jobs: Sequence[Job]) -> None:
        self._election = election
        self._database = database
        self._jobs = jobs

    async def run(self) -> None:
        """Run the jobs while this instance is the leader."""
        while True:
            if not self._election.leads:
                await self._election.changed.wait(_LOOK_SECONDS)
                continue
            leadership = Leadership(self._election, self._database, self._election.term)
            tasks = [asyncio.create_task(self._repeat(job, leadership), name=job.name) for job in self._jobs]
            try:
                while leadership.trusted:
                    await self._election.changed.wait(min(self._election.lease_left, _LOOK_SECONDS))
            finally:
                for task in tasks:
                    task.cancel()
            # The jobs of one term end before those of the next begin.
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._database.close()

    async def _repeat(self, job: Job, leadership: Leadership) -> None:
        while True:
            await self._once(job, leadership)
            await asyncio.sleep(job.every)

    async def _once(self, job: Job, leadership: Leadership) -> None:
        outcome = "cancelled"
        _RUNNING.labels(job.name).set(1)
        try:
            with _SECONDS.labels(job.name).time():
                await job.run(leadership)
            outcome = "succeeded"
            _LAST_SUCCESS.labels(job.name).set_to_current_time()
        except Exception as error:
            outcome = "failed"
            fields = {"job": job.name, "term": leadership.term, "error": describe(error)}
            log.warning("a leader's job failed", extra={"fields": fields}, exc_info=log.isEnabledFor(logging.DEBUG))
        finally:
            _RUNNING.labels(job.name).set(0)
            _RUNS.labels(job.name, outcome).inc()
