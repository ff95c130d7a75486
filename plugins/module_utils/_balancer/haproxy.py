# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server of HAProxy backends, through the runtime API of each HAProxy: out of service, and into it again."""

from __future__ import annotations

import csv
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from .._common.progress import NoAnswerError, TroubleError
from .report import Place, Report

DEFAULT_TIMEOUT = 60.0
ANSWER_TIMEOUT = 5.0
CUT_TIMEOUT = 5.0
LONGEST_PAUSE = 1.0
MAX_BYTES = 16 * 2**20
# Bits of srv_admin_state, values of srv_op_state and a bit of srv_check_state ("show servers state").
MAINTENANCE = 0x01 | 0x02 | 0x20
DRAINED = 0x08 | 0x10
TAKES_REQUESTS = (1, 2)  # starting (slowstart) and running
CHECK_CONFIGURED = 0x02


@dataclass(frozen=True)
class Server:
    """A server in one backend of one HAProxy.

    sessions has those that run and those that wait for it; requests are all since HAProxy began.
    """

    backend: str
    name: str
    status: str
    operational: int
    administrative: int
    weight: int
    configured_weight: int
    checked: bool
    sessions: int
    requests: int
    last_check: str

    @property
    def in_maintenance(self) -> bool:
        return bool(self.administrative & MAINTENANCE)

    @property
    def drained(self) -> bool:
        """Whether it gets no new work, but for clients that a cookie or a stick table binds to it."""
        return bool(self.administrative & (MAINTENANCE | DRAINED))

    @property
    def up(self) -> bool:
        """Whether it takes the requests that its weight gives it."""
        return not self.drained and self.operational in TAKES_REQUESTS

    @property
    def serves(self) -> bool:
        return self.up and self.weight > 0


@dataclass(frozen=True)
class Proxy:
    """One HAProxy by its stats socket of level admin: a path, or host:port."""

    address: str

    def servers(self) -> list[Server]:
        return parse_servers(self.ask("show servers state; show stat"))

    def order(self, *commands: str) -> None:
        """Commands that answer nothing where they were obeyed."""
        said = self.ask("; ".join(commands)).strip()
        if "Permission denied" in said:
            raise TroubleError(f"The socket {self.address} of HAProxy obeys no orders: it needs 'level admin'.")
        if said:
            raise TroubleError(f"HAProxy at {self.address} refuses: {said}")

    def ask(self, command: str) -> str:
        deadline = time.monotonic() + ANSWER_TIMEOUT
        received = bytearray()
        try:
            with self._connect() as connection:
                connection.sendall(command.encode() + b"\n")
                while len(received) <= MAX_BYTES:
                    connection.settimeout(max(deadline - time.monotonic(), 0.001))
                    chunk = connection.recv(65536)
                    if not chunk:
                        return received.decode("utf-8", "replace")
                    received += chunk
        except PermissionError as error:
            raise TroubleError(
                f"The socket {self.address} may not be opened by this user: {error.strerror}."
            ) from error
        except OSError as error:
            raise NoAnswerError(
                f"HAProxy at {self.address} does not answer: {error.strerror or error}. Is it running, and is this one "
                "of its stats sockets?"
            ) from error
        raise TroubleError(f"HAProxy at {self.address} answers without end.")

    def _connect(self) -> socket.socket:
        address = self.address.rpartition("//")[2]
        if address.startswith("/"):
            connection = socket.socket(socket.AF_UNIX)
            connection.settimeout(ANSWER_TIMEOUT)
            try:
                connection.connect(address)
            except OSError:
                connection.close()
                raise
            return connection
        host, _unused, port = address.rpartition(":")
        if not host or not port.isdigit():
            raise TroubleError(f"The socket {self.address!r} is neither a path (/…) nor host:port.")
        return socket.create_connection((host.strip("[]"), int(port)), ANSWER_TIMEOUT)


def parse_servers(said: str) -> list[Server]:
    """Join the answers to "show servers state" and "show stat"; TroubleError where they are something else."""
    states, separator, stats = said.partition("# pxname,")
    lines = [line.split() for line in states.splitlines() if line.strip()]
    if not separator or len(lines) < 2 or lines[1][0] != "#":
        raise TroubleError(f"This is no answer of an HAProxy's stats socket: {said.strip()[:200]!r}")
    columns = lines[1][1:]
    state = {(row["be_name"], row["srv_name"]): row for row in (dict(zip(columns, line)) for line in lines[2:])}
    servers = []
    for row in csv.DictReader(f"pxname,{stats}".splitlines()):
        found = state.get((row["pxname"], row["svname"]))
        if found is None:  # a frontend, or the sum of a backend
            continue
        # In the middle of a check it has a star before it. last_chk says more, but comes and goes.
        check = (row.get("check_status", "").lstrip("* "), row.get("check_desc", ""), row.get("check_code", ""))
        servers.append(
            Server(
                backend=row["pxname"],
                name=row["svname"],
                status=row["status"],
                operational=int(found["srv_op_state"]),
                administrative=int(found["srv_admin_state"]),
                weight=int(found["srv_uweight"]),
                configured_weight=int(found["srv_iweight"]),
                checked=bool(int(found["srv_check_state"]) & CHECK_CONFIGURED),
                sessions=int(row["scur"] or 0) + int(row["qcur"] or 0),
                requests=int(row["stot"] or 0),
                last_check=" ".join(part for part in check if part not in ("", "0")),
            )
        )
    return servers


@dataclass
class Seat:
    """The server in one backend of one HAProxy."""

    proxy: Proxy
    server: Server
    others: int
    place: Place = field(init=False)

    def __post_init__(self) -> None:
        address, server = self.proxy.address, self.server
        self.place = Place(address, self.name, server.status, server.status, server.last_check)

    @property
    def name(self) -> str:
        return f"{self.server.backend}/{self.server.name}"


def drain(
    addresses: Sequence[str],
    backends: Sequence[str],
    name: str,
    report: Report,
    *,
    min_healthy: int,
    timeout: float | None,
    cut: bool = False,
    check_mode: bool = False,
) -> None:
    """Give the server no new work anywhere, and wait until no session is left on it.

    Refused, before anything changes, where one HAProxy does not answer, does not know the server, or would be left with
    fewer than min_healthy other servers. With cut, sessions that are left at the end of the time are shut down.
    """
    seats = _seats(addresses, backends, name, report)
    leaving = [seat for seat in seats if not seat.server.drained]
    for seat in leaving:
        if seat.others < min_healthy:
            raise TroubleError(
                f"{seat.name} stays in service at {seat.proxy.address}: {seat.others} other servers of the backend are "
                f"up, and min_healthy is {min_healthy}."
            )
    report.changed, report.expected = bool(leaving), "DRAIN" if check_mode else ""
    report.timeout = DEFAULT_TIMEOUT if timeout is None else timeout
    if check_mode:
        return
    told: list[Seat] = []
    for seat in leaving:
        try:
            told.append(seat)
            seat.proxy.order(f"set server {seat.name} state drain")
        except TroubleError as error:
            raise TroubleError(f"{error}{_put_back(told, report)}") from error

    def idle() -> bool:
        _look_again(seats, report)
        for seat in seats:
            if not seat.server.drained:
                raise TroubleError(
                    f"{seat.name} gets requests again at {seat.proxy.address}: HAProxy was reloaded, or somebody else "
                    "set it to ready."
                )
        return not any(seat.server.sessions for seat in seats)

    if report.wait(idle, LONGEST_PAUSE):
        return
    busy = [seat for seat in seats if seat.server.sessions]
    left = "; ".join(f"{seat.server.sessions} on {seat.name} at {seat.proxy.address}" for seat in busy)
    if not cut:
        raise TroubleError(f"Sessions were left after {report.timeout:g} s: {left}. The server is still drained.")
    report.cut_sessions = sum(seat.server.sessions for seat in busy)
    report.warnings.append(f"Sessions were cut after {report.timeout:g} s: {left}.")
    for seat in busy:
        # Maintenance first: clients bound by a cookie would come back at once.
        seat.proxy.order(f"set server {seat.name} state maint", f"shutdown sessions server {seat.name}")
    report.timeout, timeout = CUT_TIMEOUT, report.timeout
    gone = report.wait(idle, LONGEST_PAUSE)
    report.timeout = timeout
    if not gone:
        raise TroubleError(f"Sessions are still there after they were shut down: {left}.")


def admit(
    addresses: Sequence[str],
    backends: Sequence[str],
    name: str,
    report: Report,
    *,
    timeout: float | None,
    check_mode: bool = False,
) -> None:
    """Let the server have requests again, and wait until each HAProxy finds it up."""
    seats = _seats(addresses, backends, name, report)
    coming = [seat for seat in seats if seat.server.drained]
    report.changed, report.expected = bool(coming), "UP" if check_mode else ""
    report.timeout = DEFAULT_TIMEOUT if timeout is None else timeout
    if check_mode:
        return
    for seat in coming:
        set_server = f"set server {seat.name}"
        if seat.server.in_maintenance and seat.server.checked:
            # HAProxy takes a server for healthy that comes out of maintenance, until a check fails.
            seat.proxy.order(f"{set_server} state drain", f"{set_server} health down", f"{set_server} state ready")
        else:
            seat.proxy.order(f"{set_server} state ready")

    def serving() -> bool:
        _look_again(seats, report)
        return all(seat.server.serves for seat in seats)

    if not report.wait(serving, LONGEST_PAUSE):
        late = [
            seat.place.words + (", its weight is 0" if not seat.server.weight else "")
            for seat in seats
            if not seat.server.serves
        ]
        raise TroubleError(f"Not up within {report.timeout:g} s: {'; '.join(late)}.")


def _seats(addresses: Sequence[str], backends: Sequence[str], name: str, report: Report) -> list[Seat]:
    seats = []
    for proxy in dict.fromkeys(Proxy(address) for address in addresses):
        servers = proxy.servers()
        known = {server.backend for server in servers}
        unknown = sorted(set(backends) - known)
        if unknown:
            raise TroubleError(f"HAProxy at {proxy.address} has no backend {unknown[0]}, but {_list(known)}.")
        wanted = [server for server in servers if server.backend in (backends or known)]
        found = [server for server in wanted if server.name == name]
        if not found or set(backends) - {server.backend for server in found}:
            raise TroubleError(
                f"HAProxy at {proxy.address} has no server {name} in {_list(backends or known)}; it has "
                f"{_list({server.name for server in wanted})}."
            )
        for server in found:
            others = [other for other in wanted if other.backend == server.backend and other.name != name]
            seats.append(Seat(proxy, server, sum(other.serves for other in others)))
        report.requests = (report.requests or 0) + _requests(wanted, found)
    report.places += [seat.place for seat in seats]
    return seats


def _requests(servers: Sequence[Server], of: Sequence[Server]) -> int:
    """All that the backends of these servers have had, of which no server is counted twice."""
    backends = {server.backend for server in of}
    return sum(server.requests for server in servers if server.backend in backends)


def _look_again(seats: Sequence[Seat], report: Report) -> None:
    said = {proxy: proxy.servers() for proxy in dict.fromkeys(seat.proxy for seat in seats)}
    for seat in seats:
        key = (seat.server.backend, seat.server.name)
        found = [server for server in said[seat.proxy] if (server.backend, server.name) == key]
        if not found:
            raise TroubleError(f"{seat.name} is gone from HAProxy at {seat.proxy.address}.")
        seat.server = found[0]
        sessions = f"{seat.server.sessions} sessions" if seat.server.drained else ""
        reason = "; ".join(part for part in (sessions, seat.server.last_check) if part)
        report.stands(seat.place, seat.server.status, reason)
    report.requests = sum(
        _requests(servers, [seat.server for seat in seats if seat.proxy == proxy]) for proxy, servers in said.items()
    )


def _put_back(told: Sequence[Seat], report: Report) -> str:
    """Undo what a call that fails half-way has done; the last one may or may not have obeyed."""
    words = ""
    for seat in told:
        try:
            seat.proxy.order(f"set server {seat.name} state ready")
        except TroubleError:
            words += f" {seat.name} may still be drained at {seat.proxy.address}."
    report.changed = bool(words)
    return words or " It is in service again everywhere."


def _list(names: Sequence[str] | set[str]) -> str:
    return ", ".join(sorted(names)) or "none"
