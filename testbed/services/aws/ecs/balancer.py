# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Load balancers as HAProxys of the docker engine, one container each: targets by address become its servers.

AWS's: HTTP and TCP listeners; weights between the target groups of a listener, by request behind an Application Load
Balancer, by connection behind a Network Load Balancer; health checks by protocol, port, path, matcher, interval and
thresholds; a target that is registered gets requests once it is healthy, one that drains finishes those that it has.
Tasks reach a load balancer by its DNS name. Neither a weight nor a new listener ends a connection.

Simplified: rules, TLS, UDP, stickiness and slow start do not exist. A load balancer has one address, and all addresses
may reach it. An idle HTTP connection of a client is closed when a listener or group of its load balancer is new.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..haproxy import FAILED, NOT_IN_USE
from ..targets import HEALTHY, State
from .configuration import SLOTS, Checks, Configuration, Server, configuration
from .containers.place import Place
from .proxy import Proxy, Row

log = logging.getLogger(__name__)
INITIAL: State = ("initial", "Elb.InitialHealthChecking", "Initial health checks in progress")
TIMED_OUT: State = ("unhealthy", "Target.Timeout", "Request timed out")
TERMINATION = "deregistration_delay.connection_termination.enabled"
Key = tuple[str, str, int]


@dataclass
class Slot:
    """A server of HAProxy that is a target."""

    number: int
    since: float
    draining: bool = False
    was_healthy: bool = False


@dataclass
class Balancer:
    """`Traffic` of the endpoint's target groups. elbv2: moto's backend. second: how long one of an interval is.

    log: where requests are told, as address:port.
    """

    place: Place
    image: str
    elbv2: Any
    second: float = 1.0
    log: str = ""
    _proxies: dict[str, Proxy] = field(default_factory=dict)
    _slots: dict[Key, Slot] = field(default_factory=dict)
    _next: dict[str, int] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def refresh(self) -> None:
        """Apply new load balancers, listeners, groups and weights."""
        with self._lock:
            balancers = dict(self.elbv2.load_balancers)
            for arn in self._proxies.keys() - balancers.keys():
                self._proxies.pop(arn).remove()
            groups = dict(self.elbv2.target_groups)
            for arn, balancer in balancers.items():
                self._apply(arn, balancer, configuration(balancer, groups, self.second, self.log))

    def begin(self, group: str, target: str, port: int) -> None:
        self.refresh()
        with self._lock:
            number = self._next.get(group, 0)
            self._next[group] = (number + 1) % SLOTS
            slot = self._slots[group, target, port] = Slot(number + 1, time.monotonic())
            proxy = self._proxy(group)
            if proxy:
                proxy.enter(group, slot.number, target, port, drains=False)

    def stop(self, group: str, target: str, port: int) -> None:
        with self._lock:
            slot, proxy = self._slots.get((group, target, port)), self._proxy(group)
            if slot:
                slot.draining = True
            if slot and proxy:
                proxy.drain(group, slot.number)

    def cut(self, group: str, target: str, port: int) -> None:
        with self._lock:
            slot, proxy = self._slots.pop((group, target, port), None), self._proxy(group)
            if slot and proxy:
                proxy.cut(group, slot.number, connections=self._terminates(group))

    def weigh(self, group: str, target: str, port: int, weight: int) -> None:
        """Nothing: weights are between groups, and refresh() reads them from the listeners."""

    def busy(self, group: str, target: str, port: int) -> bool:
        slot, proxy = self._slots.get((group, target, port)), self._proxy(group)
        return bool(slot and proxy and proxy.sessions(group, slot.number))

    def health(self, group: str, target: str, port: int) -> State:
        slot, row = self._slots.get((group, target, port)), self._row((group, target, port))
        if slot is None or not row:
            return NOT_IN_USE
        if row["status"].startswith(("UP", "no check")):
            slot.was_healthy = True
            return HEALTHY
        made = self._group(group)
        if made is None:
            return NOT_IN_USE
        checks = Checks.of(made, self.second)
        if not slot.was_healthy and time.monotonic() - slot.since < checks.fall * (checks.interval + checks.timeout):
            # A target that refuses or errs needs no time-out to be known as unhealthy.
            quick = row["check_status"].lstrip("* ") in ("L4CON", "L7STS", "L7RSP")
            if not quick or time.monotonic() - slot.since < checks.fall * checks.interval + 1:
                return INITIAL
        return _reason(row)

    def healthy_hosts(self) -> Mapping[tuple[str, str, str], tuple[int, int]]:
        """How many targets are healthy and unhealthy, by load balancer's type and name and group in use."""
        found = {}
        with self._lock:
            for proxy in self._proxies.values():
                for group in proxy.applied.backends:
                    states = [
                        self.health(*key)[0]
                        for key, slot in self._slots.items()
                        if key[0] == group and not slot.draining
                    ]
                    found[proxy.kind, proxy.name, group] = (states.count("healthy"), states.count("unhealthy"))
        return found

    def _apply(self, arn: str, balancer: Any, wanted: Configuration) -> None:
        proxy = self._proxies.get(arn)
        if proxy is None:
            proxy = Proxy(self.place, self.image, balancer.name, balancer.dns_name, balancer.type)
            proxy.start(wanted, {})
            self._proxies[arn] = proxy
            self._enter(proxy, wanted.backends)
        elif not proxy.applied.same_text(wanted):
            proxy.reload(wanted, self._healthy(wanted.backends))
            self._enter(proxy, wanted.backends)
        elif proxy.applied != wanted:
            proxy.weigh(wanted)

    def _healthy(self, groups: Mapping[str, str]) -> dict[str, dict[int, Server]]:
        """The servers that the next worker starts with: those that get traffic now."""
        found: dict[str, dict[int, Server]] = {}
        for key, slot in self._slots.items():
            if key[0] in groups and not slot.draining and self.health(*key) == HEALTHY:
                found.setdefault(key[0], {})[slot.number] = Server(key[1], key[2])
        return found

    def _enter(self, proxy: Proxy, groups: Mapping[str, str]) -> None:
        """Tell a worker that is new of the servers that it did not start with."""
        for (group, target, port), slot in self._slots.items():
            if group in groups and not proxy.has(group, slot.number):
                if not slot.was_healthy:
                    slot.since = time.monotonic()
                proxy.enter(group, slot.number, target, port, drains=slot.draining)

    def _proxy(self, group: str) -> Proxy | None:
        """Of the load balancer that uses a group, or did when its last connections came."""
        with self._lock:
            return next((proxy for proxy in self._proxies.values() if group in proxy.groups), None)

    def _row(self, key: Key) -> Row:
        slot, proxy = self._slots.get(key), self._proxy(key[0])
        return proxy.row(key[0], slot.number) if slot and proxy else {}

    def _group(self, name: str) -> Any:
        return next((group for group in list(self.elbv2.target_groups.values()) if group.name == name), None)

    def _terminates(self, name: str) -> bool:
        """Whether connections end with the deregistration delay: always those of HTTP."""
        group = self._group(name)
        return group is None or group.protocol in ("HTTP", "HTTPS") or group.attributes.get(TERMINATION) == "true"


def _reason(row: Row) -> State:
    status = row["check_status"].lstrip("* ")
    if status == "L7STS":
        told = f"Health checks failed with these codes: [{row['check_code']}]"
        return "unhealthy", "Target.ResponseCodeMismatch", told
    return TIMED_OUT if status in ("L4TOUT", "L7TOUT") else FAILED
