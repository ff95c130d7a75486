# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Examines a host and reports the requirements of a gateway host that it does not meet. Changes nothing.

Each check returns one sentence per problem for the operator: the problem, then the remedy.
"""

from __future__ import annotations

import os
import platform
import shutil
import socket
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from . import packages
from .converge import refusals, settled_containers
from .docker import Docker
from .files import parse_json
from .host import OS_RELEASE, Host, HostError, Spec, mount_point, os_families
from .port_conflicts import listeners
from .proxies import problem_by_proxy, proxies_for, settings
from .storage import DAEMON_CONFIG, wanted_folder

ARCHITECTURES = ("x86_64", "aarch64")
ENGINE_PID = Path("/run/docker.pid")
# Which files set which proxy variables.
Settings = Iterable[tuple[str, Mapping[str, str]]]


class WantedPort(NamedTuple):
    """A TCP port of the host and the container that may hold it."""

    number: int
    container: str


def distribution_problems(os_release: str) -> list[str]:
    """Check the distribution by the text of os-release(5)."""
    try:
        os_families(os_release)
    except HostError as error:
        return [error.message]
    return []


def system_problems(machine: str, uid: int, init: str) -> list[str]:
    """Check the processor's architecture, the user's rights and process 1 (its command name)."""
    problems = []
    if machine not in ARCHITECTURES:
        problems.append(f"The architecture {machine} is not supported. Use one of {', '.join(ARCHITECTURES)}.")
    if uid != 0:
        problems.append("Not root on the host. Run with become: true and a user that may use sudo.")
    if init != "systemd":
        problems.append(f"Process 1 is {init or 'unknown'}, not systemd. The roles set up systemd units.")
    return problems


def disk_problems(path: Path, wanted_mb: int) -> list[str]:
    """Check the free space in MB (10^6 bytes) on the file system of docker's data directory."""
    place = mount_point(path)
    free_mb = shutil.disk_usage(place).free // 10**6
    if free_mb >= wanted_mb:
        return []
    return [
        f"Only {free_mb} MB free on the file system {place}, which holds docker's data ({path}); {wanted_mb} MB are "
        "required. Free some space (docker image prune, journalctl --vacuum-size=100M), enlarge the volume, "
        "or set preflight_min_disk_mb."
    ]


def running_engine() -> dict[str, Any]:
    """GET /info of a running engine. An engine that socket activation would start is not queried."""
    if not ENGINE_PID.exists():
        return {}
    try:
        return Docker(Host(check_mode=True), None).info()
    except HostError:
        return {}


def memory_problems(meminfo: str, wanted_mb: int) -> list[str]:
    """Check the memory that is available, in MB, by the text of /proc/meminfo (kB)."""
    available = next((line.split()[1] for line in meminfo.splitlines() if line.startswith("MemTotal:")), "0")
    total_mb = int(available) * 1024 // 10**6
    if total_mb >= wanted_mb:
        return []
    return [f"The host has {total_mb} MB of memory, {wanted_mb} MB are required. Use a larger instance type."]


def json_problems(path: Path) -> list[str]:
    """Check that a file, where it exists and is not empty, holds a JSON object."""
    try:
        parse_json(path, path.read_bytes())
    except FileNotFoundError:
        return []
    except HostError as error:
        return [error.message]
    return []


def clock_problems(host_time: float, controller_time: float, tolerance: float) -> list[str]:
    """Compare two clocks (seconds since the epoch); requests to AWS are refused where they differ by minutes."""
    apart = host_time - controller_time
    if abs(apart) <= tolerance:
        return []
    return [
        f"The host's clock is {abs(apart):.0f} s {'ahead of' if apart > 0 else 'behind'} the controller's. "
        "Set up time synchronisation (chrony); AWS refuses requests with a wrong time."
    ]


def endpoint_problems(endpoints: Iterable[str], timeout: float, proxies: Settings = ()) -> list[str]:
    """Connect to each `host:port` in parallel, each within `timeout` seconds; through a proxy if one is set for it."""
    targets = list(endpoints)
    if not targets:
        return []
    with ThreadPoolExecutor(max_workers=len(targets)) as pool:
        found = pool.map(lambda target: _endpoint_problem(target, timeout, proxies), targets)
        return [problem for problem in found if problem]


def _endpoint_problem(endpoint: str, timeout: float, proxies: Settings) -> str:
    name, colon, port = endpoint.rpartition(":")
    name = name.strip("[]")
    if not colon or not name or not port.isdigit():
        return f"The endpoint {endpoint} is not of the form host:port. Correct preflight_endpoints."
    ways = proxies_for(name, int(port), proxies)
    if not ways:
        return _direct_problem(endpoint, name, int(port), timeout)
    # Programs may use different proxies or none: one working route is enough.
    found = [problem_by_proxy(name, int(port), proxy, timeout) for proxy in ways]
    return found[0] if all(found) else ""


def _direct_problem(endpoint: str, name: str, port: int, timeout: float) -> str:
    try:
        socket.create_connection((name, port), timeout=timeout).close()
    except socket.gaierror:
        return f"The name {name} (endpoint {endpoint}) can't be resolved on the host. Check its spelling and the DNS."
    except socket.timeout:
        return (
            f"{endpoint} does not answer within {timeout:g} s. "
            "Check security groups, routes and whether the service is up; or set HTTPS_PROXY if a proxy leads there."
        )
    except OSError as error:
        return f"{endpoint} can't be reached: {error.strerror or error}. Check whether the service is up."
    return ""


def port_problems(port: WantedPort) -> list[str]:
    """Check that a TCP port is free or already held by the container that is to have it."""
    if not _is_bound(port.number):
        return []
    holder = _publishing_container(port.number)
    if holder == port.container:
        return []
    who = f"the container {holder}" if holder else ", ".join(listeners(port.number))
    return [
        f"Port {port.number} is taken by {who}. Stop it, or choose another port for {port.container} "
        "(gateway_host_port)."
    ]


def _is_bound(number: int) -> bool:
    for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):  # noqa: S104
        try:
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind((address, number))
        except OSError as error:
            if error.errno == 98:  # EADDRINUSE
                return True
    return False


def _publishing_container(number: int) -> str | None:
    argv = ["docker", "ps", "--filter", f"publish={number}", "--format", "{{.Names}}"]
    try:
        names = subprocess.run(argv, capture_output=True, text=True, timeout=10, check=False).stdout.split()
    except (OSError, subprocess.TimeoutExpired):
        return None
    return names[0] if names else None


def problems(
    *,
    declarations: Sequence[Spec],
    ports: Iterable[WantedPort],
    endpoints: Iterable[str],
    min_disk_mb: int,
    min_memory_mb: int,
    controller_time: float,
    timeout: float,
) -> list[str]:
    """Every requirement that this host does not meet, one sentence each."""
    now = time.time()
    init = Path("/proc/1/comm").read_text(encoding="utf-8").strip()
    found = distribution_problems(OS_RELEASE.read_text(encoding="utf-8"))
    found += system_problems(platform.machine(), os.geteuid(), init)
    found += clock_problems(now, controller_time, tolerance=60)
    found += disk_problems(wanted_folder(declarations, running_engine()), min_disk_mb)
    found += memory_problems(Path("/proc/meminfo").read_text(encoding="utf-8"), min_memory_mb)
    found += json_problems(DAEMON_CONFIG)
    for port in ports:
        found += port_problems(port)
    return found + endpoint_problems(endpoints, timeout, settings(declarations))


def check(declarations: Sequence[Spec], options: Spec) -> dict[str, Any]:
    """As the option `fitness` of host_converge says. Returns problems, settled and containers. Raises OSError."""
    wanted = {key: value for key, value in options.items() if key not in ("ports", "controller_time")}
    found = problems(
        declarations=declarations,
        ports=[WantedPort(port["port"], port["container"]) for port in options["ports"]],
        controller_time=options["controller_time"] or time.time(),
        **wanted,
    )
    found += packages.refusals(declarations)
    containers = settled_containers(declarations) if declarations and not found else None
    if declarations and not found and containers is None:
        found = refusals(declarations)
    return {"problems": found, "settled": containers is not None, "containers": containers or {}}
