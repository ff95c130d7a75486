# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.evenkeel.fleet.plugins.module_utils._fleetdb import database
from ansible_collections.evenkeel.fleet.plugins.module_utils._fleetdb.errors import DatabaseError

pytest.importorskip("psycopg")


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PGHOST", "PGPORT", "PGUSER", "PGDATABASE", "PGSSLMODE", "PGSERVICE", "PGPASSWORD"):
        monkeypatch.delenv(name, raising=False)


def parameters(**options: Any) -> dict[str, str]:
    return dict(database.settings(options, "test").parameters)


def test_options_win_over_the_connection_string() -> None:
    found = parameters(conninfo="postgresql://a:hunter2@one:1/x?sslmode=verify-full", host="two", name="y")
    wanted = {"user": "a", "password": "hunter2", "host": "two", "port": "1", "dbname": "y", "sslmode": "verify-full"}
    assert wanted.items() <= found.items()


def test_only_a_server_that_accepts_writes_will_do() -> None:
    assert parameters(conninfo="host=a target_session_attrs=any")["target_session_attrs"] == "read-write"


@pytest.mark.parametrize(
    ("options", "environment", "sslmode"),
    [
        ({}, {}, "require"),
        ({"sslmode": "disable"}, {}, "disable"),
        ({"conninfo": "sslmode=prefer"}, {}, "prefer"),
        ({}, {"PGSSLMODE": "disable"}, None),
        ({"service": "fleet"}, {}, None),
    ],
)
def test_tls_unless_somebody_says_otherwise(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, str], environment: dict[str, str], sslmode: str | None
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert parameters(**options).get("sslmode") == sslmode


def test_a_password_file_holds_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("hunter 2 \n")
    assert parameters(password_file=str(tmp_path / "password"))["password"] == "hunter 2 "
    with pytest.raises(DatabaseError, match=r"password_file can't be read: .*missing"):
        parameters(password_file=str(tmp_path / "missing"))


def test_a_connection_string_that_is_none_is_not_shown() -> None:
    with pytest.raises(DatabaseError, match=r"not a connection string") as caught:
        parameters(conninfo="password=hunter2 nonsense")
    assert "hunter2" not in caught.value.message
    assert "hunter2" not in repr(database.settings({"password": "hunter2"}, "test"))


def test_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOST", "db")
    monkeypatch.setenv("PGDATABASE", "gateway")
    assert database.settings({}, "test").place == "PostgreSQL at db:5432, database gateway"
    named = database.settings({"host": "a", "port": 6432, "user": "u", "password": "hunter2"}, "test")
    assert named.place == "PostgreSQL at a:6432, database gateway, user u"


def test_without_psycopg_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "MISSING", ImportError("No module named 'psycopg'"))
    with pytest.raises(DatabaseError, match=r"pip install 'psycopg\[binary\]'"):
        database.settings({}, "test")
