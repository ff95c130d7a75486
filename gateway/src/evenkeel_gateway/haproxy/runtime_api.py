# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The HAProxy runtime API, on the stats socket."""

from __future__ import annotations

import asyncio
import csv
import io
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from evenkeel_gateway.haproxy import circuits

if TYPE_CHECKING:
    from pathlib import Path

    from evenkeel_gateway.settings import Route

TIMEOUT = 2.0
_UNREADABLE = re.compile(
    r"backend (\S+) \(#\d+\): invalid response\n.*, server (\S+) \(#\d+\).*\n"
    r".*\n\s*len (\d+), .*error at position (\d+)"
)
_ANSWERS = ("hrsp_1xx", "hrsp_2xx", "hrsp_3xx", "hrsp_4xx", "hrsp_5xx", "hrsp_other")
_OUT_OF_SERVICE = "MAINT"
_PROMPT = b"\n> "
_LONGEST_ANSWER = 64 * 1024 * 1024


ServerKey = tuple[str, str]
"""The names of a backend and of one of its servers."""


class RuntimeApiError(Exception):
    """The runtime API did not answer, or refused a command."""


@dataclass(frozen=True)
class BackendState:
    """The state of a route's server, or of a whole route, in HAProxy."""

    prefix: str
    status: str
    last_check: str
    responses: dict[str, int]

    @property
    def up(self) -> bool:
        return circuits.is_up(self.status)

    @property
    def circuit(self) -> str:
        return circuits.state(self.status)


class ServerState(NamedTuple):
    """The state of one server in HAProxy."""

    proven: bool
    """It is up, and has passed a health check."""
    down: bool
    successful_checks: int
    """Consecutive successful health checks while it is down."""
    reached: int
    """The number of its responses so far, including errors."""


class CacheCounts(NamedTuple):
    lookups: int
    hits: int


class RuntimeApi:
    def __init__(self, socket: Path) -> None:
        self._socket = socket

    async def ask(self, command: str, seconds: float = TIMEOUT) -> str:
        try:
            async with asyncio.timeout(seconds):
                reader, writer = await asyncio.open_unix_connection(self._socket)
                try:
                    writer.write(command.encode() + b"\n")
                    return (await reader.read()).decode().strip()
                finally:
                    writer.close()
        except (OSError, TimeoutError) as error:
            raise RuntimeApiError(f"the HAProxy runtime API does not answer on {self._socket}: {error!r}") from None

    async def hold(self) -> RuntimeApiSession:
        """Open a session: a process that stops softly takes no new connections, but serves open ones.

        It does not exit while the session is open.
        """
        try:
            async with asyncio.timeout(TIMEOUT):
                session = RuntimeApiSession(*await asyncio.open_unix_connection(self._socket, limit=_LONGEST_ANSWER))
        except (OSError, TimeoutError) as error:
            raise RuntimeApiError(f"the HAProxy runtime API does not answer on {self._socket}: {error!r}") from None
        await session.ask("prompt")
        await session.ask("set timeout cli 86400")
        return session

    async def backends(self, routes: tuple[Route, ...]) -> list[BackendState]:
        text = await self.ask("show stat -1 4 -1")
        servers: dict[str, list[BackendState]] = {}
        for row in csv.DictReader(io.StringIO(text.removeprefix("# "))):
            servers.setdefault(row["pxname"], []).append(_backend(row))
        return [_together(route.title, servers.get(route.name, [])) for route in routes]

    async def cache_counts(self, routes: tuple[Route, ...]) -> dict[str, CacheCounts]:
        text = await self.ask("show stat -1 2 -1")
        rows = {row["pxname"]: row for row in csv.DictReader(io.StringIO(text.removeprefix("# ")))}
        counts = {route.title: rows[route.name] for route in routes if route.name in rows}
        return {
            title: CacheCounts(int(row["cache_lookups"] or 0), int(row["cache_hits"] or 0))
            for title, row in counts.items()
        }

    async def set_address(self, backend: str, server: str, port: int, address: str, *, checked: bool) -> None:
        """Set the address of a server, and reset its circuit.

        With `checked` it gets requests after a successful health check, otherwise at once, until a check fails.
        """
        path = f"{backend}/{server}"
        await self._tell(f"set server {path} state maint")
        answer = await self.ask(f"set server {path} addr {address} port {port}")
        if "changed" not in answer and "no need to change" not in answer:
            raise RuntimeApiError(f"{path}: {answer}")
        await self._tell(f"set server {path} state ready")
        if checked:
            await self._tell(f"set server {path} health down")

    async def take_out(self, backend: str, server: str) -> None:
        await self._tell(f"set server {backend}/{server} state maint")

    async def close_circuit(self, backend: str, server: str) -> None:
        await self._tell(f"set server {backend}/{server} health up")

    async def servers(self) -> dict[ServerKey, ServerState]:
        """Return every server by backend and name."""
        text = await self.ask("show stat -1 4 -1")
        rows = csv.DictReader(io.StringIO(text.removeprefix("# ")))
        return {(row["pxname"], row["svname"]): _server(row) for row in rows}

    async def oversized(self) -> set[ServerKey]:
        """Return the servers whose last invalid response had headers that exceed a buffer."""
        answers = _UNREADABLE.findall(await self.ask("show errors"))
        return {(backend, server) for backend, server, length, position in answers if position == length}

    async def _tell(self, command: str) -> None:
        answer = await self.ask(command)
        if answer:
            raise RuntimeApiError(f"{command}: {answer}")


class RuntimeApiSession:
    """One connection for many commands."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._turn = asyncio.Lock()

    async def ask(self, command: str) -> str:
        try:
            async with self._turn, asyncio.timeout(TIMEOUT):
                self._writer.write(command.encode() + b"\n")
                return (await self._reader.readuntil(_PROMPT)).removesuffix(_PROMPT).decode().strip()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            self.close()  # a late answer would be taken for the next one
            raise RuntimeApiError(f"the HAProxy runtime API does not answer: {error!r}") from None

    async def connections(self) -> int:
        """Return the number of client connections, including idle ones."""
        info = dict(line.partition(": ")[::2] for line in (await self.ask("show info")).splitlines())
        return int(info.get("CurrConns", 0))

    def close(self) -> None:
        self._writer.close()


def _server(row: dict[str, str]) -> ServerState:
    reached = sum(int(row[column] or 0) for column in (*_ANSWERS, "eresp"))
    # An unchecked server starts at `rise`, where the first failed check takes it out of service.
    proven = row["status"].startswith("UP") and int(row["check_health"]) > int(row["check_rise"])
    return ServerState(proven, row["status"].startswith("DOWN"), circuits.successful_checks(row["status"]), reached)


def _backend(row: dict[str, str]) -> BackendState:
    responses = {code: int(row[f"hrsp_{code}"] or 0) for code in ("2xx", "3xx", "4xx", "5xx")}
    return BackendState(row["svname"], row["status"], row["last_chk"] or row["check_status"], responses)


def _together(prefix: str, servers: list[BackendState]) -> BackendState:
    """Return the state of a route: that of its best server, with the responses of all."""
    if not servers:
        return BackendState(prefix, "unknown", "", {})
    # Servers without an address come last.
    servers = sorted(servers, key=lambda server: server.status.startswith(_OUT_OF_SERVICE))
    best = min(servers, key=lambda server: circuits.STATES.index(server.circuit))
    responses = {code: sum(server.responses[code] for server in servers) for code in best.responses}
    return replace(best, prefix=prefix, responses=responses)
