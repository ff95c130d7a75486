# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What load balancers say of each request, kept by the second for some minutes."""

from __future__ import annotations

import socket
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

KEPT = 900  # seconds
END = b"end"
NO_SERVER = "<NOSRV>"
NETWORK = "AWS/NetworkELB"
APPLICATION = "AWS/ApplicationELB"


class Series(NamedTuple):
    """group: empty for what is of no target group."""

    namespace: str
    metric: str
    balancer: str
    group: str


class RequestLog:
    """Receives the lines that `configuration.LOG` describes, by UDP."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._samples: defaultdict[Series, defaultdict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
        self._lock = threading.Lock()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("", 0))
        self._thread = threading.Thread(target=self._receive, daemon=True)

    def address(self, gateway: str) -> str:
        """As address:port for containers of the network with this gateway."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((gateway, 9))
            return f"{probe.getsockname()[0]}:{self._socket.getsockname()[1]}"

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        if self._thread.is_alive():
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                sender.sendto(END, ("127.0.0.1", self._socket.getsockname()[1]))
            self._thread.join(5)
        self._socket.close()

    def samples(self, wanted: Callable[[Series], bool], start: int, end: int) -> dict[int, list[float]]:
        """All values of the series from a second on, and before another."""
        found: dict[int, list[float]] = {}
        with self._lock:
            for series in [series for series in self._samples if wanted(series)]:
                for second, values in self._samples[series].items():
                    if start <= second < end:
                        found.setdefault(second, []).extend(values)
        return found

    def note(self, line: str) -> None:
        """Of a request."""
        word, *values = line.split()
        if word != "request":  # HAProxy also logs the state of its proxies
            return
        frontend, group, server, status, seconds = values
        code, waited = int(status), int(seconds)
        balancer = frontend.rpartition("-")[0]
        if waited >= 0:
            status = f"HTTPCode_Target_{code // 100}XX_Count"
            self._keep(balancer, group, [(status, 1), ("TargetResponseTime", waited / 1000)])
        elif code >= 400:
            self._keep(balancer, "", [(f"HTTPCode_ELB_{code // 100}XX_Count", 1)])
        if server != NO_SERVER:
            self._keep(balancer, group, [("RequestCount", 1)])

    def note_hosts(self, hosts: Mapping[tuple[str, str, str], tuple[int, int]]) -> None:
        """The healthy and the unhealthy targets, by type and name of the load balancer, and group."""
        for (kind, balancer, group), counts in hosts.items():
            namespace = NETWORK if kind == "network" else APPLICATION
            self._keep(balancer, group, zip(("HealthyHostCount", "UnHealthyHostCount"), counts), namespace)

    def _keep(
        self, balancer: str, group: str, values: Iterable[tuple[str, float]], namespace: str = APPLICATION
    ) -> None:
        second = int(self._clock())
        with self._lock:
            for metric, value in values:
                samples = self._samples[Series(namespace, metric, balancer, group)]
                if second not in samples:
                    for old in [old for old in samples if old < second - KEPT]:
                        del samples[old]
                samples[second].append(value)

    def _receive(self) -> None:
        while (data := self._socket.recv(4096)) != END:
            self.note(data.decode(errors="replace"))
