"""The commits of the database in their order, read from its write-ahead log."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg

if TYPE_CHECKING:
    from collections.abc import Iterable

# PostgreSQL's settings that this needs.
SETTINGS = {"wal_level": "logical", "max_replication_slots": 20, "max_wal_senders": 2}
_COLUMN = re.compile(r"(\w+)\[[^\]]+(?:\[\])?\]:('(?:[^']|'')*'|\S+)")
_COMMIT = re.compile(r"COMMIT \d+ \(at (.*)\)")


class Lease(NamedTuple):
    """The row after a change."""

    committed: datetime
    holder: str | None
    term: int
    elected_at: datetime | None
    expires_at: datetime | None


class Write(NamedTuple):
    committed: datetime
    term: int
    who: str


Change = Lease | Write


def prepare(conninfo: str) -> None:
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute(
            "CREATE TABLE chaos_write (id bigserial PRIMARY KEY, term bigint NOT NULL, who text NOT NULL)"
        )
        connection.execute("SELECT pg_create_logical_replication_slot(current_database(), 'test_decoding')")


def drop(conninfo: str) -> None:
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute("SELECT pg_drop_replication_slot(current_database())")


def read(conninfo: str) -> list[Change]:
    with psycopg.connect(conninfo, autocommit=True) as connection:
        cursor = connection.execute(
            "SELECT data FROM pg_logical_slot_peek_changes(current_database(), NULL, NULL, 'include-timestamp', 'on',"
            " 'skip-empty-xacts', 'on') WHERE data LIKE 'COMMIT%' OR data LIKE 'table public.leader_lease: UPDATE%'"
            " OR data LIKE 'table public.chaos_write: INSERT%'"
        )
        return parse(row[0] for row in cursor)


def parse(lines: Iterable[str]) -> list[Change]:
    changes: list[Change] = []
    pending: list[dict[str, Any]] = []
    for line in lines:
        commit = _COMMIT.match(line)
        if line.startswith("table"):
            values = {name: _value(text) for name, text in _COLUMN.findall(line.partition(": ")[2].partition(": ")[2])}
            pending.append(values)
        if commit is None:
            continue
        committed = _time(commit[1])
        for values in pending:
            if "holder" in values:
                times = [values[name] and _time(values[name]) for name in ("elected_at", "expires_at")]
                changes.append(Lease(committed, values["holder"], int(values["term"]), *times))
            else:
                changes.append(Write(committed, int(values["term"]), values["who"]))
        pending = []
    return changes


def _value(text: str) -> Any:
    if text == "null":
        return None
    return text[1:-1].replace("''", "'") if text.startswith("'") else text


def _time(text: str) -> datetime:
    # PostgreSQL shortens an offset of whole hours, and the fraction.
    found = re.fullmatch(r"(\S+ \d\d:\d\d:\d\d)(\.\d+)?([+-]\d\d)(:\d\d)?", text)
    assert found, text
    fraction = (found[2] or ".0").ljust(7, "0")
    return datetime.fromisoformat(f"{found[1]}{fraction}{found[3]}{found[4] or ':00'}").astimezone(UTC)
