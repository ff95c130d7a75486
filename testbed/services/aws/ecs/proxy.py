# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A load balancer's HAProxy, in a container that answers to the load balancer's name in the network of the tasks."""

from __future__ import annotations

import contextlib
import io
import socket
import tarfile
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from .configuration import FOLDER, MAP, MASTER_PORT, RUNTIME_PORT, Configuration, Server
from .containers.place import Place

FRESH = 0.2
Row = dict[str, str]


@dataclass
class Proxy:
    """name and kind: of the load balancer. Servers are named by group and slot."""

    place: Place
    image: str
    name: str
    dns_name: str
    kind: str
    address: str = ""
    applied: Configuration = field(default_factory=Configuration)
    _container: str = ""
    _known: set[tuple[str, int]] = field(default_factory=set)
    _rows: dict[tuple[str, str], Row] = field(default_factory=dict)
    _old: list[str] = field(default_factory=list)
    _old_sessions: Counter[tuple[str, str]] = field(default_factory=Counter)
    _rows_at: float = 0.0
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def start(self, configuration: Configuration, servers: Mapping[str, Mapping[int, Server]]) -> None:
        program = ["haproxy", "-W", "-db", "-S", f"ipv4@*:{MASTER_PORT}", "-f", f"{FOLDER}/haproxy.cfg"]
        self._container = self.place.balancer(self.image, program, self.name, self.dns_name)
        self._write(configuration, servers)
        self.place.engine.api.start(self._container)
        self.address = self.place.address(self._container)
        self._await_worker("")

    def remove(self) -> None:
        self.place.remove(self._container)

    def reload(self, configuration: Configuration, servers: Mapping[str, Mapping[int, Server]]) -> None:
        """Another configuration. Connections that are established stay with the worker that has them."""
        with self._lock:
            before = self._pid()
            self._write(configuration, servers)
            self.place.engine.api.kill(self._container, "SIGUSR2")
            self._await_worker(before)
            self._old.append(before)
            self._rows_at = 0.0

    @property
    def groups(self) -> set[str]:
        """Those that get traffic, and those that have connections of before."""
        return {*self.applied.backends, *(group for group, _server in self._old_sessions)}

    def has(self, group: str, slot: int) -> bool:
        """Whether the worker knows a server's target."""
        return (group, slot) in self._known

    def weigh(self, configuration: Configuration) -> None:
        """The configuration that is applied, with other weights."""
        with self._lock:
            changed = dict(configuration.weights.items() - self.applied.weights.items())
            self.say("; ".join(f"set map {MAP} {key} {value}" for key, value in changed.items()))
            self.applied = configuration

    def enter(self, group: str, slot: int, address: str, port: int, *, drains: bool) -> None:
        server = f"{group}/target{slot}"
        # A server that leaves maintenance counts as healthy until a check fails: so it comes by way of draining.
        self.say(
            f"set server {server} addr {address} port {port}; set server {server} state drain; "
            f"set server {server} health down" + ("" if drains else f"; set server {server} state ready")
        )
        self._known.add((group, slot))
        self._rows_at = 0.0

    def drain(self, group: str, slot: int) -> None:
        self.say(f"set server {group}/target{slot} state drain")
        # What was read before may lack a request that arrived since.
        self._rows_at = 0.0

    def cut(self, group: str, slot: int, *, connections: bool) -> None:
        """No traffic any longer. connections: nor any that is left."""
        server = f"{group}/target{slot}"
        self.say(f"set server {server} state maint")
        self._known.discard((group, slot))
        if connections:
            self.say(f"shutdown sessions server {server}")
            for worker in self._old:
                self._tell_master(f"@!{worker} shutdown sessions server {server}")

    def sessions(self, group: str, slot: int) -> int:
        """How many requests or connections a server has, with those of workers that a reload has replaced."""
        with self._lock:
            row = self.row(group, slot)
            return int(row.get("scur") or 0) + self._old_sessions[group, f"target{slot}"]

    def row(self, group: str, slot: int) -> Row:
        """Of HAProxy's statistics; empty for a server that it does not have."""
        with self._lock:
            if time.monotonic() - self._rows_at > FRESH:
                self._rows = _servers(self.say("show stat -1 4 -1"))
                self._look_at_old()
                self._rows_at = time.monotonic()
            return self._rows.get((group, f"target{slot}"), {})

    def _look_at_old(self) -> None:
        if not self._old:
            return
        told = self._tell_master("show proc")
        if not told:
            return
        alive = [line.split()[0] for line in told.splitlines() if line and not line.startswith("#")]
        self._old = [worker for worker in self._old if worker in alive]
        self._old_sessions = Counter()
        for worker in self._old:
            for key, row in _servers(self._tell_master(f"@!{worker} show stat -1 4 -1")).items():
                self._old_sessions[key] += int(row["scur"] or 0)

    def say(self, command: str) -> str:
        """To HAProxy's runtime API."""
        return _exchange(self.address, RUNTIME_PORT, command) if command else ""

    def _tell_master(self, command: str) -> str:
        # While the master restarts, it does not listen.
        with contextlib.suppress(OSError):
            return _exchange(self.address, MASTER_PORT, command)
        return ""

    def _pid(self) -> str:
        return self.say("show info").partition("Pid: ")[2].partition("\n")[0]

    def _write(self, configuration: Configuration, servers: Mapping[str, Mapping[int, Server]]) -> None:
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            for path, text in (
                (f"{FOLDER}/haproxy.cfg", configuration.text(servers)),
                (MAP, configuration.map()),
            ):
                entry = tarfile.TarInfo(path.lstrip("/"))
                entry.size, entry.mode = len(text.encode()), 0o644
                archive.addfile(entry, io.BytesIO(text.encode()))
        self.place.engine.api.put_archive(self._container, "/", packed.getvalue())
        self.applied = configuration
        self._known = {(group, slot) for group, slots in servers.items() for slot in slots}

    def _await_worker(self, before: str) -> None:
        """Wait for the first worker, or for another one than before."""
        ends = time.monotonic() + 10
        while True:
            try:
                now = self._pid()
            except OSError:
                now = ""
            if now and now != before:
                return
            if time.monotonic() > ends:
                told = self.place.engine.api.logs(self._container, tail=5).decode(errors="replace")
                raise RuntimeError(f"HAProxy {self.name} does not run with its new configuration: {told}")
            time.sleep(0.05)


def _exchange(address: str, port: int, command: str) -> str:
    with socket.create_connection((address, port), timeout=5) as connection:
        connection.sendall(f"{command}\n".encode())
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b"")).decode()


def _servers(statistics: str) -> dict[tuple[str, str], Row]:
    """Those that are targets: most slots of a group are empty."""
    head, *lines = statistics.lstrip("# \n").splitlines() or [""]
    names = head.split(",")
    rows = (dict(zip(names, line.split(","))) for line in lines if line and ",MAINT," not in line)
    return {(row["pxname"], row["svname"]): row for row in rows}
