# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands in front of the pods, three seconds late: proxy.py API_SERVER [SECONDS]

A proxy of connections, as kube-proxy and most cloud load balancers are. It learns the endpoints of each Service that
has the annotation testbed/port, and serves them on that port. Changes take effect SECONDS later. It
never tries another pod: a connection that a pod refuses is refused to the client.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import ssl
import sys
from datetime import datetime
from typing import Any
from urllib.request import Request, urlopen

LATE = 3.0
EVERY = 0.1


class Endpoints:
    """The addresses of one Service, as of some time ago."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.addresses: list[tuple[str, int]] = []
        self._known: list[tuple[str, int]] = []

    def learn(self, found: list[tuple[str, int]], late: float) -> None:
        if found != self._known:
            self._known = found
            self._log("learned", found)
            asyncio.get_running_loop().call_later(late, self._apply, found)

    def _apply(self, found: list[tuple[str, int]]) -> None:
        self.addresses = found
        self._log("serves", found)

    def _log(self, does: str, addresses: list[tuple[str, int]]) -> None:
        hosts = " ".join(host for host, _port in addresses) or "nobody"
        print(f"{datetime.now().time()} {self._name} {does} {hosts}", flush=True)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            address, port = random.choice(self.addresses)
            pod_reader, pod_writer = await asyncio.open_connection(address, port)
        except (OSError, IndexError):
            writer.transport.abort()
            return
        await asyncio.gather(copy(reader, pod_writer), copy(pod_reader, writer))


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
    except OSError:
        writer.transport.abort()


class Cluster:
    def __init__(self, server: str, token: str) -> None:
        self._server = server
        self._headers = {"Authorization": f"Bearer {token}"}
        # The API server of this container.
        self._tls = ssl._create_unverified_context()

    def read(self) -> dict[tuple[str, str], tuple[int, list[tuple[str, int]]]]:
        """By namespace and name: the port to serve, and the addresses of ready pods."""
        services = {
            (one["metadata"]["namespace"], one["metadata"]["name"]): int(port)
            for one in self._items("services")
            if (port := (one["metadata"].get("annotations") or {}).get("testbed/port"))
        }
        found = {}
        for one in self._items("endpoints") if services else []:
            key = (one["metadata"]["namespace"], one["metadata"]["name"])
            if key in services:
                subsets = one.get("subsets") or []
                ready = [
                    (address["ip"], subset["ports"][0]["port"])
                    for subset in subsets
                    for address in subset.get("addresses") or []
                ]
                found[key] = (services[key], sorted(ready))
        return found

    def _items(self, plural: str) -> list[dict[str, Any]]:
        request = Request(f"{self._server}/api/v1/{plural}", headers=self._headers)
        with urlopen(request, context=self._tls, timeout=5) as answer:
            return list(json.load(answer)["items"])


async def main() -> None:
    cluster = Cluster(sys.argv[1], os.environ["TOKEN"])
    late = float(sys.argv[2]) if len(sys.argv) > 2 else LATE
    served: dict[int, Endpoints] = {}
    while True:
        try:
            found = await asyncio.to_thread(cluster.read)
        except (OSError, ValueError) as error:
            print(f"the API server did not answer: {error}", flush=True)
            found = {}
        for (_namespace, name), (port, addresses) in found.items():
            if port not in served:
                served[port] = Endpoints(name)
                await asyncio.start_server(served[port].serve, "0.0.0.0", port, backlog=1024)
            served[port].learn(addresses, late)
        await asyncio.sleep(EVERY)


if __name__ == "__main__":
    asyncio.run(main())
