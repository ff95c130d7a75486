# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The containers of a testbed, and how they differ from what the docker engine has."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from testbed.planning.files import fingerprint


def container(
    name: str, definition: dict[str, Any], place: dict[str, Any], settings: dict[str, Any], plan: dict[str, Any]
) -> dict[str, Any]:
    """Arguments for docker_container; the fingerprint changes when the container must be re-created."""
    testbed = settings["name"]
    binds = [
        volume.replace("%name%", name).replace("%packages%", plan["package_repositories"].get(definition["image"], ""))
        for volume in definition.get("volumes", [])
    ]
    read = [Path(bind.split(":")[0]) for bind in binds if bind.endswith(":ro") and "/.cache/" not in bind]
    result = {
        "name": f"{testbed}-{name}",
        "hostname": name,
        "image": plan["images"][definition["image"]]["name"],
        "ipv4": place["ipv4"],
        "ipv6": place["ipv6"],
        "aliases": definition.get("aliases", []),
        "published_ports": [
            f"127.0.0.1:{plan['ports'][port]}:{inside}" for port, inside in definition.get("ports", {}).items()
        ],
        "volumes": binds,
        "mounts": [
            {"type": "volume", "source": f"{testbed}-{name}-{volume}", "target": target, "labels": settings["labels"]}
            for volume, target in definition.get("data", {}).items()
        ],
        "options": definition.get("options", {}),
    }
    return {**result, "fingerprint": fingerprint(json.dumps(result, sort_keys=True), *read)}


def docker(*arguments: str) -> list[str]:
    command = ["docker", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout.splitlines()


def plan_changes(testbed: str, plan: dict[str, Any]) -> dict[str, Any]:
    """What is missing, differs or is no longer wanted, by a look at the engine."""
    columns = '{{.Names}}\t{{.State}}\t{{.Label "evenkeel.fingerprint"}}'
    lines = docker("ps", "--all", "--filter", f"label=evenkeel.fleet={testbed}", "--format", columns)
    present = {name: rest for name, *rest in (line.split("\t") for line in lines)}
    images = docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}")
    volumes = docker("volume", "ls", "--quiet", "--filter", f"label=evenkeel.fleet={testbed}")
    wanted = {item["name"]: item for item in plan["containers"]}
    # A host that is re-created is bare: what its engine kept goes with the old one.
    hosts = [wanted[f"{testbed}-{name}"] for name in plan["hosts"]]
    stale = {
        item["name"]
        for item in hosts
        if present.get(item["name"], ["", ""])[1] != item["fingerprint"]
        and (item["name"] in present or f"{item['name']}-docker" in volumes)
    }
    return {
        "images": [key for key, image in plan["images"].items() if image["name"] not in images],
        "network": not docker("network", "ls", "--quiet", "--filter", f"name=^{testbed}$"),
        "run": [item for name, item in wanted.items() if present.get(name) != ["running", item["fingerprint"]]],
        "remove": sorted((present.keys() - wanted.keys()) | stale),
    }
