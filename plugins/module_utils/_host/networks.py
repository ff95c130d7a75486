# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Docker networks: created, compared, and never recreated under a container."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .docker import Docker, DockerError, container_name
from .host import Host, HostError, Spec

ROUTES = Path("/proc/net/route")


def ensure_network(host: Host, docker: Docker, spec: Spec) -> bool:
    """Bring a network to its declared state; returns whether it was created."""
    name = spec["name"]
    wanted = wanted_shape(spec)
    current = docker.network(name)
    if current is None:
        refuse_route_clash(name, wanted.get("subnet"), own_bridge="")
        with host.change(f"network {name}", "create", after=_show(wanted)) as apply:
            if apply:
                create(docker, spec)
        return True
    actual = actual_shape(current, wanted)
    if actual == wanted:
        return False
    attached = attached_containers(docker, current)
    if attached and {**actual, "labels": wanted["labels"]} == wanted:
        # Labels don't affect attached containers.
        host.warn(f"the labels of the network {name} stay as they are while {', '.join(attached)} use it")
        return False
    if attached:
        raise HostError(refusal(name, actual, wanted, attached))
    refuse_route_clash(name, wanted.get("subnet"), own_bridge=bridge_name(current))
    with host.change(f"network {name}", "recreate", _show(actual), _show(wanted)) as apply:
        if apply:
            docker.delete(f"/networks/{current['Id']}")
            create(docker, spec)
    return True


def wanted_shape(spec: Spec) -> dict[str, Any]:
    """The declared settings, without those that the engine chooses."""
    shape: dict[str, Any] = {
        "driver": spec.get("driver") or "bridge",
        "internal": bool(spec.get("internal")),
        "ipv6": bool(spec.get("ipv6")),
    }
    for key in ("subnet", "gateway"):
        if spec.get(key):
            shape[key] = spec[key]
    for key in ("labels", "options"):
        shape[key] = {name: str(value) for name, value in (spec.get(key) or {}).items()}
    return shape


def actual_shape(network: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The same view of an existing network. Labels and options set by other tools don't count."""
    pools = (network.get("IPAM") or {}).get("Config") or [{}]
    pool = next((entry for entry in pools if entry.get("Subnet") == wanted.get("subnet")), pools[0])
    actual: dict[str, Any] = {
        "driver": network.get("Driver"),
        "internal": bool(network.get("Internal")),
        "ipv6": bool(network.get("EnableIPv6")),
    }
    for key, source in (("subnet", "Subnet"), ("gateway", "Gateway")):
        if key in wanted:
            actual[key] = pool.get(source, "")
    for key, source in (("labels", "Labels"), ("options", "Options")):
        present = network.get(source) or {}
        actual[key] = {name: present[name] for name in wanted[key] if name in present}
    return actual


def attached_containers(docker: Docker, network: Mapping[str, Any]) -> list[str]:
    """Running and stopped ones: a stopped container can't start again once its network is gone."""
    filters = json.dumps({"network": [network["Id"]]})
    return sorted(container_name(entry) for entry in docker.get("/containers/json", all=1, filters=filters) or [])


def refusal(name: str, actual: Mapping[str, Any], wanted: Mapping[str, Any], attached: list[str]) -> str:
    differences = [
        f"{key} is {actual.get(key)!r}, not {wanted[key]!r}" for key in wanted if actual.get(key) != wanted[key]
    ]
    return (
        f"The network {name} exists with other settings: {'; '.join(differences)}. Recreating it would cut off "
        f"{', '.join(attached)}, so nothing was changed. Declare the network as it is, or drain this host, remove "
        "those containers and run this again."
    )


def create(docker: Docker, spec: Spec) -> None:
    wanted = wanted_shape(spec)
    pool = {source: wanted[key] for key, source in (("subnet", "Subnet"), ("gateway", "Gateway")) if key in wanted}
    body = {
        "Name": spec["name"],
        "CheckDuplicate": True,
        "Driver": wanted["driver"],
        "Internal": wanted["internal"],
        "EnableIPv6": wanted["ipv6"],
        "IPAM": {"Driver": "default", "Config": [pool] if pool else []},
        "Options": wanted["options"],
        "Labels": wanted["labels"],
    }
    try:
        docker.post("/networks/create", body)
    except DockerError as error:
        hint = " Another Docker network has that range: docker network ls, or choose another subnet."
        raise HostError(f"{error.message}.{hint if 'overlaps' in error.message else ''}") from error


def bridge_name(network: Mapping[str, Any]) -> str:
    """The host's interface for a bridge network."""
    named = (network.get("Options") or {}).get("com.docker.network.bridge.name")
    return str(named or f"br-{network['Id'][:12]}")


def refuse_route_clash(name: str, subnet: str | None, *, own_bridge: str) -> None:
    """The engine checks only its own networks; a range that the host routes elsewhere would silently become local."""
    if not subnet:
        return
    import ipaddress

    try:
        wanted = ipaddress.ip_network(subnet)
    except ValueError as error:
        raise HostError(f"The subnet of the network {name} is wrong: {error}.") from error
    for line in ROUTES.read_text(encoding="ascii").splitlines()[1:]:
        interface, destination, _gateway, _flags, _references, _use, _metric, mask = line.split()[:8]
        route = ipaddress.ip_network(f"{_dotted(destination)}/{_dotted(mask)}")
        if route.prefixlen and interface != own_bridge and wanted.overlaps(route):
            raise HostError(
                f"The subnet {subnet} of the network {name} overlaps with {route}, which this host routes through "
                f"{interface}: choose another subnet."
            )


def _dotted(little_endian_hex: str) -> str:
    return socket.inet_ntoa(struct.pack("<L", int(little_endian_hex, 16)))


def _show(shape: Mapping[str, Any]) -> str:
    return json.dumps(shape, indent=2, sort_keys=True) + "\n"
