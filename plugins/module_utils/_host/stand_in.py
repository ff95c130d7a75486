# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-in that answers while a container is replaced: <name>-stand-in, a second one of the old image.

Two containers can't publish the same port. So the stand-in gets ports of its own, and an nftables table redirects new
connections of the published ports to it, before docker's rules. The kernel switches them in one transaction. Existing
connections stay where they are, because connection tracking knows their destination. Then the old container stops
gracefully, and the kernel forgets what it still tracks of it (conntrack.py). When the new one has passed its gate, the
ports are switched to it in the same way, and the stand-in stops.

The state is in the engine and the table only. The next call removes a stand-in without traffic. One with traffic serves
until a call ends with a container that serves under the name.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Callable

from .._common.http import PortMap
from . import container_declaration as declared
from .conntrack import forget, is_local
from .docker import Docker, DockerError
from .host import Host, HostError, Spec
from .networks import bridge_name
from .port_conflicts import listeners

# A connection just forwarded to the container that stops must be accepted by it first.
TURN = 1.0
# The ports are docker's again after this time even if no further call runs.
LEASE = "1h"
PORT_SET = "{ type inet_service; flags timeout; }"
EVERYWHERE = "0.0.0.0"  # noqa: S104
USERLAND_PROXY = "docker-proxy"

# Waits until the container of an id is healthy, which is reachable on these ports; raises HostError.
Wait = Callable[[str, PortMap], None]


@dataclass(frozen=True)
class PublishedPort:
    """A published TCP port: address, and the container's port. `own4` and `own6`: the stand-in's ports for it."""

    address: str
    outer: int
    inner: int
    own4: int | None = None
    own6: int | None = None


class StandIn:
    """The stand-in of a declared container. It serves while `answers` is set."""

    def __init__(self, host: Host, docker: Docker, spec: Spec) -> None:
        self.host = host
        self.docker = docker
        self.spec = spec
        self.name = f"{spec['name']}-stand-in"
        self.table = "inet evenkeel_stand_in_" + re.sub(r"\W", "_", spec["name"])
        self.answers = False
        self._adopted = False

    def check(self) -> None:
        """Raises HostError if nft is missing on this host."""
        if not self.host.has_command("nft") and not self.host.expects_packages:
            raise HostError(
                f"{self.name} needs nftables, and nft isn't installed here: declare the package nftables, as the roles "
                "imds and gateway (gateway_stand_in) do."
            )

    def adopt(self) -> None:
        """Reuse the stand-in that an interrupted call left. Remove it if no port is redirected to it."""
        found = self.docker.container(self.name)
        if found is None and not (self.spec.get("stand_in") and self._led_to()):
            return
        if found and found["State"]["Running"] and self._led_to():
            self.answers = self._adopted = True
            return
        with self.host.change(f"container {self.name}", "remove") as apply:
            if apply:
                self._lead_back()
                self._remove()

    def take_over(self, old: Mapping[str, Any], wait: Wait) -> None:
        """Serve in place of a container. Raises HostError; nothing is changed then."""
        ports = published(old)
        try:
            self.check()
            found = self._started(old)
            wait(found["Id"], _port_map(found, ports))
            self._lead(found, ports)
        except HostError as error:
            self._remove()
            raise HostError(f"The stand-in for the old container can't be started. {error.message}") from error
        self.answers = True
        time.sleep(TURN)

    def leave(self) -> None:
        """Redirect the ports to the container again. The stand-in stops after its last request."""
        # A stand-in that is started and stopped within one call is no change.
        record = self.host.change(f"container {self.name}", "remove") if self._adopted else nullcontext(True)
        with record as apply:
            if apply:
                self._lead_back()
                self.answers = False
                time.sleep(TURN)
                found = self.docker.container(self.name)
                self._remove()
                if found:
                    self.forget_connections(found)

    def forget_connections(self, stopped: Mapping[str, Any]) -> None:
        """After a container has stopped, which is described as it ran: nothing leads to it any more.

        Without this, a client that connects from a port again is sent to what has this address or port by then.
        """
        address, ports = _address(stopped), _host_ports(stopped)
        try:
            forget(lambda it: it.answers == address or (it.answers_on in ports and is_local(it.answers)))
        except OSError as error:
            self.host.warn(
                f"the kernel's list of connections couldn't be read ({error}): for two minutes, a client that connects "
                f"from the same port again may not reach {self.spec['name']}"
            )

    def port_map(self, container: str) -> PortMap:
        """Addresses of the container itself while its published ports are redirected to the stand-in."""
        found = self.docker.container(container) if self.answers else None
        return _port_map(found, published(found)) if found else {}

    # The container

    def _started(self, old: Mapping[str, Any]) -> Mapping[str, Any]:
        body, more = copy(old, self.spec["name"])
        try:
            identity = str(self.docker.post("/containers/create", body, name=self.name)["Id"])
            for network, endpoint in more.items():
                self.docker.post(f"/networks/{network}/connect", {"Container": identity, "EndpointConfig": endpoint})
            self.docker.post(f"/containers/{identity}/start")
        except DockerError as error:
            raise HostError(f"{self.name} doesn't start: {error.message}") from error
        return self.docker.container(identity) or {}

    def _remove(self) -> None:
        found = self.docker.container(self.name)
        if found:
            seconds = declared.stop_timeout(self.spec)
            path = f"/containers/{found['Id']}"
            self.docker.request("POST", f"{path}/stop", t=seconds, timeout=seconds + 30)
            self.docker.delete(path, force=1, v=1)

    # The ports

    def _led_to(self) -> bool:
        return "elements" in self.host.run(["nft", "list", "set", *self.table.split(), "ports"]).stdout

    def _lead(self, found: Mapping[str, Any], ports: Sequence[PublishedPort]) -> None:
        address, network = _address(found), self.docker.network(_network(found))
        if not address or not network:
            raise HostError(f"{self.name} has no address on a docker network.")
        own = [_with_own(found, port) for port in ports]
        proxied = any(USERLAND_PROXY in who for port in own if port.own4 for who in listeners(port.own4))
        self._nft(rules(self.table, own, address, bridge_name(network), proxied=proxied))

    def _lead_back(self) -> None:
        """The table itself stays until the next boot.

        It may be the only reason why the kernel tracks IPv6 connections. If tracking stopped and started again, new
        connections would match old entries.
        """
        self._nft(f"add table {self.table}\nadd set {self.table} ports {PORT_SET}\nflush set {self.table} ports")

    def _nft(self, text: str) -> None:
        result = self.host.run(["nft", "-f", "-"], stdin=f"{text}\n")
        if not result.ok:
            raise HostError(f"nft can't redirect the ports of {self.spec['name']}.\n{result.tail()}")


def copy(old: Mapping[str, Any], name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A second container like one that runs, with ports of its own; and its further networks."""
    config = {key: value for key, value in old["Config"].items() if key != "Hostname"}
    if old["Config"].get("Hostname") != old["Id"][:12]:
        config["Hostname"] = old["Config"].get("Hostname")
    bindings: dict[str, list[dict[str, str]]] = {}
    for port in published(old):
        bindings.setdefault(f"{port.inner}/tcp", []).append({"HostIp": port.address, "HostPort": ""})
    endpoints = {
        network: {"Aliases": sorted({name, *(endpoint.get("Aliases") or [])} - {old["Id"][:12]})}
        for network, endpoint in (old["NetworkSettings"].get("Networks") or {}).items()
    }
    first = _network(old)
    body = {
        **config,
        # By id: its name may mean another image by now.
        "Image": old["Image"],
        "HostConfig": {
            **old["HostConfig"],
            "PortBindings": bindings,
            "RestartPolicy": {"Name": "no"},
            "AutoRemove": False,
            "ContainerIDFile": "",
            "Links": None,
        },
    }
    if first in endpoints and first != "bridge":
        body["NetworkingConfig"] = {"EndpointsConfig": {first: endpoints[first]}}
    return body, {network: endpoint for network, endpoint in endpoints.items() if network != first}


def published(container: Mapping[str, Any]) -> list[PublishedPort]:
    """The TCP ports of a container that are published on chosen ports."""
    return [
        PublishedPort(
            "" if binding.get("HostIp") == EVERYWHERE else binding.get("HostIp") or "", int(binding["HostPort"]), number
        )
        for number, bindings in _tcp(container["HostConfig"].get("PortBindings"))
        for binding in bindings
        if str(binding.get("HostPort") or "").isdigit()
    ]


def rules(table: str, ports: Sequence[PublishedPort], address: str, bridge: str, *, proxied: bool) -> str:
    """Docker's rules for published ports, with the stand-in as the destination, in one transaction.

    From other hosts to the container's address, so that it sees the client's address. From the host itself, from the
    container's network, and for IPv6: through docker's userland proxy if it is used (`proxied`), else like the rest.
    """
    outside: list[str] = []
    inside: list[str] = []
    for port in ports:
        to = f"tcp dport {port.outer} dnat ip to {address}:{port.inner}"
        where = f"ip daddr {port.address}" if port.address else "meta nfproto ipv4 fib daddr type local"
        if ":" not in port.address:
            outside.append(f'iifname != "{bridge}" {where} {to}' if proxied else f"{where} {to}")
            inside.append(f"ip daddr != 127.0.0.0/8 {where} {to}" if proxied else f"{where} {to}")
            if proxied and port.own4:
                both = f"{where} tcp dport {port.outer} redirect to :{port.own4}"
                outside.append(both)
                inside.append(both)
        if port.own6:
            where = f"ip6 daddr {port.address}" if port.address not in ("", "::") else "fib daddr type local"
            both = f"meta nfproto ipv6 {where} tcp dport {port.outer} redirect to :{port.own6}"
            outside.append(both)
            inside.append(both)
    leased = ", ".join(f"{outer} timeout {LEASE}" for outer in sorted({port.outer for port in ports}))
    return (
        f"table {table} {{}}\ndelete table {table}\ntable {table} {{\n"
        f"\tset ports {{ type inet_service; flags timeout; elements = {{ {leased} }}; }}\n"
        f"{_chain('from_elsewhere', 'prerouting', outside)}{_chain('from_host', 'output', inside)}}}"
    )


def _chain(name: str, hook: str, lines: Sequence[str]) -> str:
    """Before docker's own, which has the priority -100. Only a connection's first packet is matched."""
    head = (
        f"type nat hook {hook} priority -101; policy accept;",
        "tcp flags & (fin | syn | rst | ack) != syn accept",
        "tcp dport != @ports accept",
    )
    return f"\tchain {name} {{\n" + "".join(f"\t\t{line}\n" for line in (*head, *lines)) + "\t}\n"


def _tcp(ports: Mapping[str, Any] | None) -> list[tuple[int, list[dict[str, str]]]]:
    found = []
    for key, bindings in (ports or {}).items():
        number, _separator, kind = key.partition("/")
        if kind == "tcp":
            found.append((int(number), bindings or []))
    return found


def _with_own(found: Mapping[str, Any], port: PublishedPort) -> PublishedPort:
    bound = dict(_tcp(found["NetworkSettings"].get("Ports"))).get(port.inner, [])
    own = {":" in entry["HostIp"]: int(entry["HostPort"]) for entry in bound}
    return PublishedPort(port.address, port.outer, port.inner, own.get(False), own.get(True))


def _port_map(found: Mapping[str, Any], ports: Sequence[PublishedPort]) -> PortMap:
    address = _address(found)
    return {port.outer: (address, port.inner) for port in ports} if address else {}


def _host_ports(container: Mapping[str, Any]) -> set[int]:
    ports = _tcp(container["NetworkSettings"].get("Ports"))
    return {int(entry["HostPort"]) for _number, bound in ports for entry in bound}


def _network(container: Mapping[str, Any]) -> str:
    """The name of the network by which a container's ports are published."""
    mode = str(container["HostConfig"].get("NetworkMode") or "default")
    return "bridge" if mode == "default" else mode


def _address(container: Mapping[str, Any]) -> str:
    networks = container["NetworkSettings"].get("Networks") or {}
    return str((networks.get(_network(container)) or {}).get("IPAddress") or "")
