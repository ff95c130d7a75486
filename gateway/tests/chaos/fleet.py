"""Five instances, each with its own connection to the database, and functions that break them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Self

import psycopg

from chaos import history
from chaos.links import Link
from chaos.mutants import MUTANTS
from chaos.trace import Belief, Reader, Trace
from evenkeel_gateway import clock
from evenkeel_gateway.database import Database
from evenkeel_gateway.identity import Identity
from evenkeel_gateway.lease import LeaseStore, Timing
from evenkeel_gateway.migrations import migrate
from support.pgbouncer import PgBouncer
from support.wait import free_port, in_thread

if TYPE_CHECKING:
    from support.postgres import Cluster

SIZE = 5
UNSCALED = Timing(ttl=15.0, margin=2.0, tick=5.0, stale=15.0)
_ROOT = Path(__file__).parents[1]
_KEPT = ("PATH", "HOME", "LANG", "TMPDIR", "HAPROXY_BINARY", "PYTHONPATH")
_FAKETIME = "libfaketime.so.1"
_NEVER = datetime(2026, 1, 1, tzinfo=UTC)
# The election's clock, which can be put forward and back.
_SHIFTED_CLOCK = """
CREATE SCHEMA shifted;
CREATE TABLE shifted.by (seconds float);
INSERT INTO shifted.by VALUES (0);
CREATE FUNCTION shifted.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS
    'SELECT pg_catalog.clock_timestamp() + seconds * interval ''1 s'' FROM shifted.by';
"""


def scaled(factor: float) -> Timing:
    return Timing(*(value / factor for value in (UNSCALED.ttl, UNSCALED.margin, UNSCALED.tick, UNSCALED.stale)))


def faketime() -> str:
    found = next((str(path) for path in Path("/usr/lib").glob(f"**/faketime/{_FAKETIME}")), None)
    if found is None:
        raise RuntimeError(f"{_FAKETIME} is not installed: the chaos tests need it (apt install libfaketime)")
    return found


@dataclass(frozen=True)
class Way:
    """How an instance reaches the database."""

    pooled: bool = False
    listens: bool = True


@dataclass
class Process:
    pid: subprocess.Popen[bytes]
    reader: Reader
    folder: Path

    @property
    def alive(self) -> bool:
        return self.pid.poll() is None


class Instance:
    def __init__(self, fleet: Fleet, number: int, way: Way) -> None:
        self.name = f"i-{number}"
        self.number = number
        self.way = way
        self.link: Link
        self.direct: Link
        self.processes: list[Process] = []
        self._fleet = fleet
        self._clock = fleet.folder / f"{self.name}.clock"
        self.set_clock(0)

    @property
    def links(self) -> list[Link]:
        return [self.link, self.direct]

    @property
    def running(self) -> list[Process]:
        return [process for process in self.processes if process.alive]

    async def connect(self) -> None:
        fleet = self._fleet
        self.link = Link(fleet.pooler.port if self.way.pooled else fleet.cluster.port)
        self.direct = Link(fleet.cluster.port)
        for link in self.links:
            await link.start()

    def set_clock(self, offset: float) -> None:
        """Put this host's wall clock forward or back."""
        fresh = self._clock.with_suffix(".new")
        fresh.write_text(f"{offset:+.0f}\n")
        fresh.rename(self._clock)

    def start(self, **more: str) -> Process:
        fleet = self._fleet
        label = f"{self.name}.{len(self.processes)}"
        folder = fleet.folder / label
        folder.mkdir()
        timing = fleet.timing
        environment = {
            "INSTANCE_ID": self.name,
            "PORT": str(free_port()),
            "PRIVATE_IP": f"10.0.0.{self.number}",
            "LAUNCHED_AT": f"2026-01-01T{self.number:02}:00:00Z",
            "AWS_EC2_METADATA_DISABLED": "true",
            "RUNTIME_DIR": str(folder),
            "ACCESS_LOG": "false",
            "MAX_CONNECTIONS": "100",
            "SHUTDOWN_DELAY_SECONDS": "0.2",
            "SHUTDOWN_GRACE_SECONDS": "2",
            "LEASE_TTL_SECONDS": str(timing.ttl),
            "LEASE_MARGIN_SECONDS": str(timing.margin),
            "ELECTION_TICK_SECONDS": str(timing.tick),
            "STALE_INSTANCE_THRESHOLD_SECONDS": str(timing.stale),
            "DATABASE_URL": fleet.through(self.link),
            "DB_LISTEN": str(self.way.listens).lower(),
            "CHAOS_TRACE": str(folder / "trace.jsonl"),
            "CHAOS_SCALE": str(fleet.scale),
            "CHAOS_MUTANT": fleet.mutant,
            "PYTHONHASHSEED": "0",
        }
        if self.way.pooled and self.way.listens:
            environment |= {"DB_DIRECT_HOST": "127.0.0.1", "DB_DIRECT_PORT": str(self.direct.port)}
        if fleet.writes:
            environment["CHAOS_WRITES"] = "1"
        if fleet.clocks:
            environment |= {
                "LD_PRELOAD": faketime(),
                "FAKETIME_TIMESTAMP_FILE": str(self._clock),
                "FAKETIME_CACHE_DURATION": "1",
                "DONT_FAKE_MONOTONIC": "1",
            }
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
        with (folder / "log").open("w") as output:
            pid = subprocess.Popen(
                # It must not outlive this process.
                ["setpriv", "--pdeathsig", "KILL", "--", sys.executable, "-m", "chaos.instance"],
                cwd=_ROOT,
                env=kept | environment | more,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        process = Process(pid, Reader(folder / "trace.jsonl", label), folder)
        self.processes.append(process)
        return process

    def signal(self, number: signal.Signals) -> None:
        for process in self.running:
            process.pid.send_signal(number)

    def kill(self) -> None:
        """As if the power of the host went: what the gateway started goes, too."""
        for process in self.running:
            children = _descendants(process.pid.pid)
            process.pid.kill()
            process.pid.wait(10)
            process.reader.trace.killed = clock.now()
            for child in children:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)


def _descendants(pid: int) -> list[int]:
    found = []
    with contextlib.suppress(OSError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            found += [int(child), *_descendants(int(child))]
    return found


class Fleet:
    """On a database of its own; the cluster is not shared where it is to be broken."""

    def __init__(
        self,
        cluster: Cluster,
        folder: Path,
        database: str,
        *,
        scale: float,
        ways: list[Way],
        mutant: str = "",
        clocks: bool = False,
        writes: bool = True,
    ) -> None:
        self.cluster = cluster
        self.folder = folder
        self.scale = scale
        self.timing = scaled(scale)
        self.mutant = mutant
        self.clocks = clocks
        self.writes = writes
        self.database = database
        self.pooler = PgBouncer(cluster.port)
        self.instances = [Instance(self, number, way) for number, way in enumerate(ways, start=1)]

    @property
    def conninfo(self) -> str:
        """The direct way, that nothing breaks."""
        return self.cluster.conninfo(self.database)

    def through(self, link: Link) -> str:
        return f"postgresql://gateway@127.0.0.1:{link.port}/{self.database}?sslmode=disable"

    async def __aenter__(self) -> Self:
        await in_thread(self.pooler.__enter__)
        database = Database(self.conninfo, "chaos")
        await migrate(database)
        await database.close()
        await in_thread(self._prepare)
        for instance in self.instances:
            await instance.connect()
        return self

    def _prepare(self) -> None:
        history.prepare(self.conninfo)
        with psycopg.connect(self.conninfo, autocommit=True) as connection:
            connection.execute(_SHIFTED_CLOCK.encode())
            connection.execute(
                f'ALTER DATABASE "{self.database}" SET search_path = shifted, pg_catalog, public'.encode()
            )
            if self.mutant and MUTANTS[self.mutant].sql:
                connection.execute(MUTANTS[self.mutant].sql.encode())

    async def __aexit__(self, *_: object) -> None:
        for instance in self.instances:
            instance.signal(signal.SIGCONT)
            await in_thread(instance.kill)
            for link in instance.links:
                await link.close()
        await in_thread(self.pooler.__exit__)
        with contextlib.suppress(psycopg.Error):
            await in_thread(history.drop, self.conninfo)

    def traces(self) -> list[Trace]:
        return [process.reader.read() for instance in self.instances for process in instance.processes]

    def beliefs(self) -> list[Belief]:
        return [belief for trace in self.traces() for belief in trace.beliefs()]

    def leader(self) -> Instance | None:
        """Who believes to lead at this moment."""
        now = clock.now()
        for instance in self.instances:
            for process in instance.running:
                if any(one.start <= now < one.end for one in process.reader.read().beliefs()[-1:]):
                    return instance
        return None

    async def until_led(self, seconds: float) -> Instance:
        end = clock.now() + seconds
        while clock.now() < end:
            leader = self.leader()
            if leader:
                return leader
            await asyncio.sleep(0.02)
        logs = [(process.folder / "log").read_text()[-1500:] for one in self.instances for process in one.processes]
        raise AssertionError(f"no leader within {seconds} s:\n" + "\n".join(logs))

    async def request_handover(self, target: str, who: str) -> None:
        """As a rollout does; raises RequestRefusedError, or one of DATABASE_ERRORS."""
        database = Database(self.conninfo, who)
        store = LeaseStore(database, Identity(who, None, None, _NEVER), "chaos", self.timing)
        try:
            await store.request_handover(target, who, "chaos")
        finally:
            await database.close()

    async def shift_database_clock(self, seconds: float) -> None:
        async with await psycopg.AsyncConnection.connect(self.conninfo, autocommit=True) as connection:
            await connection.execute("UPDATE shifted.by SET seconds = seconds + %s", (seconds,))
