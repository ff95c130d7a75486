"""Elections on a real PostgreSQL: instances in this process, and processes that are killed or stopped."""

from __future__ import annotations

import asyncio
import signal
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import AsyncTransaction
from psycopg.conninfo import conninfo_to_dict

from evenkeel_gateway import clock, lease
from evenkeel_gateway.database import Database
from evenkeel_gateway.lease import LeaseStore, RequestRefusedError, Step, Timing
from evenkeel_gateway.migrations import migrate
from support.instances import FAST, Process, RecordingElection, assert_never_two, beliefs, build, identity, running
from support.pgbouncer import PgBouncer
from support.wait import until, until_async

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.postgres import Cluster

pytestmark = pytest.mark.anyio


@pytest.fixture
async def migrated(conninfo: str) -> str:
    await migrated_database(conninfo)
    return conninfo


async def migrated_database(conninfo: str) -> None:
    database = Database(conninfo, "migrate")
    await migrate(database)
    await database.close()


def query(conninfo: str, sql: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(conninfo, autocommit=True) as connection:
        cursor = connection.execute(sql.encode())
        return cursor.fetchall() if cursor.description else []


def leaders(*elections: RecordingElection) -> list[str]:
    return [election._me for election in elections if election.leads]


async def test_one_leader_the_first_and_the_table_shows_it(migrated: str, tmp_path: Path) -> None:
    fleet = [build(migrated, identity(number), tmp_path / str(number)) for number in (1, 2, 3)]
    async with running(*fleet):
        await asyncio.sleep(1)
        assert leaders(*fleet) == ["i-1"]
        assert [election.leader for election in fleet] == ["i-1"] * 3
        assert {election.term for election in fleet} == {1}
        assert query(migrated, "SELECT instance_id FROM ec2_heartbeat WHERE is_leader") == [("i-1",)]
        assert query(migrated, "SELECT count(*) FROM ec2_launch") == [(3,)]
    assert_never_two(*(tmp_path / str(number) for number in (1, 2, 3)))


async def test_an_older_instance_does_not_preempt_but_takes_the_next_vacancy(migrated: str, tmp_path: Path) -> None:
    young, old, middle = (build(migrated, identity(number), tmp_path / str(number)) for number in (9, 1, 5))
    async with running(young, old, middle):
        await asyncio.sleep(3 * FAST.tick)
        assert leaders(young, old, middle) == ["i-9"]
        assert young.term == 1
        await young.resign()
        await until_async(lambda: leaders(young, old, middle), 1, "a successor")
        assert leaders(young, old, middle) == ["i-1"]
        assert old.term == 2


async def test_ties_go_to_the_smaller_instance_id(migrated: str, tmp_path: Path) -> None:
    last = build(migrated, identity(1), tmp_path / "1")
    twins = [build(migrated, identity(2), tmp_path / "2"), build(migrated, identity(3), tmp_path / "3")]
    query(migrated, "SELECT 1")
    async with running(last, *twins):
        query(migrated, "UPDATE ec2_launch SET launched_at = '2026-01-01'")
        await last.resign()
        await until_async(lambda: leaders(*twins), 1, "a successor")
        assert leaders(*twins) == ["i-2"]


async def test_resigning_hands_over_within_a_second(migrated: str, tmp_path: Path) -> None:
    fleet = [build(migrated, identity(number), tmp_path / str(number)) for number in (1, 2, 3)]
    async with running(*fleet):
        started = time.monotonic()
        await fleet[0].resign()
        await until_async(lambda: fleet[1].leads, 1, "the next one leads")
        assert time.monotonic() - started < 1
        assert query(migrated, "SELECT instance_id FROM ec2_launch ORDER BY 1") == [("i-2",), ("i-3",)]
    assert_never_two(*(tmp_path / str(number) for number in (1, 2, 3)))


async def test_without_listening_the_tick_serves(migrated: str, tmp_path: Path) -> None:
    fleet = [build(migrated, identity(number), tmp_path / str(number), listen=False) for number in (1, 2)]
    async with running(*fleet):
        await fleet[0].resign()
        await until_async(lambda: fleet[1].leads, 2, "the next one leads")


async def test_kill_of_the_leader_is_followed_within_the_ttl(migrated: str, tmp_path: Path) -> None:
    with ExitStack() as stack:
        fleet = [stack.enter_context(Process(migrated, number, tmp_path)).started() for number in (1, 2, 3)]
        until(lambda: fleet[0].leads, 5, "the first leads")
        fleet[0].signal(signal.SIGKILL)
        took = until(lambda: fleet[1].leads, 10, "the second leads")
        assert took < FAST.ttl + 0.5
        until(lambda: query(migrated, "SELECT count(*) FROM ec2_launch") == [(2,)], 5, "the dead one is removed")
        assert query(migrated, "SELECT instance_id FROM ec2_heartbeat WHERE is_leader") == [("i-2",)]
        assert_never_two(*(process.record for process in fleet))


async def test_a_stopped_leader_never_believes_beside_its_successor(migrated: str, tmp_path: Path) -> None:
    with ExitStack() as stack:
        fleet = [stack.enter_context(Process(migrated, number, tmp_path)).started() for number in (1, 2, 3)]
        until(lambda: fleet[0].leads, 5, "the first leads")
        for _ in range(3):
            leading = next(process for process in fleet if process.leads)
            leading.signal(signal.SIGSTOP)
            until(lambda old=leading: any(one.leads for one in fleet if one is not old), 10, "a successor")  # type: ignore[misc]
            leading.signal(signal.SIGCONT)
            await asyncio.sleep(2 * FAST.tick)
            assert sum(process.leads for process in fleet) == 1
            assert not leading.leads
        for process in fleet:
            process.signal(signal.SIGTERM)
        assert_never_two(*(process.record for process in fleet))
        terms = [belief.term for process in fleet for belief in beliefs(process.record)]
        assert max(terms) >= 4


async def test_no_database_no_leader_and_one_again_when_it_is_back(own_cluster: Cluster, tmp_path: Path) -> None:
    conninfo = own_cluster.conninfo()
    await migrated_database(conninfo)
    fleet = [build(conninfo, identity(number), tmp_path / str(number)) for number in (1, 2, 3)]
    async with running(*fleet):
        await asyncio.to_thread(own_cluster.stop)
        expires = clock.now() + FAST.ttl
        await until_async(lambda: not leaders(*fleet), FAST.ttl, "stepped down")
        assert clock.now() <= expires - FAST.margin + 0.1
        assert all(election.problem for election in fleet)
        await asyncio.sleep(1)
        assert not leaders(*fleet)
        await asyncio.to_thread(own_cluster.start)
        await until_async(lambda: len(leaders(*fleet)) == 1, 6, "one leader")
        await asyncio.sleep(1)
        assert len(leaders(*fleet)) == 1
    assert_never_two(*(tmp_path / str(number) for number in (1, 2, 3)))


async def test_self_trust_ends_a_margin_before_the_lease(migrated: str, tmp_path: Path) -> None:
    election = build(migrated, identity(1), tmp_path / "1")
    before = clock.now()
    await election.evaluate()
    [(left,)] = query(migrated, "SELECT extract(epoch FROM expires_at - clock_timestamp())::float FROM leader_lease")
    lease_ends = clock.now() + left
    assert election._trust is not None
    assert before + FAST.ttl - FAST.margin <= election._trust.until <= lease_ends - FAST.margin


async def test_a_lease_whose_commit_was_not_answered_is_known_again(
    migrated: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    election, beside = (build(migrated, identity(1), tmp_path / name) for name in ("one", "beside"))
    committed = AsyncTransaction.__aexit__

    async def unanswered(self: AsyncTransaction, *error: Any) -> Any:
        await committed(self, *error)
        raise psycopg.OperationalError("the connection was lost")

    with monkeypatch.context() as lost:
        lost.setattr(AsyncTransaction, "__aexit__", unanswered)
        with pytest.raises(psycopg.OperationalError):
            await election.evaluate()
    assert not election.leads
    assert (await beside.evaluate()).step is Step.FOLLOW, "another process of the instance takes it for its own"
    assert (await election.evaluate()).step is Step.RENEW
    assert election.leads
    assert election.term == 1


async def test_a_handover_to_one_that_has_just_died_is_over_within_a_second(migrated: str, tmp_path: Path) -> None:
    one, two, three = (build(migrated, identity(number), tmp_path / str(number)) for number in (1, 2, 3))
    await one.evaluate()
    await three.evaluate()
    async with running(one, two):
        assert one.leads
        await two._store.request_handover("i-3", "operator", "test")
        await until_async(lambda: not leaders(one, two), 1, "handed over")
        await until_async(lambda: leaders(one, two), 1, "taken by one that is there")
        assert query(migrated, "SELECT requested_holder FROM leader_lease") == [(None,)]
    assert_never_two(*(tmp_path / str(number) for number in (1, 2, 3)))


async def test_dead_candidates_do_not_prolong_a_vacancy(migrated: str, tmp_path: Path) -> None:
    """They count as fresh for a while, and are older."""
    dead = [build(migrated, identity(number), tmp_path / str(number)) for number in (1, 2, 3)]
    alive = build(migrated, identity(4), tmp_path / "4")
    started = clock.now()
    for election in dead:
        await election.evaluate()
    async with running(alive):
        await asyncio.sleep(0.7 * FAST.ttl)
        for election in dead[1:]:  # their last sign of life
            await election.evaluate()
        await until_async(lambda: alive.leads, FAST.ttl + 2, "the living one leads")
        assert clock.now() - started < FAST.ttl + lease.GRACE_SECONDS + 0.3


class ShiftedClock:
    """Shadows the clock in the database with one that can be put forward and back."""

    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo
        database = conninfo_to_dict(conninfo)["dbname"]
        query(
            conninfo,
            "CREATE SCHEMA shifted; CREATE TABLE shifted.by (seconds float); INSERT INTO shifted.by VALUES (0)",
        )
        query(
            conninfo,
            "CREATE FUNCTION shifted.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS"
            " 'SELECT pg_catalog.clock_timestamp() + seconds * interval ''1 s'' FROM shifted.by'",
        )
        query(conninfo, f"ALTER DATABASE {database} SET search_path = shifted, pg_catalog, public")

    def shift(self, seconds: float) -> None:
        query(self._conninfo, f"UPDATE shifted.by SET seconds = seconds + {seconds}")


@pytest.mark.parametrize("seconds", [3600, -3600])
async def test_a_leap_of_the_databases_clock_ends_no_lease_early_and_none_late(
    migrated: str, tmp_path: Path, seconds: float
) -> None:
    database = ShiftedClock(migrated)
    fleet = [build(migrated, identity(number), tmp_path / str(number)) for number in (1, 2, 3)]
    async with running(*fleet):
        assert leaders(*fleet) == ["i-1"]
        database.shift(seconds)
        await asyncio.sleep(3 * FAST.tick)
        assert leaders(*fleet) == ["i-1"]
        assert fleet[0].term == 1
        assert query(migrated, "SELECT count(*) FROM ec2_launch") == [(3,)]
        database.shift(seconds)
        fleet[0]._stopping = True  # falls silent
        await until_async(lambda: leaders(*fleet[1:]) == ["i-2"], 2 * FAST.ttl + FAST.tick + 1, "a successor")
    assert_never_two(*(tmp_path / str(number) for number in (1, 2, 3)))


@pytest.mark.parametrize("listen", [True, False])
async def test_one_that_has_just_come_is_not_deceived_by_a_clock_that_was_put_forward(
    migrated: str, tmp_path: Path, *, listen: bool
) -> None:
    database = ShiftedClock(migrated)
    leading = build(migrated, identity(2), tmp_path / "2", listen=listen)
    coming = build(migrated, identity(1), tmp_path / "1", listen=listen)
    async with running(leading):
        database.shift(3600)
        async with running(coming):
            await asyncio.sleep(lease.WATCH_SECONDS + 1)
            assert leaders(leading, coming) == ["i-2"]
    assert_never_two(tmp_path / "1", tmp_path / "2")


async def test_a_lease_left_by_a_fleet_that_is_gone_is_taken_soon(migrated: str, tmp_path: Path) -> None:
    query(migrated, "UPDATE leader_lease SET holder = 'gone', term = 7, expires_at = now() - interval '1 day'")
    election = build(migrated, identity(1), tmp_path / "1")
    async with running(election):
        await until_async(lambda: election.leads, lease.WATCH_SECONDS + 0.5, "it leads")
        assert election.term == 8


@contextmanager
def lease_locked(conninfo: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(conninfo) as connection:
        connection.execute("SELECT FROM leader_lease FOR UPDATE")
        yield connection


async def test_waiting_for_the_lock_does_not_shorten_the_lease(migrated: str, tmp_path: Path) -> None:
    timing = Timing(ttl=1.5, margin=0.2, tick=0.5, stale=2)
    election = build(migrated, identity(1), tmp_path / "1", timing=timing)
    with lease_locked(migrated) as blocker:
        task = asyncio.create_task(election.evaluate())
        await asyncio.sleep(1.2)
        blocker.rollback()
        await task
    [(left,)] = query(migrated, "SELECT extract(epoch FROM expires_at - clock_timestamp())::float FROM leader_lease")
    assert timing.ttl - 0.2 < left <= timing.ttl
    assert election.lease_left > timing.ttl - timing.margin - 0.2


async def test_a_stalled_lock_holder_costs_leadership_not_safety(migrated: str, tmp_path: Path) -> None:
    fleet = [build(migrated, identity(number), tmp_path / str(number)) for number in (1, 2)]
    async with running(*fleet):
        with lease_locked(migrated):
            await until_async(lambda: not leaders(*fleet), FAST.ttl, "stepped down")
            await asyncio.sleep(0.5)
            assert not leaders(*fleet)
        await until_async(lambda: leaders(*fleet), 3, "a leader again")
    assert_never_two(tmp_path / "1", tmp_path / "2")


async def test_forced_leadership_is_one_request(migrated: str, tmp_path: Path) -> None:
    fleet = [build(migrated, identity(number), tmp_path / str(number)) for number in (1, 2, 3)]
    async with running(*fleet):
        await fleet[2].force()
        await until_async(lambda: leaders(*fleet) == ["i-3"], 1, "the forced one leads")
        assert query(migrated, "SELECT requested_holder, request_expires_at FROM leader_lease") == [(None, None)]
        await fleet[1].force()
        await until_async(lambda: leaders(*fleet) == ["i-2"], 1, "the next forced one leads")
        await asyncio.sleep(3 * FAST.tick)
        assert leaders(*fleet) == ["i-2"], "the first request is asserted again"
        assert fleet[1].term == 3
    assert_never_two(*(tmp_path / str(number) for number in (1, 2, 3)))


async def test_a_handover_is_given_up_before_anybody_can_take_it(
    migrated: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = (build(migrated, identity(number), tmp_path / str(number)) for number in (1, 2))
    await one.evaluate()
    await two.evaluate()
    await two.force()
    believed: list[bool] = []

    async def notify(_: object) -> None:
        believed.append(one.leads)

    monkeypatch.setattr(lease, "_notify", notify)  # the last thing before the commit
    await one.evaluate()
    assert believed == [False]


async def test_a_handover_to_a_stale_or_draining_target_is_refused(migrated: str, tmp_path: Path) -> None:
    one, two = (build(migrated, identity(number), tmp_path / str(number)) for number in (1, 2))
    async with running(one, two):
        with pytest.raises(RequestRefusedError, match="i-7 has no fresh heartbeat"):
            await one._store.request_handover("i-7", "operator", "test")
        query(migrated, "UPDATE ec2_launch SET draining_since = now() WHERE instance_id = 'i-2'")
        with pytest.raises(RequestRefusedError, match="draining"):
            await one._store.request_handover("i-2", "operator", "test")
        assert leaders(one, two) == ["i-1"]


async def test_a_request_removes_nobody(migrated: str, tmp_path: Path) -> None:
    one, two = (build(migrated, identity(number), tmp_path / str(number)) for number in (1, 2))
    await one.evaluate()
    await two.evaluate()
    query(migrated, "UPDATE ec2_heartbeat SET last_heartbeat = now() - interval '1 h'")
    with pytest.raises(RequestRefusedError, match="i-2 has no fresh heartbeat"):
        await one._store.request_handover("i-2", "operator", "test")
    assert query(migrated, "SELECT count(*) FROM ec2_launch") == [(2,)]


async def test_a_second_handover_is_refused_while_one_is_pending(migrated: str, tmp_path: Path) -> None:
    fleet = [build(migrated, identity(number), tmp_path / str(number)) for number in (1, 2, 3)]
    for election in fleet:
        await election.evaluate()
    store = fleet[0]._store
    await store.request_handover("i-2", "ann", "patching")
    with pytest.raises(RequestRefusedError, match=r"to i-2 is pending until .* requested by ann: patching"):
        await store.request_handover("i-3", "bob", "me too")


async def test_a_draining_instance_does_not_take_a_vacancy(migrated: str, tmp_path: Path) -> None:
    fleet = [build(migrated, identity(number), tmp_path / str(number)) for number in (1, 2, 3)]
    async with running(*fleet):
        query(migrated, "UPDATE ec2_launch SET draining_since = now() WHERE instance_id = 'i-2'")
        await fleet[0].resign()
        await until_async(lambda: leaders(*fleet) == ["i-3"], 1, "the one that is not draining leads")


async def test_a_live_instance_that_was_removed_registers_again(migrated: str, tmp_path: Path) -> None:
    one, two = (build(migrated, identity(number), tmp_path / str(number)) for number in (1, 2))
    async with running(one, two):
        query(migrated, "DELETE FROM ec2_launch")
        back = "SELECT instance_id FROM ec2_launch JOIN ec2_heartbeat USING (instance_id) ORDER BY 1"
        await until_async(lambda: query(migrated, back) == [("i-1",), ("i-2",)], 2, "both are back")
        assert leaders(one, two) == ["i-1"]


async def test_stale_instances_are_removed(migrated: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    election = build(migrated, identity(5), tmp_path / "5")
    insert = (
        "INSERT INTO ec2_launch (instance_id, launched_at, version, incarnation)"
        " VALUES ('{0}', now(), '1', gen_random_uuid());"
        "INSERT INTO ec2_heartbeat VALUES ('{0}', clock_timestamp() - interval '{1} s', {2})"
    )
    query(migrated, insert.format("stale", FAST.stale + 0.1, "true"))
    query(migrated, insert.format("fresh", FAST.stale - 1, "false"))
    await election.evaluate()
    assert query(migrated, "SELECT count(*) FROM ec2_launch") == [(3,)], "by one that has just come"
    monkeypatch.setattr(lease, "WATCH_SECONDS", 0.0)
    await election.evaluate()
    assert query(migrated, "SELECT instance_id FROM ec2_launch ORDER BY 1") == [("fresh",), ("i-5",)]


async def test_two_processes_of_one_instance_are_not_one_leader(migrated: str, tmp_path: Path) -> None:
    """As while a container is swapped for a new one."""
    old, new = (build(migrated, identity(1), tmp_path / name) for name in ("old", "new"))
    async with running(old, new):
        await asyncio.sleep(3 * FAST.tick)
        assert (old.leads, new.leads) == (True, False)
        await old.resign()
        await until_async(lambda: new.leads, 1, "the new process leads")
        assert query(migrated, "SELECT instance_id FROM ec2_launch") == [("i-1",)]
        assert new.term == 2


async def test_a_write_of_an_old_term_is_refused(migrated: str, tmp_path: Path) -> None:
    one, two = (build(migrated, identity(number), tmp_path / str(number)) for number in (1, 2))
    await one.evaluate()
    await two.evaluate()
    query(migrated, f"SELECT leader_fence({one.term})")
    await one.resign()
    with pytest.raises(psycopg.Error, match="leadership term 1 is over"):
        query(migrated, "SELECT leader_fence(1)")
    await two.evaluate()
    query(migrated, f"SELECT leader_fence({two.term})")
    with pytest.raises(psycopg.Error, match="leadership term 1 is over"):
        query(migrated, "SELECT leader_fence(1)")


async def test_the_table_can_not_show_two_leaders(migrated: str, tmp_path: Path) -> None:
    for number in (1, 2):
        await build(migrated, identity(number), tmp_path / str(number)).evaluate()
    with pytest.raises(psycopg.errors.UniqueViolation):
        query(migrated, "UPDATE ec2_heartbeat SET is_leader = true")


async def test_nothing_is_left_in_the_session(migrated: str) -> None:
    """As PgBouncer in transaction mode asks for."""
    database = Database(migrated, "test")
    store = LeaseStore(database, identity(1), "1.0", FAST)
    settings = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
    async with database.transaction(seconds=2, lock_seconds=1) as connection:
        inside = [(await (await connection.execute(f"SHOW {name}".encode())).fetchone()) for name in settings]
    assert inside == [("2s",), ("1s",), ("2s",)]
    for _ in range(10):
        await store.evaluate(lambda: None)
    assert database._connection is not None
    after = [(await (await database._connection.execute(f"SHOW {name}".encode())).fetchone()) for name in settings]
    assert after == [("0",)] * 3
    for left in ("pg_prepared_statements", "pg_locks WHERE locktype = 'advisory'"):
        assert await (await database._connection.execute(f"SELECT FROM {left}".encode())).fetchall() == []
    await database.close()


_DEFAULTS = {
    "encoding": "SET client_encoding = 'SQL_ASCII'",
    "dates": "SET DateStyle = 'German'",
    "time zone": "SET TimeZone = 'Nowhere/Here'",
    "isolation": "SET default_transaction_isolation = 'serializable'",
    "time-outs": "SET statement_timeout = 50",
}
# Than these.
LONGER = b"SELECT pg_sleep(0.2)"


@pytest.fixture
def ascii_database(cluster: Cluster, conninfo: str) -> str:
    """As `initdb` makes them where no locale is set; its sessions have that encoding too, unless they say otherwise."""
    name = f"{conninfo_to_dict(conninfo)['dbname']}_ascii"
    query(conninfo, f"CREATE DATABASE {name} ENCODING SQL_ASCII LOCALE 'C' TEMPLATE template0")
    return cluster.conninfo(name)


@pytest.mark.parametrize("through", ["direct", "pooled"])
async def test_in_a_database_without_an_encoding_one_leads(
    ascii_database: str, cluster: Cluster, tmp_path: Path, through: str
) -> None:
    with ExitStack() as stack:
        conninfo = ascii_database
        if through == "pooled":
            pooler = stack.enter_context(PgBouncer(cluster.port))
            conninfo = pooler.conninfo(str(conninfo_to_dict(ascii_database)["dbname"]))
        await migrated_database(conninfo)
        fleet = [build(conninfo, identity(number), tmp_path / str(number), listen=False) for number in (1, 2)]
        async with running(*fleet):
            await until_async(lambda: bool(leaders(*fleet)), 5, "one leads")
        assert_never_two(*(tmp_path / str(number) for number in (1, 2)))


async def test_a_text_that_is_no_utf8_is_told_as_an_error_of_the_database(ascii_database: str, tmp_path: Path) -> None:
    await migrated_database(ascii_database)
    election = build(ascii_database, identity(1), tmp_path / "1")
    query(
        ascii_database,
        r"INSERT INTO ec2_launch (instance_id, launched_at, version, incarnation)"
        r" VALUES (E'i-\xff', now(), '1', gen_random_uuid()); INSERT INTO ec2_heartbeat VALUES (E'i-\xff', now())",
    )
    with pytest.raises(psycopg.DataError, match="invalid byte sequence"):
        await election.evaluate()


@pytest.mark.parametrize("setting", _DEFAULTS)
async def test_what_a_role_or_a_database_sets_decides_nothing(migrated: str, tmp_path: Path, setting: str) -> None:
    name = conninfo_to_dict(migrated)["dbname"]
    query(migrated, f"ALTER DATABASE {name} {_DEFAULTS[setting]}".replace("Nowhere/Here", "Asia/Kathmandu"))
    database = Database(migrated, "test")
    async with database.transaction(seconds=2, lock_seconds=1) as connection:
        await connection.execute(LONGER)
    await database.close()
    fleet = [build(migrated, identity(number), tmp_path / str(number)) for number in (1, 2)]
    async with running(*fleet):
        await asyncio.sleep(0.5)
        assert leaders(*fleet) == ["i-1"]
        await fleet[0].resign()
        await until_async(lambda: leaders(*fleet) == ["i-2"], 5, "the other one leads")


async def test_what_others_leave_in_a_pooled_session_decides_nothing(
    migrated: str, pooled: str, tmp_path: Path
) -> None:
    """In transaction mode a session that one client has changed is the next one's."""
    query(migrated, "CREATE SCHEMA other; CREATE TABLE other.leader_lease (LIKE public.leader_lease)")
    left = (
        "SET search_path = other; SET default_transaction_isolation = 'serializable'; SET synchronous_commit = off;"
        " SET statement_timeout = 50; SET DateStyle = 'German'; SET TimeZone = 'Asia/Kathmandu'"
    )
    with ExitStack() as stack:
        for _ in range(2):  # at once, so that they have all sessions of the pool
            stack.enter_context(psycopg.connect(pooled, prepare_threshold=None)).execute(left)
    database = Database(pooled, "test")
    names = ("search_path", "transaction_isolation", "synchronous_commit", "DateStyle", "TimeZone")
    async with database.transaction(seconds=2, lock_seconds=1) as connection:
        found = [(await (await connection.execute(f"SHOW {name}".encode())).fetchone()) for name in names]
        await connection.execute(LONGER)
    await database.close()
    assert found == [('"$user", public',), ("read committed",), ("on",), ("ISO, YMD",), ("UTC",)]
    election = build(pooled, identity(1), tmp_path / "1", listen=False)
    await election.evaluate()
    assert election.leads


async def test_an_election_that_can_not_succeed_is_told(migrated: str, tmp_path: Path) -> None:
    """An instance that does not find itself among those that are there would follow no leader, for ever."""
    query(migrated, "CREATE RULE lost AS ON INSERT TO ec2_heartbeat DO INSTEAD NOTHING")
    election = build(migrated, identity(1), tmp_path / "1")
    with pytest.raises(psycopg.DataError, match=r"i-1.*not found"):
        await election.evaluate()


async def test_that_nobody_leads_is_told_after_a_while(migrated: str, tmp_path: Path) -> None:
    election = build(migrated, identity(1), tmp_path / "1", timing=FAST)
    await election.evaluate()
    assert election.vacancy is None
    query(migrated, "UPDATE ec2_launch SET draining_since = now()")
    await until_async(_lease_over(migrated), 5, "the lease has expired")
    async with running(election):
        await until_async(lambda: election.vacancy is not None, 5, "it tells")
        assert "draining_since" in str(election.vacancy)
        query(migrated, "UPDATE ec2_launch SET draining_since = NULL")
        await until_async(lambda: election.vacancy is None, 5, "it leads again")


def _lease_over(conninfo: str) -> Callable[[], bool]:
    return lambda: bool(query(conninfo, "SELECT 1 FROM leader_lease WHERE expires_at < clock_timestamp()"))
