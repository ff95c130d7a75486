# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What holds a port of this host: processes that listen on it, and containers that publish it."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

from .container_declaration import port as parse_port
from .docker import Docker, container_name
from .host import Spec

PROC = Path("/proc")
LISTENING = "0A"


def taken_ports(docker: Docker, spec: Spec, own: Collection[tuple[str, str]] = ()) -> list[str]:
    """What holds the declared ports of a container, in sentences. `own`: ports and protocols that it publishes."""
    taken = []
    for _address, outer, inner in map(parse_port, spec.get("ports") or []):
        if (outer, inner.rpartition("/")[2]) in own or not inner.endswith("/tcp"):
            continue
        # A docker-proxy for which no container has the port is one that ContainerOperations.start deals with.
        processes = [name for name in listeners(int(outer)) if not name.startswith("docker-proxy ")]
        holders = _containers_on(docker, int(outer)) or processes
        if holders:
            taken.append(f"Port {outer} is taken by {', '.join(holders)}: stop it, or declare another port.")
    return taken


def _containers_on(docker: Docker, port: int) -> list[str]:
    return [
        f"the container {container_name(entry)}"
        for entry in docker.get("/containers/json") or []
        if any(published.get("PublicPort") == port for published in entry.get("Ports") or [])
    ]


def listeners(port: int) -> list[str]:
    """The processes that listen on a TCP port, as "name (pid 123)"."""
    inodes = _listening_inodes(port)
    if not inodes:
        return []
    found = sorted(set(_owners(inodes)))
    return found or ["a process of another namespace"]


def _listening_inodes(port: int) -> set[str]:
    inodes = set()
    for table in ("tcp", "tcp6"):
        path = PROC / "net" / table
        if not path.exists():
            continue
        for line in path.read_text(encoding="ascii").splitlines()[1:]:
            fields = line.split()
            if fields[3] == LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(fields[9])
    return inodes


def _owners(inodes: set[str]) -> Iterable[str]:
    sockets = {f"socket:[{inode}]" for inode in inodes}
    for process in PROC.iterdir():
        if not process.name.isdigit():
            continue
        try:
            if any(str(link.readlink()) in sockets for link in (process / "fd").iterdir()):
                yield f"{(process / 'comm').read_text(encoding='utf-8').strip()} (pid {process.name})"
        except OSError:
            # The process ended meanwhile.
            continue
