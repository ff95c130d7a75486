"""Instances that take part in an election and record each moment in which they believe that they lead."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

from evenkeel_gateway import clock
from evenkeel_gateway.database import Database
from evenkeel_gateway.election import DatabaseElection, Listener
from evenkeel_gateway.identity import Identity
from evenkeel_gateway.lease import LeaseStore, Timing
from support.wait import until, until_async

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from evenkeel_gateway.lease import Verdict

FAST = Timing(ttl=2.0, margin=0.5, tick=0.4, stale=2.0)
_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class Belief(NamedTuple):
    who: str
    start: float
    end: float
    term: int


class RecordingElection(DatabaseElection):
    """Writes down what it believes: a grant before it counts, its end once it no longer does."""

    def __init__(self, *arguments: object, record: Path) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        self._record = os.open(record, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def _accept(self, verdict: Verdict) -> None:
        now = clock.now()
        super()._accept(verdict)
        if self._trust:
            self._write(start=now, until=self._trust.until, term=self._trust.term)
        else:
            self._write(end=clock.now())

    def _step_down(self) -> None:
        super()._step_down()
        self._write(end=clock.now())

    def _write(self, **entry: float) -> None:
        os.write(self._record, (json.dumps(entry | {"who": f"{self._me}/{os.getpid()}"}) + "\n").encode())


def identity(number: int) -> Identity:
    """A lower number is an older instance."""
    return Identity(f"i-{number}", f"10.0.0.{number}", None, _EPOCH + timedelta(hours=number))


def build(
    conninfo: str, me: Identity, record: Path, *, timing: Timing = FAST, listen: bool = True
) -> RecordingElection:
    store = LeaseStore(Database(conninfo, me.instance_id), me, "1.0", timing)
    listener = Listener(conninfo, f"{me.instance_id} listen") if listen else None
    return RecordingElection(store, me.instance_id, timing, listener, record=record)


@asynccontextmanager
async def running(*elections: RecordingElection) -> AsyncIterator[None]:
    tasks = []
    for election in elections:
        tasks.append(asyncio.create_task(election.run()))
        # The first one that is registered leads: on a busy machine it may take longer than the next one.
        await asyncio.sleep(0.15)
        with suppress(AssertionError):
            await until_async(lambda election=election: election.leader, 3, "it knows who leads")  # type: ignore[misc]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(result, asyncio.CancelledError) or result is None for result in results), results


class Process:
    """An instance as a process, for what only processes suffer."""

    def __init__(self, conninfo: str, number: int, folder: Path, timing: Timing = FAST) -> None:
        self.record = folder / f"beliefs-{number}.jsonl"
        self.name = f"i-{number}"
        root = Path(__file__).parents[1]
        options = [conninfo, str(number), str(self.record), json.dumps(asdict(timing))]
        self._process = subprocess.Popen([sys.executable, "-m", "support.instances", *options], cwd=root)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGKILL)
            self._process.wait(10)

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def started(self) -> Self:
        until(self.record.exists, 10, f"{self.name} has evaluated once")
        return self

    @property
    def leads(self) -> bool:
        """By its record, at this moment."""
        now = clock.now()
        return any(belief.start <= now < belief.end for belief in beliefs(self.record))


def beliefs(record: Path) -> list[Belief]:
    found: list[Belief] = []
    for line in record.read_text().splitlines() if record.exists() else []:
        entry = json.loads(line)
        if "end" in entry:
            found = [belief._replace(end=min(belief.end, entry["end"])) for belief in found]
            found = [belief for belief in found if belief.start < belief.end]
        else:
            found.append(Belief(entry["who"], entry["start"], entry["until"], entry["term"]))
    return found


def assert_never_two(*records: Path) -> None:
    for one, other in combinations(records, 2):
        for a in beliefs(one):
            for b in beliefs(other):
                if a.who != b.who:
                    assert a.end <= b.start or b.end <= a.start, f"two believers: {a} and {b}"


async def _main(conninfo: str, number: int, record: Path, timing: Timing) -> None:
    election = build(conninfo, identity(number), record, timing=timing)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    task = asyncio.create_task(election.run())
    await stop.wait()
    await election.resign()
    task.cancel()


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), Timing(**json.loads(sys.argv[4]))))
