# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The permanent identity of a testbed and its hosts: networks, ports, instance ids and secrets."""

from __future__ import annotations

import hashlib
import ipaddress
import secrets
import socket
from datetime import datetime, timedelta
from pathlib import Path

HOST_PORTS = range(20000, 32000)  # below the range that the kernel gives to outgoing connections


def networks_in_use() -> list[ipaddress.IPv4Network]:
    """The networks that this machine has a route to (the default route left out)."""
    found = []
    for line in Path("/proc/net/route").read_text().splitlines()[1:]:
        fields = line.split()
        destination, mask = (socket.inet_ntoa(int(fields[column], 16).to_bytes(4, "little")) for column in (1, 7))
        if mask != "0.0.0.0":
            found.append(ipaddress.IPv4Network(f"{destination}/{mask}", strict=False))
    return found


def choose_subnet(testbed: str) -> str:
    """A /24 of the private 10/8 that nothing on this machine uses; the same testbed name tends to get the same one."""
    taken = networks_in_use()
    for attempt in range(1000):
        high, low = hashlib.sha256(f"{testbed}/{attempt}".encode()).digest()[:2]
        subnet = ipaddress.IPv4Network(f"10.{64 + high % 128}.{low}.0/24")
        if not any(subnet.overlaps(network) for network in taken):
            return str(subnet)
    raise SystemExit("no free /24 in 10.64.0.0 to 10.191.255.0: set testbed_subnet")


def choose_ports(testbed: str, wanted: list[str], known: dict[str, int]) -> dict[str, int]:
    """A free port on 127.0.0.1 for each wanted name; known ones stay, as containers keep them over a restart."""
    ports = {name: port for name, port in known.items() if name in wanted}
    offset = int.from_bytes(hashlib.sha256(testbed.encode()).digest()[:4], "big") % len(HOST_PORTS)
    candidates = (HOST_PORTS[(offset + step) % len(HOST_PORTS)] for step in range(len(HOST_PORTS)))
    for name in wanted:
        while name not in ports:
            port = next(candidates)
            if port in ports.values():
                continue
            with socket.socket() as probe:
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError:
                    continue
            ports[name] = port
    return ports


def choose_host(created: datetime, number: int) -> dict[str, str]:
    """The identity of a new instance. host-1 was launched first, so it is the oldest."""
    launched = created - timedelta(days=30) + timedelta(hours=number)
    return {"instance_id": f"i-0{secrets.token_hex(8)}", "launched_at": launched.strftime("%Y-%m-%dT%H:%M:%SZ")}


def choose_secrets() -> dict[str, str]:
    return {
        "database_password": secrets.token_urlsafe(24),
        "database_owner_password": secrets.token_urlsafe(24),
        "ecr_token": secrets.token_urlsafe(48),
        "redis_password": secrets.token_urlsafe(24),
        "jwt_secret": secrets.token_urlsafe(48),
        "instance_secret_access_key": secrets.token_urlsafe(30),
        "instance_session_token": secrets.token_urlsafe(120),
        "operator_secret_access_key": secrets.token_urlsafe(30),
        # What a registry signs its upload sessions with: without it, a restart would break a running push.
        "registry_http_secret": secrets.token_urlsafe(32),
    }


def addresses(subnet: str, subnet6: str, number: int) -> dict[str, str]:
    return {
        "ipv4": str(ipaddress.IPv4Network(subnet)[number]),
        "ipv6": str(ipaddress.IPv6Network(subnet6)[number]) if subnet6 else "",
    }
