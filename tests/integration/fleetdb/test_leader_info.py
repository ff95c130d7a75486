# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""leader_info, from a real PostgreSQL and from gateways' responses."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.integration.fleetdb.fleets import Fleet
from tests.integration.support import free_port, run_by_ansible, run_module


@contextmanager
def gateway(answer: Mapping[str, Any] | None) -> Iterator[str]:
    """Without an answer, a 500 as of a gateway whose secrets are missing."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            told = answer if self.path == "/api/about-me" else None
            self.send_response(200 if told else 500)
            self.end_headers()
            self.wfile.write(json.dumps(told or {"error": "missing secret: DB_PASSWORD"}).encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def about(number: int, *, leads: bool, term: int = 3) -> dict[str, Any]:
    return {"instanceId": f"i-{number}", "amILeader": leads, "term": term, "leader": "i-1", "version": "1.0"}


def test_who_leads_and_who_is_there(fleet: Fleet) -> None:
    fleet.populate(3)
    fleet.query("UPDATE ec2_launch SET draining_since = now() WHERE instance_id = 'i-2'")
    fleet.query("UPDATE ec2_heartbeat SET last_heartbeat = now() - interval '40 s' WHERE instance_id = 'i-3'")
    told = run_module("leader_info", fleet.options)
    assert not told["changed"] and told["doubts"] == []
    assert (told["source"], told["leader"], told["term"]) == ("database", "i-1", 3)
    assert 3500 < told["lease_left"] <= 3600
    one, two, three = told["instances"]
    assert (one["leads"], one["fresh"], one["in_service"], one["private_ip"]) == (True, True, True, "10.0.0.1")
    assert (two["fresh"], two["in_service"]) == (True, False) and two["draining_since"]
    assert not three["fresh"] and 40 <= three["heartbeat_age"] < 60


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("UPDATE leader_lease SET expires_at = now() - interval '1 s'", "the lease of i-1 has expired"),
        ("UPDATE leader_lease SET holder = NULL, expires_at = NULL", "no instance leads"),
        ("UPDATE leader_lease SET holder = 'i-2'", "i-2 holds the lease, but i-1 is marked as the leader"),
        ("DELETE FROM ec2_launch WHERE instance_id = 'i-1'", "is not a registered instance"),
        ("UPDATE ec2_heartbeat SET last_heartbeat = now() - interval '1 h'", "i-1 leads and has no fresh heartbeat"),
        ("DELETE FROM leader_lease", "leader_lease is empty"),
    ],
)
def test_in_doubt_it_fails_unless_asked_to_report(fleet: Fleet, change: str, words: str) -> None:
    fleet.populate(2)
    fleet.query(change)
    failed = run_module("leader_info", {**fleet.options, "wait": 0})
    assert failed["failed"] and words in failed["msg"]
    if "empty" not in words:
        told = run_module("leader_info", {**fleet.options, "wait": 0, "on_doubt": "report"})
        assert not told["failed"] and words in "; ".join(told["doubts"])
        assert told["instances"] == failed["instances"] or len(told["instances"]) == len(failed["instances"])


def test_a_doubt_that_passes_is_none(fleet: Fleet) -> None:
    fleet.populate(2, leader=None)
    timer = threading.Timer(1, fleet.lead, [2])
    timer.start()
    assert run_module("leader_info", {**fleet.options, "wait": 10})["leader"] == "i-2"
    timer.join()


def test_the_two_tables_of_older_gateways_are_enough(empty: str) -> None:
    old = Fleet(empty)
    old.query(
        "CREATE TABLE ec2_launch (instance_id varchar(32), public_ip inet, private_ip inet, launched_at timestamp)"
    )
    old.query("CREATE TABLE ec2_heartbeat (instance_id varchar(32), last_heartbeat timestamptz, is_leader boolean)")
    empty_fleet = run_module("leader_info", {**old.options, "wait": 0})
    assert empty_fleet["failed"] and "no instance is marked" in empty_fleet["msg"]
    old.query(
        "INSERT INTO ec2_launch VALUES ('i-2', NULL, '10.0.0.2', '2026-01-02'), ('i-1', NULL, '10.0.0.1', '2026-01-01')"
    )
    old.query("INSERT INTO ec2_heartbeat VALUES ('i-1', now(), true)")
    told = run_module("leader_info", old.options)
    assert (told["leader"], told["term"], told["lease_left"], told["doubts"]) == ("i-1", None, None, [])
    one, two = told["instances"]
    assert (one["instance_id"], one["version"], one["draining_since"], one["fresh"]) == ("i-1", None, None, True)
    assert one["private_ip"].startswith("10.0.0.1") and one["launched_at"].startswith("2026-01-01")
    assert (two["heartbeat_age"], two["fresh"]) == (None, False)
    old.query("INSERT INTO ec2_heartbeat VALUES ('i-2', now(), true)")
    both = run_module("leader_info", {**old.options, "wait": 0})
    assert "i-1 and i-2 are all marked as the leader" in both["msg"] and both["leader"] is None


def test_the_gateways_tell_where_the_database_is_out_of_reach(fleet: Fleet) -> None:
    with gateway(about(1, leads=True)) as first, gateway(about(2, leads=False)) as second, gateway(None) as broken:
        away = {"host": "127.0.0.1", "port": free_port(), "name": "gateway", "connect_timeout": 2}
        options = {"database": away, "urls": [first, f"{second}/api/about-me"], "wait": 0}
        told = run_module("leader_info", options)
        assert (told["source"], told["leader"], told["term"], told["doubts"]) == ("http", "i-1", 3, [])
        assert "Connection refused" in told["database_error"] and told["warnings"]
        assert [one["instance_id"] for one in told["instances"]] == ["i-1", "i-2"]

        code, text = run_by_ansible("leader_info", {**options, "urls": [first, broken]})
        assert code != 0 and "is not usable: answered 500" in text and "missing secret" in text
        assert run_module("leader_info", {**options, "source": "database"})["failed"]
        # A database that answers is believed, and asked for nothing else.
        fleet.populate(2, term=8)
        assert run_module("leader_info", {**fleet.options, "urls": [broken]})["term"] == 8
        asked = run_module("leader_info", {**fleet.options, "urls": [first], "source": "http"})
        assert (asked["source"], asked["term"]) == ("http", 3)


def test_two_gateways_that_say_they_lead() -> None:
    with gateway(about(1, leads=True)) as first, gateway(about(2, leads=True)) as second:
        told = run_module("leader_info", {"urls": [first, second], "source": "http", "wait": 0})
    assert told["failed"] and "i-1 and i-2 all say that they are the leader" in told["msg"] and told["leader"] is None


def test_real_gateways(gateways: Callable[[int], Any], pooled: str) -> None:
    gateways(3)
    told = run_module("leader_info", {"database": {"conninfo": pooled}, "stale_after": 2, "wait": 10})
    assert (told["leader"], told["doubts"]) == ("i-1", [])
    assert 0 < told["lease_left"] <= 2
    assert [one["in_service"] for one in told["instances"]] == [True] * 3
