"""One instance: the gateway itself, which also records what it believes and tries to write with old terms.

`python -m chaos.instance` in place of `python -m evenkeel_gateway`. Only read here: CHAOS_TRACE (where to write down),
CHAOS_SCALE (by what the code's fixed deadlines are divided), CHAOS_MUTANT (what to break), CHAOS_WRITES (set: try to).
"""

from __future__ import annotations

import asyncio
import os
import random
import select
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from chaos import mutants, trace
from evenkeel_gateway import clock, database, election, jobs, leader_jobs, lease, main
from evenkeel_gateway.database import DATABASE_ERRORS, Database
from evenkeel_gateway.election import DatabaseElection
from evenkeel_gateway.jobs import Job, Leadership

if TYPE_CHECKING:
    from evenkeel_gateway.lease import Verdict
    from evenkeel_gateway.settings import Settings

SAMPLE_SECONDS = 0.05
WRITE = "INSERT INTO chaos_write (term, who) VALUES (%s, %s)"


def scale(factor: float) -> None:
    """Divide the deadlines that are no settings, so that a scaled lease meets them as a real one would."""
    for module, names in {
        lease: ("LOCK_SECONDS", "TRANSACTION_SECONDS", "RESIGN_SECONDS", "TARGET_POLL_SECONDS", "WATCH_SECONDS"),
        election: ("LOCK_SECONDS", "TRANSACTION_SECONDS", "POLL_SECONDS"),
        jobs: ("TRANSACTION_SECONDS",),
    }.items():
        for name in names:
            setattr(module, name, getattr(module, name) / factor)
    database.CONNECT_TIMEOUT = max(2, round(database.CONNECT_TIMEOUT / factor))


def record(writer: trace.Writer) -> None:
    accept, step_down, run = DatabaseElection._accept, DatabaseElection._step_down, DatabaseElection.run

    def recording_accept(self: DatabaseElection, verdict: Verdict) -> None:
        at, believed = clock.now(), self._trust
        # What it would be, if this were accepted: nothing reads it before control returns to the event loop.
        accept(self, verdict)
        trust = self._trust
        if trust:
            writer.write("grant", at=at, started=verdict.started, until=trust.until, term=trust.term)
        elif believed:
            writer.write("end", at=clock.now())

    def recording_step_down(self: DatabaseElection) -> None:
        believed = self._trust
        step_down(self)
        if believed and self._trust is None:
            writer.write("end", at=clock.now())

    async def recording_run(self: DatabaseElection) -> None:
        tasks = [asyncio.create_task(sample(self, writer))]
        if "CHAOS_WRITES" in os.environ:
            tasks.append(asyncio.create_task(keep_writing(self)))
        try:
            await run(self)
        finally:
            for task in tasks:
                task.cancel()

    DatabaseElection._accept = recording_accept  # type: ignore[method-assign]
    DatabaseElection._step_down = recording_step_down  # type: ignore[method-assign]
    DatabaseElection.run = recording_run  # type: ignore[method-assign]


async def sample(self: DatabaseElection, writer: trace.Writer) -> None:
    while True:
        before = clock.now()
        leads = self.leads
        writer.write("sample", before=before, after=clock.now(), leads=leads, term=self.term)
        await asyncio.sleep(SAMPLE_SECONDS)


async def keep_writing(self: DatabaseElection) -> None:
    """Write with the term that this process once had, whatever came since, and take time before the commit."""
    own, chance = Database(os.environ["DATABASE_URL"], "chaos writer"), random.Random(os.getpid())
    term = 0
    while True:
        await asyncio.sleep(0.1 * chance.random())
        term = self.term if self.leads else term
        if not term:
            continue
        try:
            async with own.transaction(seconds=2, lock_seconds=2) as connection:
                await connection.execute("SELECT leader_fence(%s)", (term,))
                await asyncio.sleep(chance.choice((0, 0, 0.02, 0.2)))
                await connection.execute(WRITE, (term, "writer"))
        except DATABASE_ERRORS:
            continue


async def job(leadership: Leadership) -> None:
    async with leadership.transaction() as connection:
        await connection.execute(WRITE, (leadership.term, "job"))


def add_job() -> None:
    own = leader_jobs.own

    def with_another(settings: Settings) -> list[Job]:
        return [*own(settings), Job("chaos", every=0.2, run=job)]

    leader_jobs.own = with_another


if __name__ == "__main__":
    if os.environ.pop("LD_PRELOAD", None):  # its work is done here, and HAProxy is not to have it
        # libfaketime 0.9.10 now and then hands clock_nanosleep an invalid time.
        time.sleep = lambda seconds: select.select((), (), (), seconds)  # type: ignore[assignment,arg-type]
    mutants.apply(os.environ.get("CHAOS_MUTANT", ""))
    scale(float(os.environ.get("CHAOS_SCALE", "1")))
    record(trace.Writer(Path(os.environ["CHAOS_TRACE"])))
    if "CHAOS_WRITES" in os.environ:
        add_job()
    sys.exit(main.main([]))
