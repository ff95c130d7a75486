"""Jobs of the leader: they run only while it leads, with a fence, end at once, and do not disturb the election."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from evenkeel_gateway import leader_jobs
from evenkeel_gateway.database import Database
from evenkeel_gateway.election import MemoryElection
from evenkeel_gateway.jobs import Job, Jobs, Leadership
from evenkeel_gateway.metrics import REGISTRY
from evenkeel_gateway.migrations import migrate
from evenkeel_gateway.purge import purge
from evenkeel_gateway.settings import Settings
from support.instances import FAST, build, identity, running
from support.wait import until_async

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from evenkeel_gateway.database import Connection
    from evenkeel_gateway.election import Election

pytestmark = pytest.mark.anyio


@pytest.fixture
async def migrated(conninfo: str) -> str:
    database = Database(conninfo, "migrate")
    await migrate(database)
    await database.close()
    return conninfo


def query(conninfo: str, sql: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(conninfo, autocommit=True) as connection:
        cursor = connection.execute(sql.encode())
        return cursor.fetchall() if cursor.description else []


class Ticker:
    """Runs until it is cancelled, and says how often it did."""

    def __init__(self) -> None:
        self.terms: list[int] = []
        self.cancelled = 0
        self.running = False

    async def run(self, leadership: Leadership) -> None:
        self.terms.append(leadership.term)
        self.running = True
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running = False


class started:  # noqa: N801
    """The jobs of an election, running for the length of a block."""

    def __init__(self, election: Election, conninfo: str, *found: Job) -> None:
        self._jobs = Jobs(election, Database(conninfo, "jobs"), found)

    async def __aenter__(self) -> None:
        self._task = asyncio.create_task(self._jobs.run())

    async def __aexit__(self, *_: object) -> None:
        assert not self._task.done()
        self._task.cancel()
        await asyncio.wait({self._task})


def counted(job: str, outcome: str) -> float:
    return REGISTRY.get_sample_value("gateway_job_runs_total", {"job": job, "outcome": outcome}) or 0.0


async def test_a_job_runs_on_the_leader_alone_and_moves_with_it(migrated: str, tmp_path: Path) -> None:
    one, two = (build(migrated, identity(number), tmp_path / str(number)) for number in (1, 2))
    first, second = Ticker(), Ticker()
    async with (
        running(one, two),
        started(one, migrated, Job("ticker", 1, first.run)),
        started(two, migrated, Job("ticker", 1, second.run)),
    ):
        await until_async(lambda: first.running, 2, "it runs where the leader is")
        assert not second.terms
        await two.force()
        await until_async(lambda: second.running, 2, "it runs where the leader is now")
        assert not first.running
        assert (first.terms, second.terms) == ([1], [2])
        await until_async(lambda: first.cancelled == 1, 1, "ended")


async def test_a_job_ends_at_the_moment_trust_does(migrated: str, tmp_path: Path) -> None:
    election, ticker = build(migrated, identity(1), tmp_path / "1"), Ticker()
    async with started(election, migrated, Job("ticker", 1, ticker.run)):
        await election.evaluate()  # and never again
        await until_async(lambda: ticker.running, 1, "it runs")
        await until_async(lambda: not election.leads, FAST.ttl, "trust is over")
        await until_async(lambda: not ticker.running, 0.2, "it has ended")


async def test_a_jobs_query_is_cut_short_when_its_leader_resigns(migrated: str, tmp_path: Path) -> None:
    election = build(migrated, identity(1), tmp_path / "1")
    sleeping = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"

    async def slow(leadership: Leadership) -> None:
        async with leadership.transaction() as connection:
            await connection.execute("SELECT pg_sleep(0.95)")

    before = counted("slow", "cancelled")
    async with started(election, migrated, Job("slow", 1, slow)):
        await election.evaluate()
        await until_async(lambda: query(migrated, sleeping), 2, "its query runs")
        at = time.monotonic()
        await election.resign()  # waits for the lock that the job's fence holds
        assert time.monotonic() - at < 0.6
        await until_async(lambda: counted("slow", "cancelled") == before + 1, 1, "counted")


async def test_errors_are_counted_and_end_neither_the_job_nor_others(migrated: str, tmp_path: Path) -> None:
    election, ticker = build(migrated, identity(1), tmp_path / "1"), Ticker()

    async def failing(leadership: Leadership) -> None:
        raise ValueError("no good")

    before = counted("failing", "failed")
    async with (
        running(election),
        started(election, migrated, Job("failing", 0.05, failing), Job("ticker", 1, ticker.run)),
    ):
        await until_async(lambda: counted("failing", "failed") >= before + 3, 3, "tried again")
        assert ticker.running
        assert election.leads


async def test_a_write_after_the_term_is_refused(migrated: str, tmp_path: Path) -> None:
    one, two = (build(migrated, identity(number), tmp_path / str(number)) for number in (1, 2))
    await one.evaluate()
    await two.evaluate()
    query(migrated, "CREATE TABLE written (term int)")
    database = Database(migrated, "jobs")
    leadership = Leadership(one, database, one.term)
    assert leadership.trusted
    async with leadership.transaction() as connection:
        await connection.execute("INSERT INTO written VALUES (1)")
    await one.resign()
    assert not leadership.trusted
    await two.evaluate()
    with pytest.raises(psycopg.Error, match="leadership term 1 is over"):
        async with leadership.transaction() as connection:
            await connection.execute("INSERT INTO written VALUES (1)")
    assert query(migrated, "SELECT count(*) FROM written") == [(1,)]
    await database.close()


async def test_with_an_election_in_memory_they_run_until_it_resigns(migrated: str) -> None:
    election, ticker = MemoryElection("i-1"), Ticker()
    async with started(election, migrated, Job("ticker", 1, ticker.run)):
        await until_async(lambda: ticker.running, 1, "it runs")
        await election.resign()
        await until_async(lambda: not ticker.running, 1, "it has ended")


async def test_the_purge_takes_what_is_old_in_batches(
    migrated: str, tmp_path: Path, environment: Callable[..., None]
) -> None:
    environment(PURGE_JOURNAL_DAYS="30", PURGE_BATCH_ROWS="7")
    query(
        migrated,
        "INSERT INTO fleet_rollout (holder, reason, started_at, expires_at, finished_at, result)"
        " SELECT 'ann', 'r' || n, now(), now() - n * interval '10 days', now() - n * interval '10 days', 'succeeded'"
        " FROM generate_series(1, 9) n;"
        "INSERT INTO fleet_rollout (holder, reason, expires_at) VALUES ('bob', 'died', now() - interval '31 days');"
        "INSERT INTO fleet_rollout_step (rollout_id, actor, host, step, result)"
        " SELECT id, 'ann', 'h' || n, 'swap', 'succeeded' FROM fleet_rollout, generate_series(1, 5) n;"
        "INSERT INTO scoped_rollout (scope, holder, reason, expires_at)"
        " VALUES ('ecs/production/api', 'ann', 'd1', now() - interval '20 days'),"
        " ('ecs/production/worker', 'ann', 'old', now() - interval '31 days');"
        "INSERT INTO scoped_rollout_step (rollout_id, actor, host, step, result)"
        " SELECT id, 'ann', 'api', 'deploy', 'succeeded' FROM scoped_rollout;"
        "INSERT INTO ec2_launch (instance_id, launched_at, version, incarnation)"
        " VALUES ('i-9', now(), '1', gen_random_uuid())",
    )
    election = build(migrated, identity(1), tmp_path / "1")
    await election.evaluate()
    transactions = 0

    class Counting(Leadership):
        @asynccontextmanager
        async def transaction(self) -> AsyncIterator[Connection]:
            nonlocal transactions
            transactions += 1
            async with super().transaction() as connection:
                yield connection

    database = Database(migrated, "jobs")
    await purge(Counting(election, database, 1), Settings())
    await database.close()
    assert query(migrated, "SELECT reason FROM fleet_rollout ORDER BY 1") == [("r1",), ("r2",)]
    assert query(migrated, "SELECT count(*) FROM fleet_rollout_step") == [(10,)]
    assert query(migrated, "SELECT instance_id FROM ec2_launch") == [("i-1",)]
    kept = "SELECT reason FROM scoped_rollout JOIN scoped_rollout_step step ON rollout_id = scoped_rollout.id"
    assert query(migrated, kept) == [("d1",)]
    # Of 40 steps, 8 rollouts, a step and a deployment, and no instance: the election had removed it.
    assert transactions == 6 + 2 + 1 + 1 + 1


async def test_the_purge_is_what_the_gateway_does_itself(environment: Callable[..., None]) -> None:
    environment(PURGE_INTERVAL_SECONDS="60")
    assert [(job.name, job.every) for job in leader_jobs.own(Settings())] == [("purge", 60)]
