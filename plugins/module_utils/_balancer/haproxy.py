# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Drains a server of HAProxy backends and puts it back into service, through the runtime API of each HAProxy."""

from __future__ import annotations

import csv
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from .._common.progress import NoAnswerError, OperationError
from .report import Place, TargetReport

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

    sessions: current and queued ones. requests: all since HAProxy started.
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
        """Whether it gets no new sessions, except from clients that a cookie or a stick table binds to it."""
        return bool(self.administrative & (MAINTENANCE | DRAINED))

    @property
    def up(self) -> bool:
        """Whether it takes its share of requests, by its weight."""
        return not self.drained and self.operational in TAKES_REQUESTS

    @property
    def serves(self) -> bool:
        return self.up and self.weight > 0


@dataclass(frozen=True)
class Proxy:
    """One HAProxy, by its stats socket of level admin: a path, or host:port."""

    address: str

    def servers(self) -> list[Server]:
        return parse_servers(self.ask("show servers state; show stat"))

    def execute(self, *commands: str) -> None:
        """Run commands whose output is empty on success; raises OperationError for a refused one."""
        said = self.ask("; ".join(commands)).strip()
        if "Permission denied" in said:
            raise OperationError(f"HAProxy denied the command on {self.address}: the stats socket needs 'level admin'.")
        if said:
            raise OperationError(f"HAProxy at {self.address} refused the command: {said}")

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
            raise OperationError(
                f"This user may not open the stats socket {self.address}: {error.strerror}."
            ) from error
        except OSError as error:
            raise NoAnswerError(
                f"The HAProxy runtime API did not answer at {self.address}: {error.strerror or error}. "
                "Check that HAProxy runs and that this is one of its stats sockets."
            ) from error
        raise OperationError(f"The answer of HAProxy at {self.address} is longer than {MAX_BYTES} bytes.")

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
            raise OperationError(f"The stats socket {self.address!r} is neither a path (/…) nor host:port.")
        return socket.create_connection((host.strip("[]"), int(port)), ANSWER_TIMEOUT)


def parse_servers(said: str) -> list[Server]:
    """Join the answers to "show servers state" and "show stat"; raises OperationError for any other text."""
    states, separator, stats = said.partition("# pxname,")
    lines = [line.split() for line in states.splitlines() if line.strip()]
    if not separator or len(lines) < 2 or lines[1][0] != "#":
        raise OperationError(f"This is not the answer of an HAProxy stats socket: {said.strip()[:200]!r}")
    columns = lines[1][1:]
    state = {(row["be_name"], row["srv_name"]): row for row in (dict(zip(columns, line)) for line in lines[2:])}
    servers = []
    for row in csv.DictReader(f"pxname,{stats}".splitlines()):
        found = state.get((row["pxname"], row["svname"]))
        if found is None:  # a frontend, or the sum of a backend
            continue
        # During a check HAProxy prefixes it with a star. last_chk has more detail, but is not always present.
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
class Membership:
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
    report: TargetReport,
    *,
    min_healthy: int,
    timeout: float | None,
    cut: bool = False,
    check_mode: bool = False,
) -> None:
    """Drain the server in all backends, and wait until it has no session left.

    Refused before any change if one HAProxy does not answer, does not know the server, or would keep fewer than
    min_healthy other servers. With cut, sessions that remain after the timeout are shut down.
    """
    memberships = _memberships(addresses, backends, name, report)
    leaving = [member for member in memberships if not member.server.drained]
    for member in leaving:
        if member.others < min_healthy:
            raise OperationError(
                f"{member.name} stays in service at {member.proxy.address}: {member.others} other servers of the "
                f"backend are up, and min_healthy is {min_healthy}."
            )
    report.changed, report.expected = bool(leaving), "DRAIN" if check_mode else ""
    report.timeout = DEFAULT_TIMEOUT if timeout is None else timeout
    if check_mode:
        return
    drained: list[Membership] = []
    for member in leaving:
        try:
            drained.append(member)
            member.proxy.execute(f"set server {member.name} state drain")
        except OperationError as error:
            raise OperationError(f"{error}{_put_back(drained, report)}") from error

    def idle() -> bool:
        _look_again(memberships, report)
        for member in memberships:
            if not member.server.drained:
                raise OperationError(
                    f"{member.name} gets requests again at {member.proxy.address}: HAProxy was reloaded, or another "
                    "operator set it to ready."
                )
        return not any(member.server.sessions for member in memberships)

    if report.wait(idle, LONGEST_PAUSE):
        return
    busy = [member for member in memberships if member.server.sessions]
    left = "; ".join(f"{member.server.sessions} on {member.name} at {member.proxy.address}" for member in busy)
    if not cut:
        raise OperationError(f"Sessions were left after {report.timeout:g} s: {left}. The server stays drained.")
    report.cut_sessions = sum(member.server.sessions for member in busy)
    report.warnings.append(f"Sessions were shut down after {report.timeout:g} s: {left}.")
    for member in busy:
        # Maintenance first: clients bound by a cookie would come back at once.
        member.proxy.execute(f"set server {member.name} state maint", f"shutdown sessions server {member.name}")
    report.timeout, timeout = CUT_TIMEOUT, report.timeout
    gone = report.wait(idle, LONGEST_PAUSE)
    report.timeout = timeout
    if not gone:
        raise OperationError(f"Sessions remain after they were shut down: {left}.")


def admit(
    addresses: Sequence[str],
    backends: Sequence[str],
    name: str,
    report: TargetReport,
    *,
    timeout: float | None,
    check_mode: bool = False,
) -> None:
    """Put the server back into service, and wait until each HAProxy reports it up."""
    memberships = _memberships(addresses, backends, name, report)
    coming = [member for member in memberships if member.server.drained]
    report.changed, report.expected = bool(coming), "UP" if check_mode else ""
    report.timeout = DEFAULT_TIMEOUT if timeout is None else timeout
    if check_mode:
        return
    for member in coming:
        set_server = f"set server {member.name}"
        if member.server.in_maintenance and member.server.checked:
            # HAProxy treats a server that leaves maintenance as healthy until a check fails.
            member.proxy.execute(f"{set_server} state drain", f"{set_server} health down", f"{set_server} state ready")
        else:
            member.proxy.execute(f"{set_server} state ready")

    def serving() -> bool:
        _look_again(memberships, report)
        return all(member.server.serves for member in memberships)

    if not report.wait(serving, LONGEST_PAUSE):
        late = [
            member.place.words + (", its weight is 0" if not member.server.weight else "")
            for member in memberships
            if not member.server.serves
        ]
        raise OperationError(f"Not up within {report.timeout:g} s: {'; '.join(late)}.")


def find(addresses: Sequence[str], backends: Sequence[str], name: str, report: TargetReport) -> None:
    """Fill the report's places with the state of the server in each backend of each HAProxy."""
    _memberships(addresses, backends, name, report)


def _memberships(
    addresses: Sequence[str], backends: Sequence[str], name: str, report: TargetReport
) -> list[Membership]:
    memberships = []
    for proxy in dict.fromkeys(Proxy(address) for address in addresses):
        servers = proxy.servers()
        known = {server.backend for server in servers}
        unknown = sorted(set(backends) - known)
        if unknown:
            raise OperationError(f"HAProxy at {proxy.address} has no backend {unknown[0]}; it has {_list(known)}.")
        wanted = [server for server in servers if server.backend in (backends or known)]
        found = [server for server in wanted if server.name == name]
        if not found or set(backends) - {server.backend for server in found}:
            raise OperationError(
                f"HAProxy at {proxy.address} has no server {name} in {_list(backends or known)}; it has "
                f"{_list({server.name for server in wanted})}."
            )
        for server in found:
            others = [other for other in wanted if other.backend == server.backend and other.name != name]
            memberships.append(Membership(proxy, server, sum(other.serves for other in others)))
        report.requests = (report.requests or 0) + _requests(wanted, found)
    report.places += [member.place for member in memberships]
    return memberships


def _requests(servers: Sequence[Server], of: Sequence[Server]) -> int:
    """The requests of the backends of these servers; no server is counted twice."""
    backends = {server.backend for server in of}
    return sum(server.requests for server in servers if server.backend in backends)


def _look_again(memberships: Sequence[Membership], report: TargetReport) -> None:
    answers = {proxy: proxy.servers() for proxy in dict.fromkeys(member.proxy for member in memberships)}
    for member in memberships:
        key = (member.server.backend, member.server.name)
        found = [server for server in answers[member.proxy] if (server.backend, server.name) == key]
        if not found:
            raise OperationError(f"{member.name} no longer exists in HAProxy at {member.proxy.address}.")
        member.server = found[0]
        sessions = f"{member.server.sessions} sessions" if member.server.drained else ""
        reason = "; ".join(part for part in (sessions, member.server.last_check) if part)
        report.update(member.place, member.server.status, reason)
    report.requests = sum(
        _requests(servers, [member.server for member in memberships if member.proxy == proxy])
        for proxy, servers in answers.items()
    )


def _put_back(drained: Sequence[Membership], report: TargetReport) -> str:
    """Undo a drain that failed half-way; the last command may or may not have been executed."""
    words = ""
    for member in drained:
        try:
            member.proxy.execute(f"set server {member.name} state ready")
        except OperationError:
            words += f" {member.name} may still be drained at {member.proxy.address}."
    report.changed = bool(words)
    return words or " It is in service again everywhere."


def _list(names: Sequence[str] | set[str]) -> str:
    return ", ".join(sorted(names)) or "none"
