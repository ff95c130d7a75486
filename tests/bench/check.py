# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a host and prints its state as JSON, whichever tool bootstrapped it: python3 check.py STEPS_AS_JSON"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

HEALTH_TIMEOUT = 60.0


def output(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False).stdout.strip()


def inspect(kind: str, name: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = json.loads(output("docker", kind, "inspect", name) or "[]")
    return found[0] if found else {}


def document(path: str) -> Any:
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        return str(error)


def healthy_container(name: str) -> dict[str, Any]:
    """A container's own health check needs a moment to look for the first time."""
    deadline = time.monotonic() + HEALTH_TIMEOUT
    while True:
        found = inspect("container", name)
        health = found.get("State", {}).get("Health", {}).get("Status", "none")
        if health != "starting" or time.monotonic() > deadline:
            return found
        time.sleep(0.5)


def answer(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return str(response.status)
    except OSError as error:
        return str(error)


def container_state(found: dict[str, Any], network: str) -> dict[str, Any]:
    config, host = found.get("Config", {}), found.get("HostConfig", {})
    endpoint = found.get("NetworkSettings", {}).get("Networks", {}).get(network, {})
    kept = ("Binds", "CapDrop", "LogConfig", "Memory", "MemorySwap", "NetworkMode", "ReadonlyRootfs", "RestartPolicy")
    return {
        "image": config.get("Image"),
        "image id": found.get("Image"),
        "env": sorted(config.get("Env") or []),
        "stop timeout": config.get("StopTimeout"),
        "status": found.get("State", {}).get("Status"),
        "health": found.get("State", {}).get("Health", {}).get("Status", "none"),
        "ports": sorted(f"{inner} {outer[0]['HostPort']}" for inner, outer in (host.get("PortBindings") or {}).items()),
        "tmpfs": host.get("Tmpfs"),
        "security": host.get("SecurityOpt"),
        "aliases": sorted(set(endpoint.get("Aliases") or []) - {found.get("Id", "")[:12]}),
        **{key: host.get(key) for key in kept},
    }


def main() -> None:
    steps = json.loads(sys.argv[1])
    packages = [*steps["packages"], *(["amazon-cloudwatch-agent"] if steps["agent_url"] else [])]
    installed = output("dpkg-query", "-W", "-f", "${Package} ${Version} ${db:Status-Abbrev}\n", *packages)
    network = inspect("network", steps["network"])
    bridge = f"br-{network.get('Id', '')[:12]}"
    container = healthy_container(steps["container"]["name"])
    units = [steps["imds_unit_name"], "docker.service"]
    state = {
        "packages": sorted(line.strip() for line in installed.splitlines()),
        "daemon.json": document("/etc/docker/daemon.json"),
        "credentials": document("/root/.docker/config.json"),
        "agent": document(steps["agent_config_path"]) if steps["agent_config_path"] else None,
        "imds table": output("nft", "-s", "list", "table", "inet", "evenkeel_imds").replace(bridge, "app-net"),
        "units": {unit: output("systemctl", "show", "-p", "ActiveState,UnitFileState", unit) for unit in units},
        "network": {key: network.get(key) for key in ("Name", "Driver", "Internal", "EnableIPv6", "Labels", "Options")},
        "container": container_state(container, steps["network"]),
        "answer": answer(steps["gate_url"]),
        "identity": [container.get("Id"), container.get("State", {}).get("StartedAt"), container.get("RestartCount")],
    }
    json.dump(state, sys.stdout)


if __name__ == "__main__":
    main()
