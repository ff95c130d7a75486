# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Listeners and target groups as an HAProxy of the docker engine: targets by address become its servers.

AWS's: HTTP and TCP listeners; health checks by path, matcher, interval and thresholds; a target that is registered gets
requests once it is healthy, one that drains finishes those that it has.

Simplified: a listener forwards to the group with the largest weight of its default action. TLS, rules, stickiness and
slow start do not exist. A new listener or group reloads HAProxy.
"""

from __future__ import annotations

import csv
import io
import logging
import socket
import tarfile
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from ..haproxy import FAILED, NOT_IN_USE
from ..targets import HEALTHY, State
from .containers.place import Place

log = logging.getLogger(__name__)
SLOTS = 60  # servers of a group
RUNTIME_PORT = 9999
FRESH = 0.1
CONFIGURATION = "/etc/haproxy/haproxy.cfg"
INITIAL: State = ("initial", "Elb.InitialHealthChecking", "Initial health checks in progress")
TIMED_OUT: State = ("unhealthy", "Target.Timeout", "Request timed out")
HEAD = f"""\
global
    maxconn 4096
    log stdout format raw local0 notice
    stats socket ipv4@*:{RUNTIME_PORT} level admin expose-fd listeners
    nbthread 1
    hard-stop-after 30s
defaults
    log global
    timeout connect 2s
    timeout client 60s
    timeout server 60s
    # A load balancer of AWS does not try another target either: a refused connection is a lost request.
    retries 0
"""
Key = tuple[str, str, int]


@dataclass
class Slot:
    """A server of HAProxy that is a target."""

    number: int
    since: float
    draining: bool = False
    was_healthy: bool = False


@dataclass(frozen=True)
class Checks:
    """Of a target group, in seconds."""

    path: str
    protocol: str
    matcher: str
    interval: float
    timeout: float
    rise: int
    fall: int


@dataclass
class Balancer:
    """`Traffic` of the endpoint's target groups. elbv2: moto's backend. second: how long one of an interval is."""

    place: Place
    image: str
    elbv2: Any
    second: float = 1.0
    address: str = ""
    _container: str = ""
    _applied: str = ""
    _slots: dict[Key, Slot] = field(default_factory=dict)
    _next: dict[str, int] = field(default_factory=dict)
    _rows: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)
    _rows_at: float = 0.0
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def start(self) -> None:
        made = self.place.engine.containers.create(
            self.image,
            ["haproxy", "-W", "-db", "-f", CONFIGURATION],
            name=f"{self.place.name}-balancer",
            labels=self.place.labelled("balancer"),
            network=self.place.network,
            stop_signal="SIGUSR1",
        )
        self._container = made.id
        self._write(self._rendered())
        self.place.engine.api.start(made.id)
        self.address = self.place.address(made.id)
        self._await_worker("")

    def refresh(self) -> None:
        """Apply new listeners and groups."""
        with self._lock:
            wanted = self._rendered()
            if wanted == self._applied:
                return
            before = self._say("show info").partition("Pid: ")[2].partition("\n")[0]
            self._write(wanted)
            self.place.engine.api.kill(self._container, "SIGUSR2")
            self._await_worker(before)
            for key, slot in self._slots.items():
                self._enter(key, slot)

    def begin(self, group: str, target: str, port: int) -> None:
        self.refresh()
        with self._lock:
            number = self._next.get(group, 0)
            self._next[group] = (number + 1) % SLOTS
            slot = self._slots[group, target, port] = Slot(number + 1, time.monotonic())
            self._enter((group, target, port), slot)

    def stop(self, group: str, target: str, port: int) -> None:
        slot = self._slots.get((group, target, port))
        if slot:
            slot.draining = True
            self._say(f"set server {group}/target{slot.number} state drain")
            # What was read before may lack a request that arrived since.
            self._rows_at = 0.0

    def cut(self, group: str, target: str, port: int) -> None:
        slot = self._slots.pop((group, target, port), None)
        if slot:
            server = f"{group}/target{slot.number}"
            self._say(f"set server {server} state maint")
            self._say(f"shutdown sessions server {server}")

    def weigh(self, group: str, target: str, port: int, weight: int) -> None:
        """Nothing: weights are between groups, and a listener has one."""

    def busy(self, group: str, target: str, port: int) -> bool:
        row = self._row((group, target, port))
        return bool(row) and int(row["scur"]) > 0

    def health(self, group: str, target: str, port: int) -> State:
        key = (group, target, port)
        slot, row = self._slots.get(key), self._row(key)
        if slot is None or not row:
            return NOT_IN_USE
        if row["status"].startswith(("UP", "no check")):
            slot.was_healthy = True
            return HEALTHY
        checks = self._checks(group)
        if not slot.was_healthy and time.monotonic() - slot.since < checks.fall * (checks.interval + checks.timeout):
            # A target that refuses or errs needs no time-out to be known as unhealthy.
            quick = row["check_status"].lstrip("* ") in ("L4CON", "L7STS", "L7RSP")
            if not quick or time.monotonic() - slot.since < checks.fall * checks.interval + 1:
                return INITIAL
        return _reason(row)

    def _enter(self, key: Key, slot: Slot) -> None:
        group, target, port = key
        server = f"{group}/target{slot.number}"
        # A server that leaves maintenance counts as healthy until a check fails: so it comes by way of draining.
        self._say(
            f"set server {server} addr {target} port {port}; set server {server} state drain; "
            f"set server {server} health down" + ("" if slot.draining else f"; set server {server} state ready")
        )
        self._rows_at = 0.0

    def _row(self, key: Key) -> dict[str, str]:
        with self._lock:
            slot = self._slots.get(key)
            if slot is None:
                return {}
            if time.monotonic() - self._rows_at > FRESH:
                lines = self._say("show stat").lstrip("# ").splitlines()
                self._rows = {(row["pxname"], row["svname"]): row for row in csv.DictReader(lines)}
                self._rows_at = time.monotonic()
            return self._rows.get((key[0], f"target{slot.number}"), {})

    def _group(self, name: str) -> Any:
        return next(group for group in self.elbv2.target_groups.values() if group.name == name)

    def _checks(self, name: str) -> Checks:
        group = self._group(name)
        return Checks(
            group.health_check_path or "/",
            str(group.health_check_protocol),
            str(getattr(group, "matcher", {}).get("HttpCode") or "200"),
            int(group.health_check_interval_seconds) * self.second,
            float(group.health_check_timeout_seconds),
            int(group.healthy_threshold_count),
            int(group.unhealthy_threshold_count),
        )

    def _rendered(self) -> str:
        """HAProxy's configuration of what moto has."""
        parts, used = [HEAD], {}
        for balancer in list(self.elbv2.load_balancers.values()):
            for listener in list(balancer.listeners.values()):
                group = self.elbv2.target_groups.get(_forwarded(listener.default_actions))
                if group is not None:
                    mode = "tcp" if listener.protocol in ("TCP", "TLS") else "http"
                    used[group.name] = mode
                    parts.append(
                        f"frontend {balancer.name}-{listener.port}\n    mode {mode}\n    bind :{listener.port}\n"
                        f"    default_backend {group.name}\n"
                    )
        parts += [self._backend(name, mode) for name, mode in used.items()]
        if not used:
            parts.append("frontend nothing\n    mode http\n    bind 127.0.0.1:9998\n")
        return "".join(parts)

    def _backend(self, name: str, mode: str) -> str:
        checks = self._checks(name)
        asks = ""
        if checks.protocol.startswith("HTTP"):
            asks = f"    option httpchk GET {checks.path}\n    http-check expect status {checks.matcher}\n"
        inter = max(1, int(checks.interval * 1000))
        return (
            f"backend {name}\n    mode {mode}\n    balance roundrobin\n"
            f"    timeout check {int(checks.timeout * 1000)}ms\n{asks}"
            f"    default-server check inter {inter}ms rise {checks.rise} fall {checks.fall}\n"
            f"    server-template target 1-{SLOTS} 192.0.2.1:1 disabled\n"
        )

    def _write(self, text: str) -> None:
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            entry = tarfile.TarInfo(CONFIGURATION.lstrip("/"))
            entry.size, entry.mode = len(text.encode()), 0o644
            archive.addfile(entry, io.BytesIO(text.encode()))
        self.place.engine.api.put_archive(self._container, "/", packed.getvalue())
        self._applied = text

    def _await_worker(self, before: str) -> None:
        """Wait for the first worker, or for another one than before."""
        ends = time.monotonic() + 10
        while True:
            try:
                now = self._say("show info").partition("Pid: ")[2].partition("\n")[0]
            except OSError:
                now = ""
            if now and now != before:
                return
            if time.monotonic() > ends:
                told = self.place.engine.api.logs(self._container, tail=5).decode(errors="replace")
                raise RuntimeError(f"HAProxy does not run with its new configuration: {told}")
            time.sleep(0.05)

    def _say(self, command: str) -> str:
        with socket.create_connection((self.address, RUNTIME_PORT), timeout=5) as connection:
            connection.sendall(f"{command}\n".encode())
            return b"".join(iter(lambda: connection.recv(65536), b"")).decode()


def _forwarded(actions: Any) -> str:
    """The target group that most requests of a listener go to."""
    weights: dict[str, int] = {}
    for action in actions:
        if action.type == "forward" and action.data.get("TargetGroupArn"):
            weights[action.data["TargetGroupArn"]] = 1
        for group in action.data.get("ForwardConfig", {}).get("TargetGroups", []):
            weights[group["TargetGroupArn"]] = int(group.get("Weight", 1))
    return max(weights, key=lambda arn: weights[arn]) if weights else ""


def _reason(row: dict[str, str]) -> State:
    status = row["check_status"].lstrip("* ")
    if status == "L7STS":
        told = f"Health checks failed with these codes: [{row['check_code']}]"
        return "unhealthy", "Target.ResponseCodeMismatch", told
    return TIMED_OUT if status in ("L4TOUT", "L7TOUT") else FAILED
