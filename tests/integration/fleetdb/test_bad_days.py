# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Failures of the database: what the modules report, and that they return."""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from chaos.links import CUT, DEAF_CLIENT, STALL, STALL_DOWN, STALL_UP, Link
from support.postgres import Cluster

from ansible_collections.evenkeel.fleet.plugins.module_utils._fleetdb.errors import DatabaseError
from tests.integration.fleetdb.fleets import Fleet, database, migrated
from tests.integration.support import free_port, run_by_ansible, run_module, start_module

SECRET = "hunter2-and-more"
ACTS: dict[str, dict[str, Any]] = {
    "leader_info": {"wait": 0},
    "leader_handover": {"target": "i-2", "timeout": 1},
    "instance_drain": {"instance_id": "i-2", "min_in_service": 1},
    "rollout_lock": {"state": "acquired", "reason": "test"},
    "rollout_info": {},
}


def everything(fleet: Fleet) -> list[Any]:
    """All that a module could have changed."""
    queries = (
        "SELECT instance_id, draining_since FROM ec2_launch ORDER BY 1",
        "SELECT requested_holder FROM leader_lease",
        "SELECT count(*) FROM fleet_rollout",
    )
    return [fleet.query(sql) for sql in queries]


class Way:
    """A way to the database that can be broken, served by a thread."""

    def __init__(self, port: int) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._link = Link(port)
        self._run(self._link.start())

    def _run(self, work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    @property
    def port(self) -> int:
        return int(self._link.port)

    def break_(self, mode: str) -> None:
        self._run(self._link.break_(mode))

    def heal(self) -> None:
        self._run(self._link.heal(reset=True))

    def close(self) -> None:
        self._run(self._link.close())
        self._run(self._settle())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _settle(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


@pytest.fixture
def way(cluster: Cluster) -> Iterator[Way]:
    opened = Way(cluster.port)
    yield opened
    opened.close()


def through(way: Way, fleet: Fleet, **options: Any) -> dict[str, Any]:
    return at(way.port, fleet.name, **options)


def at(port: int, name: str, user: str = "gateway", **options: Any) -> dict[str, Any]:
    return {"host": "127.0.0.1", "port": port, "name": name, "user": user, "sslmode": "disable", **options}


@pytest.mark.parametrize("module", ACTS)
def test_the_database_is_not_there(module: str) -> None:
    nowhere = {"host": "127.0.0.1", "port": free_port(), "name": "gateway", "user": "gateway", "password": SECRET}
    answer = run_module(module, {"database": nowhere, **ACTS[module]})
    assert answer["failed"] and not answer.get("changed")
    assert f"PostgreSQL at 127.0.0.1:{nowhere['port']}, database gateway, user gateway" in answer["msg"]
    assert "Connection refused" in answer["msg"] and "Check host and port" in answer["msg"]
    assert SECRET not in json.dumps({**answer, "invocation": {}})


@pytest.mark.parametrize(
    ("module", "mode"), [("instance_drain", CUT), ("instance_drain", STALL), ("leader_info", STALL)]
)
def test_the_way_is_broken_before_it_is_asked(fleet: Fleet, way: Way, module: str, mode: str) -> None:
    fleet.populate(2)
    before = everything(fleet)
    way.break_(mode)
    started = time.monotonic()
    answer = run_module(module, {"database": through(way, fleet, connect_timeout=2), **ACTS[module]})
    assert time.monotonic() - started < 6
    assert answer["failed"] and f"127.0.0.1:{way.port}" in answer["msg"]
    assert everything(fleet) == before


@pytest.mark.parametrize("mode", [CUT, STALL, STALL_UP, STALL_DOWN, DEAF_CLIENT])
def test_the_way_breaks_while_it_waits_for_the_lease(fleet: Fleet, way: Way, mode: str) -> None:
    """The permit is not given, and what the server may still finish is rolled back."""
    fleet.populate(3)
    before = everything(fleet)
    options = through(way, fleet, statement_timeout=1.5, lock_timeout=5)
    with psycopg.connect(fleet.conninfo) as election, ThreadPoolExecutor(1) as pool:
        election.execute("SELECT FROM leader_lease FOR UPDATE")
        asked = pool.submit(
            run_module, "instance_drain", {"database": options, "instance_id": "i-3", "min_in_service": 1}
        )
        fleet.until_blocked()
        way.break_(mode)
        answer = asked.result(20)
        election.rollback()
    assert answer["failed"] and answer["refusal"] is None
    assert "Nothing was changed" in answer["msg"]
    way.heal()
    fleet.until_idle()
    assert everything(fleet) == before


def test_broken_before_any_statement_nothing_is_changed(
    fleet: Fleet, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.populate(3)
    before = everything(fleet)
    execute = psycopg.Cursor.execute
    for last in itertools.count(1):
        statements = itertools.count(1)

        def cut(self: psycopg.Cursor[Any], *arguments: Any, **options: Any) -> Any:
            if self.connection.info.port == way.port and next(statements) == last:  # noqa: B023
                way.break_(STALL_UP if last % 3 == 0 else CUT)  # noqa: B023
            return execute(self, *arguments, **options)

        with monkeypatch.context() as broken:
            broken.setattr(psycopg.Cursor, "execute", cut)
            try:
                fleet.drain(3, 1, conninfo=through(way, fleet, statement_timeout=1))
            except DatabaseError as error:
                assert not error.in_doubt and "Nothing was changed" in error.message
            else:
                break
        way.heal()
        fleet.until_idle()
        assert everything(fleet) == before
    assert last > 6 and fleet.draining == ["i-3"]


def test_the_answer_to_the_commit_is_lost(fleet: Fleet, way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    """The permit is not given, though the mark is set; asked again, it is."""
    fleet.populate(3)
    finish = psycopg.Transaction.__exit__

    def unanswered(self: psycopg.Transaction, *error: Any) -> Any:
        way.break_(STALL_DOWN)
        return finish(self, *error)

    options = through(way, fleet, statement_timeout=1)
    with monkeypatch.context() as broken, pytest.raises(DatabaseError, match="is not known") as caught:
        broken.setattr(psycopg.Transaction, "__exit__", unanswered)
        fleet.drain(3, 1, conninfo=options)
    assert caught.value.in_doubt
    way.heal()
    assert fleet.draining == ["i-3"]
    again = fleet.drain(3, 1, conninfo=options)
    assert again["refusal"] is None and not again["changed"]


def test_a_row_that_somebody_holds(fleet: Fleet) -> None:
    fleet.populate(2)
    with psycopg.connect(fleet.conninfo) as somebody:
        somebody.execute("SELECT FROM leader_lease FOR UPDATE")
        options = {"conninfo": fleet.conninfo, "lock_timeout": 0.5}
        for module in ("instance_drain", "leader_handover", "rollout_lock"):
            started = time.monotonic()
            answer = run_module(module, {"database": options, **ACTS[module]})
            assert answer["failed"] and "Another transaction has locked a row for too long" in answer["msg"]
            assert time.monotonic() - started < 4
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(fleet.drain, 2, 1, wait=10, conninfo=options)
            fleet.until_blocked()
            time.sleep(0.6)
            assert not asked.done()
            somebody.rollback()
            assert asked.result(10)["refusal"] is None
        somebody.execute("SELECT FROM leader_lease FOR UPDATE")
        # Reading does not wait.
        assert not run_module("leader_info", {"database": options})["failed"]


def test_a_frozen_controller_does_not_hold_up_the_election(fleet: Fleet) -> None:
    """A client stopped within its transaction loses its locks."""
    fleet.populate(2)
    stopped = pytest.raises(DatabaseError, match=r"idle for too long")
    with database(fleet.conninfo) as connected, stopped, connected.transaction() as connection:
        connection.execute("SELECT FROM leader_lease FOR UPDATE")
        started = time.monotonic()
        fleet.query("SELECT FROM leader_lease FOR UPDATE")
        assert 1 < time.monotonic() - started < 3
        connection.execute("SELECT 1")


def test_wrong_password_and_none(own_cluster: Cluster, tmp_path: Path) -> None:
    fleet = Fleet(own_cluster.conninfo())
    fleet.populate(2)
    fleet.query(f"CREATE ROLE operator LOGIN SUPERUSER PASSWORD '{SECRET}'")
    own_cluster.require_password("operator")
    asked = at(own_cluster.port, "postgres", "operator")
    wrong = run_module("leader_info", {"database": {**asked, "password": "not-" + SECRET}, "urls": ["http://x"]})
    assert wrong["failed"] and "Check user and password" in wrong["msg"] and SECRET not in wrong["msg"]
    nothing = run_module("leader_info", {"database": asked}, variables={"HOME": str(tmp_path)})
    assert nothing["failed"] and "Give password, password_file, or an entry in ~/.pgpass" in nothing["msg"]

    (tmp_path / "password").write_text(f"{SECRET}\n")
    (tmp_path / ".pgpass").write_text(f"127.0.0.1:*:*:operator:{SECRET}\n")
    (tmp_path / ".pgpass").chmod(0o600)
    service = f"[fleet]\nhost=127.0.0.1\nport={own_cluster.port}\ndbname=postgres\nuser=operator\n"
    (tmp_path / "services").write_text(service)
    address = f"postgresql://operator:{SECRET}@127.0.0.1:{own_cluster.port}/postgres?sslmode=disable"
    environment = {
        "PGHOST": "127.0.0.1",
        "PGPORT": str(own_cluster.port),
        "PGDATABASE": "postgres",
        "PGUSER": "operator",
    }
    ways: list[tuple[dict[str, Any], dict[str, str]]] = [
        ({**asked, "password": SECRET}, {}),
        ({**asked, "password_file": str(tmp_path / "password")}, {}),
        (asked, {"HOME": str(tmp_path)}),
        ({"conninfo": address}, {}),
        ({}, {**environment, "PGPASSWORD": SECRET, "PGSSLMODE": "disable"}),
        (
            {"service": "fleet", "sslmode": "disable"},
            {"PGSERVICEFILE": str(tmp_path / "services"), "HOME": str(tmp_path)},
        ),
    ]
    for options, variables in ways:
        told = run_module("leader_info", {"database": options}, variables=variables)
        assert told.get("leader") == "i-1", (options, told)
        assert SECRET not in json.dumps(told)
    code, text = run_by_ansible("leader_info", {"database": {"conninfo": address}}, "-vvv")
    assert code == 0 and SECRET not in text
    call = start_module("leader_info", {"database": {"conninfo": address}})
    process = Path(f"/proc/{call.process.pid}")
    shown = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
    assert SECRET.encode() not in shown
    assert not call.result()["failed"]


def test_tls_is_asked_for(fleet: Fleet, cluster: Cluster) -> None:
    plain = {"host": "127.0.0.1", "port": cluster.port, "name": fleet.name, "user": "gateway"}
    answer = run_module("leader_info", {"database": plain})
    assert answer["failed"] and "does not support SSL" in answer["msg"] and "Set sslmode" in answer["msg"]


def test_a_role_without_rights(fleet: Fleet, cluster: Cluster) -> None:
    fleet.populate(2)
    fleet.query("DROP ROLE IF EXISTS reader")
    fleet.query("CREATE ROLE reader LOGIN")
    asked = at(cluster.port, fleet.name, "reader")
    for module in ACTS:
        answer = run_module(module, {"database": asked, **ACTS[module]})
        assert answer["failed"] and "permission denied" in answer["msg"] and "role of the gateways" in answer["msg"]
    fleet.query("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
    for module in ("leader_info", "rollout_info"):
        assert not run_module(module, {"database": asked, **ACTS[module]})["failed"]
    for module in ("leader_handover", "instance_drain", "rollout_lock"):
        answer = run_module(module, {"database": asked, **ACTS[module]})
        assert answer["failed"] and "permission denied" in answer["msg"]
    fleet.query("DROP OWNED BY reader")
    fleet.query("DROP ROLE reader")


def test_another_database(empty: str, cluster: Cluster) -> None:
    for module in ("leader_info", "leader_handover", "instance_drain"):
        answer = run_module(module, {"database": {"conninfo": empty}, **ACTS[module]})
        assert answer["failed"] and "no tables ec2_launch and ec2_heartbeat" in answer["msg"]
    told = run_module("rollout_info", {"database": {"conninfo": empty}})
    assert (told["failed"], told["lock"], told["rollouts"]) == (False, None, [])
    renewed = run_module("rollout_lock", {"database": {"conninfo": empty}, "state": "renewed", "rollout_id": 1})
    assert renewed["failed"] and "no table fleet_rollout" in renewed["msg"]
    answer = run_module("leader_info", {"database": {"conninfo": cluster.conninfo("nowhere")}})
    assert answer["failed"] and "does not exist" in answer["msg"] and "Check name and user" in answer["msg"]


def test_a_standby_is_not_asked(own_cluster: Cluster) -> None:
    fleet = Fleet(own_cluster.conninfo())
    fleet.populate(2)
    fleet.query("ALTER DATABASE postgres SET default_transaction_read_only = on")
    for module in ACTS:
        answer = run_module(module, {**fleet.options, **ACTS[module]})
        assert answer["failed"] and "That is a standby: name the primary" in answer["msg"], answer["msg"]


def test_of_several_hosts_the_one_that_accepts_writes(fleet: Fleet, own_cluster: Cluster, cluster: Cluster) -> None:
    fleet.populate(2)
    Fleet(own_cluster.conninfo()).query("ALTER SYSTEM SET default_transaction_read_only = on")
    Fleet(own_cluster.conninfo()).query("SELECT pg_reload_conf()")
    hosts = f"host=127.0.0.1,127.0.0.1,127.0.0.1 port={free_port()},{own_cluster.port},{cluster.port}"
    conninfo = f"{hosts} dbname={fleet.name} user=gateway sslmode=disable"
    assert run_module("leader_info", {"database": {"conninfo": conninfo}})["leader"] == "i-1"


def test_the_server_goes_and_comes_back(own_cluster: Cluster) -> None:
    fleet = Fleet(own_cluster.conninfo())
    fleet.populate(2)
    with database(fleet.conninfo) as connected:
        with connected.transaction():
            pass
        own_cluster.stop()
        with pytest.raises(DatabaseError) as caught, connected.transaction():
            pass
        assert caught.value.out_of_reach
        own_cluster.start()
        with connected.transaction():
            pass


def test_the_controllers_clock_is_not_looked_at(fleet: Fleet) -> None:
    """A module on a machine whose clock is a year ahead."""
    library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    wrong = {"LD_PRELOAD": str(library), "FAKETIME": "+1y", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    fleet.populate(3)
    told = run_module("leader_info", fleet.options, variables=wrong)
    assert told["doubts"] == [] and all(one["heartbeat_age"] < 60 for one in told["instances"])
    lock = run_module("rollout_lock", {**fleet.options, **ACTS["rollout_lock"]}, variables=wrong)
    rollout_id = lock["rollout_id"]
    assert 100 < run_module("rollout_info", fleet.options)["lock"]["expires_in"] <= 120
    arguments = {**fleet.options, "instance_id": "i-3", "min_in_service": 2, "rollout_id": rollout_id}
    assert run_module("instance_drain", arguments, variables=wrong)["changed"]
    assert fleet.query("SELECT draining_since < now() FROM ec2_launch WHERE instance_id = 'i-3'") == [(True,)]


def test_a_database_whose_own_defaults_differ(fleet: Fleet) -> None:
    """Snapshots that are older than the lock would let two permits pass."""
    fleet.populate(3)
    fleet.query(f"ALTER DATABASE {fleet.name} SET default_transaction_isolation = 'serializable'")
    fleet.query(f"ALTER DATABASE {fleet.name} SET lc_messages = 'C'")
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda number: fleet.drain(number, 2)["refusal"], [2, 3, 2, 3]))
    assert len(fleet.draining) == 1 and answers.count("too_few") == 2


def test_what_others_leave_in_a_pooled_session_decides_nothing(fleet: Fleet, pooled: str) -> None:
    """In transaction mode a session that one client has changed is the next one's."""
    fleet.populate(2)
    fleet.query("CREATE SCHEMA other; CREATE TABLE other.leader_lease (LIKE public.leader_lease)")
    left = (
        "SET search_path = other; SET DateStyle = 'German'; SET TimeZone = 'Asia/Kathmandu';"
        " SET synchronous_commit = off"
    )
    with (
        psycopg.connect(pooled, prepare_threshold=None) as one,
        psycopg.connect(pooled, prepare_threshold=None) as other,
    ):
        one.execute(left)
        other.execute(left)
    names = ("search_path", "DateStyle", "TimeZone", "synchronous_commit")
    with database(pooled) as asked, asked.transaction() as connection:
        found = [connection.execute(f"SHOW {name}".encode()).fetchone() for name in names]
    assert found == [('"$user", public',), ("ISO, YMD",), ("UTC",), ("on",)]
    assert run_module("leader_info", {"database": {"conninfo": pooled}})["leader"] == "i-1"


def test_a_database_without_an_encoding(cluster: Cluster, empty: str) -> None:
    name = f"{Fleet(empty).name}_ascii"
    Fleet(empty).query(f"CREATE DATABASE {name} ENCODING SQL_ASCII LOCALE 'C' TEMPLATE template0")
    fleet = Fleet(cluster.conninfo(name))
    migrated(fleet.conninfo)
    fleet.populate(2)
    assert run_module("leader_info", fleet.options)["leader"] == "i-1"
