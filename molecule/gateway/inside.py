# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs in the gateway's container: prints capabilities, writable paths and contents as JSON."""

from __future__ import annotations

import json
import os
import shutil
from importlib.metadata import distributions
from pathlib import Path

# Programs that would help an attacker, and that the gateway does not need.
TOOLS = (
    "cc",
    "curl",
    "gcc",
    "git",
    "go",
    "make",
    "nc",
    "node",
    "pip",
    "pip3",
    "socat",
    "ssh",
    "sudo",
    "tcpdump",
    "wget",
)
PLACES = ("/", "/etc", "/opt/gateway", "/usr/local/bin", "/var/tmp", "/run/gateway", "/tmp")


def processes() -> list[dict[str, str]]:
    found = []
    for status in Path("/proc").glob("[0-9]*/status"):
        fields = dict(line.split(":\t", 1) for line in status.read_text().splitlines() if ":\t" in line)
        found.append({name: fields[name] for name in ("Name", "Uid", "CapEff", "CapBnd", "NoNewPrivs", "Seccomp")})
    return found


def writable(place: str) -> bool:
    try:
        descriptor = os.open(place, os.O_TMPFILE | os.O_WRONLY)
    except OSError:
        return False
    os.close(descriptor)
    return True


def setuid() -> list[str]:
    return [
        str(path)
        for place in ("/bin", "/sbin", "/usr", "/opt")
        for path in Path(place).rglob("*")
        if path.is_file() and not path.is_symlink() and path.stat().st_mode & 0o6000
    ]


print(
    json.dumps(
        {
            "processes": processes(),
            "writable": [place for place in PLACES if writable(place)],
            "packages": sorted(f"{one.name.lower().replace('_', '-')}=={one.version}" for one in distributions()),
            "setuid": setuid(),
            "tools": [tool for tool in TOOLS if shutil.which(tool)],
        }
    )
)
