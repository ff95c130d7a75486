# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where tasks run: an engine, a network of it, and the labels by which all that was made is found again."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import docker.errors

FLEET, MADE_BY = "evenkeel.fleet", "evenkeel.ecs"
BALANCER = "evenkeel.load-balancer"  # its DNS name
AGENT = "agent"  # the container that this may run in
FRESH = 0.15


@dataclass(frozen=True)
class Seen:
    """A container as the engine lists it: created, running or exited, and its health."""

    state: str
    health: str


@dataclass
class Place:
    """name: the label's value, and the prefix of all names. labels: further ones."""

    engine: Any
    name: str
    network: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    _listed: dict[str, Seen] = field(default_factory=dict)
    _listed_at: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.network = self.network or self.name

    def labelled(self, what: str) -> dict[str, str]:
        return {FLEET: self.name, MADE_BY: what, **self.labels}

    def prepare(self) -> None:
        """Remove what a run that was killed left behind, and make the network if there is none."""
        self.clean()
        if not self.engine.networks.list(names=[f"^{re.escape(self.network)}$"]):
            self.engine.networks.create(self.network, driver="bridge", labels=self.labelled("network"))

    def clean(self, *, network: bool = False) -> None:
        """Remove all containers and volumes that an agent or a load balancer of this name made, and the network."""
        filters = {"label": [f"{FLEET}={self.name}", MADE_BY]}
        for item in self.engine.api.containers(all=True, filters=filters):
            if item["Labels"][MADE_BY] != AGENT:
                self.remove(item["Id"])
        for volume in self.engine.volumes.list(filters=filters):
            with contextlib.suppress(docker.errors.APIError):
                volume.remove(force=True)
        if network:
            for found in self.engine.networks.list(filters=filters):
                with contextlib.suppress(docker.errors.APIError):
                    found.remove()

    def remove(self, identifier: str) -> None:
        with contextlib.suppress(docker.errors.APIError):
            self.engine.api.remove_container(identifier, v=True, force=True)

    def gateway(self) -> str:
        """The network's address of this machine."""
        found = self.engine.networks.list(names=[f"^{re.escape(self.network)}$"])[0]
        found.reload()
        return str(found.attrs["IPAM"]["Config"][0]["Gateway"])

    def balancer(self, image: str, command: list[str], name: str, dns_name: str) -> str:
        """The id of a new container with a name in the network's DNS."""
        made = self.engine.containers.create(
            image,
            command,
            name=f"{self.name}-{name}-balancer",
            labels={**self.labelled("balancer"), BALANCER: dns_name},
            network=self.network,
            networking_config={self.network: self.engine.api.create_endpoint_config(aliases=[dns_name])},
            stop_signal="SIGUSR1",
        )
        return str(made.id)

    def address(self, identifier: str) -> str:
        networks = self.engine.api.inspect_container(identifier)["NetworkSettings"]["Networks"]
        return str(networks[self.network]["IPAddress"])

    def seen(self) -> dict[str, Seen]:
        """All containers of tasks by their ids: one call of the engine for all threads that ask at the same time."""
        with self._lock:
            if time.monotonic() - self._listed_at > FRESH:
                filters = {"label": [f"{FLEET}={self.name}", f"{MADE_BY}=task"]}
                listed = self.engine.api.containers(all=True, filters=filters)
                self._listed = {item["Id"]: Seen(item["State"], _health(item["Status"])) for item in listed}
                self._listed_at = time.monotonic()
            return self._listed


def _health(status: str) -> str:
    """Of "Up 3 seconds (health: starting)" and the like."""
    found = re.search(r"\((healthy|unhealthy)\)", status)
    return found[1].upper() if found else "UNKNOWN"


def balancer_address(engine: Any, name: str, dns_name: str, within: float = 20.0) -> str:
    """Where a load balancer listens, for clients on this machine; tasks know its DNS name. name: of the place."""
    ends = time.monotonic() + within
    while True:
        for item in engine.api.containers(filters={"label": [f"{FLEET}={name}", f"{BALANCER}={dns_name}"]}):
            found = [network["IPAddress"] for network in item["NetworkSettings"]["Networks"].values()]
            if found and found[0]:
                return str(found[0])
        if time.monotonic() > ends:
            raise TimeoutError(f"no load balancer {dns_name} of {name} runs after {within:g} s")
        time.sleep(0.1)
