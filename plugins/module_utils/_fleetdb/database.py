# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One connection to PostgreSQL for one call. Everything on it has a deadline; messages name cause and remedy.

No state is kept in the session, so that PgBouncer works in transaction mode. Each transaction sets the parameters on
which its results depend, whatever the role, the database or another client of the same pooled session has set.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import DatabaseError, FleetError

try:
    import psycopg
    from psycopg.conninfo import conninfo_to_dict, make_conninfo
except ImportError as error:
    MISSING: ImportError | None = error
else:
    MISSING = None

if TYPE_CHECKING:
    from psycopg.rows import TupleRow

    Connection = psycopg.Connection[TupleRow]

# The locks are those of the election: a frozen client must not cost the leader its lease.
IDLE_SECONDS = 2.0
_KEEPALIVE = {
    "keepalives": "1",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "2",
    "tcp_user_timeout": "6000",
}
# As the gateways do: only ISO dates can be parsed, another search_path has other tables, and a commit that a server
# crash may undo is no lock.
_SESSION = (
    "SET LOCAL DateStyle = 'ISO, YMD'; SET LOCAL TimeZone = 'UTC'; SET LOCAL search_path TO DEFAULT;"
    " SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off';"
)
_STANDBY = "That is a standby: name the primary, or all hosts of the cluster separated by commas."
_FULL = "The server has no free connection: try again, or reach it through PgBouncer."
_NAME = "Check host, and the name resolution of the machine on which the module runs."
_REACH = "Check host and port, that PostgreSQL runs, and that firewalls admit the machine on which the module runs."
# The remedy for a failed connection by PostgreSQL's or libpq's message; the first match counts.
_WRONG = {
    "password authentication failed": "Check user and password.",
    "no password supplied": "Give password, password_file, or an entry in ~/.pgpass.",
    "pg_hba.conf": "The server rejects this user from this address or with this sslmode: see its pg_hba.conf.",
    "certificate": "Give sslrootcert, the certificate of the authority that signed the server's.",
    "does not support SSL": "Set sslmode to prefer or disable if that is intended.",
    "does not exist": "Check name and user.",
    "definition of service": "Check service, and the file that defines it.",
}
_AWAY = {
    "read-only": _STANDBY,
    "hot standby": _STANDBY,
    "too many": _FULL,
    "connection slots": _FULL,
    "starting up": "Try again when it is up.",
    "shutting down": "Try again when it is up.",
    "host name": _NAME,
    "": _REACH,
}
_STATES = {
    "55P03": "Another transaction has locked a row for too long. Try again; look for long transactions in pg_locks.",
    "57014": "A statement timed out. Try again; look for the load on the server.",
    "42501": "This user lacks privileges on the fleet's tables. Use the role of the gateways.",
    "42P01": "Check that it is the gateways' database, and that the gateways have run.",
    "42703": "The table was not created by the gateways.",
    "25006": _STANDBY,
    "25P03": "The transaction was idle for too long: this machine was stopped. Nothing was changed; try again.",
    "40P01": "Nothing was changed; try again.",
}


@dataclass(frozen=True)
class ConnectionSettings:
    """`parameters` are libpq's. Seconds: `lock_timeout` for a lock, `statement_timeout` for a whole transaction."""

    parameters: Mapping[str, str] = field(repr=False)
    statement_timeout: float = 4.0
    lock_timeout: float = 2.0

    @property
    def password(self) -> str:
        return self.parameters.get("password", "")

    @property
    def place(self) -> str:
        """For messages: without a secret."""
        known = {**{name: os.environ.get(f"PG{name.upper()}") for name in ("host", "port", "user")}, **self.parameters}
        name = self.parameters.get("dbname") or os.environ.get("PGDATABASE")
        service = self.parameters.get("service") or os.environ.get("PGSERVICE")
        text = f"PostgreSQL at {known['host']}:{known.get('port') or 5432}" if known.get("host") else "PostgreSQL"
        text += f" of the service {service}" if service and not known.get("host") else ""
        text += f", database {name}" if name else ""
        return text + (f", user {known['user']}" if known.get("user") else "")


def settings(options: Mapping[str, Any], application: str) -> ConnectionSettings:
    """From the option `database` of a module; raises DatabaseError."""
    if MISSING:
        raise DatabaseError(
            f"psycopg 3 is missing where the module runs ({MISSING}). Install it there: pip install 'psycopg[binary]', "
            "or the package python3-psycopg of Debian 12, Ubuntu 24.04 and newer."
        )
    parameters: dict[str, str] = {**_KEEPALIVE, "application_name": f"evenkeel {application}"}
    parameters.update(_parsed(options.get("conninfo") or ""))
    names = {"name": "dbname"}
    for name in ("host", "port", "name", "user", "password", "service", "sslmode", "sslrootcert"):
        if options.get(name) is not None:
            parameters[names.get(name, name)] = str(options[name])
    if options.get("password_file"):
        parameters["password"] = _read(options["password_file"])
    if not {"sslmode", "service"} & parameters.keys() and not {"PGSSLMODE", "PGSERVICE"} & os.environ.keys():
        parameters["sslmode"] = "require"
    timeout = options.get("connect_timeout") or 5
    parameters.update(connect_timeout=str(timeout), target_session_attrs="read-write", client_encoding="UTF8")
    return ConnectionSettings(
        parameters, float(options.get("statement_timeout") or 4), float(options.get("lock_timeout") or 2)
    )


def _parsed(conninfo: str) -> dict[str, str]:
    try:
        return {name: str(value) for name, value in conninfo_to_dict(conninfo).items() if value is not None}
    except psycopg.Error:
        # Its message quotes the string, and so a password.
        raise DatabaseError(
            "database.conninfo is not a connection string: postgresql://user@host:port/name, or host=… dbname=…; "
            "in the former, special characters are percent-encoded."
        ) from None


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeError) as error:
        raise DatabaseError(f"database.password_file can't be read: {error}") from None


class Database:
    """Connects with the first transaction. `close` it, or use it in `with`."""

    def __init__(self, wanted: ConnectionSettings) -> None:
        self.settings = wanted
        self._connection: Connection | None = None
        logging.getLogger("psycopg").addHandler(logging.NullHandler())

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection:
            connection.close()

    @contextmanager
    def transaction(self, *, keep: bool = True, snapshot: bool = False) -> Iterator[Connection]:
        """Commit at the end, or, without `keep`, roll back. Raises DatabaseError.

        With `snapshot`, all statements read the same state; nothing can be locked then.
        """
        connection = self._connection or self._connect()
        finished = False
        levels = psycopg.IsolationLevel
        deadline = _Deadline(connection, self.settings.statement_timeout)
        try:
            # A role's or a database's default must not apply.
            connection.isolation_level = levels.REPEATABLE_READ if snapshot else levels.READ_COMMITTED
            with deadline, connection.transaction():
                self._limit(connection)
                yield connection
                finished = keep
                if not keep:
                    raise psycopg.Rollback
        except psycopg.Error as error:
            lost = connection.broken or connection.closed or deadline.cut
            self.close()
            if deadline.cut:
                text = f"{self.settings.place} did not answer within {self.settings.statement_timeout:g} s."
                raise self._lost(text, in_doubt=finished) from None
            if lost and error.sqlstate not in _STATES:
                raise self._lost(self._words(error, ""), in_doubt=finished) from None
            raise DatabaseError(
                self._words(error, _STATES.get(error.sqlstate or "", "")), state=error.sqlstate
            ) from None
        except FleetError:
            raise
        except BaseException:
            self.close()
            raise

    def _connect(self) -> Connection:
        try:
            self._connection = psycopg.connect(
                make_conninfo("", **self.settings.parameters), autocommit=True, prepare_threshold=None
            )
        except psycopg.Error as error:
            wrong = next((advice for part, advice in _WRONG.items() if part in str(error)), "")
            away = next(advice for part, advice in _AWAY.items() if part in str(error))
            raise DatabaseError(self._words(error, wrong or away), out_of_reach=not wrong) from None
        return self._connection

    def _limit(self, connection: Connection) -> None:
        limits = {
            "statement_timeout": self.settings.statement_timeout,
            "lock_timeout": self.settings.lock_timeout,
            "idle_in_transaction_session_timeout": IDLE_SECONDS,
        }
        said = "; ".join(f"SET LOCAL {name} = {seconds * 1000:.0f}" for name, seconds in limits.items())
        connection.execute((_SESSION + said).encode())

    def _lost(self, text: str, *, in_doubt: bool) -> DatabaseError:
        told = (
            "It is not known whether the last change was committed: the connection was lost during the commit."
            if in_doubt
            else "Nothing was changed."
        )
        return DatabaseError(f"{text} {told}", out_of_reach=True, in_doubt=in_doubt)

    def _words(self, error: psycopg.Error, advice: str) -> str:
        said = " ".join(str(error).split()) or type(error).__name__
        if self.settings.password:
            said = said.replace(self.settings.password, "(hidden)")
        return f"{self.settings.place}: {said.rstrip('.')}. {advice}".strip()


class _Deadline:
    """Closes the connection after the timeout, whatever the network or the server does."""

    def __init__(self, connection: Connection, seconds: float) -> None:
        self.cut = False
        self._connection = connection
        self._timer = threading.Timer(seconds, self._cut)
        self._timer.daemon = True

    def __enter__(self) -> _Deadline:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def _cut(self) -> None:
        self.cut = True
        try:
            with socket.socket(fileno=os.dup(self._connection.fileno())) as wire:
                wire.shutdown(socket.SHUT_RDWR)
        except (OSError, psycopg.Error):
            return  # already broken
