# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The directories in which the engine stores images and containers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .files import parse_json
from .host import HostError, Spec

DATA = Path("/var/lib/docker")
DAEMON_CONFIG = Path("/etc/docker/daemon.json")
CONTAINERD_CONFIG = Path("/etc/containerd/config.toml")
CONTAINERD_DATA = "/var/lib/containerd"
CONTAINERD_STORE = ["driver-type", "io.containerd.snapshotter.v1"]


def image_folder(info: Mapping[str, Any]) -> Path:
    """Where an engine with this `info` (GET /info) unpacks images."""
    if CONTAINERD_STORE in (info.get("DriverStatus") or []):
        return _containerd_folder()
    return Path(info.get("DockerRootDir") or DATA)


def wanted_folder(declarations: Sequence[Spec], info: Mapping[str, Any]) -> Path:
    """The same once the declarations are applied: declared, in daemon.json, or as the engine says."""
    for declaration in declarations:
        config = (declaration.get("engine") or {}).get("config") or {}
        if "data-root" in config:
            return Path(config["data-root"] or DATA)
    try:
        configured = parse_json(DAEMON_CONFIG, DAEMON_CONFIG.read_bytes()).get("data-root")
    except (OSError, HostError):
        # An unreadable file is reported separately.
        configured = None
    return Path(configured) if configured else image_folder(info)


def _containerd_folder() -> Path:
    try:
        text = CONTAINERD_CONFIG.read_text(encoding="utf-8")
    except OSError:
        text = ""
    own = re.search(r"""^root\s*=\s*["']([^"']+)["']""", text, re.MULTILINE)
    return Path(own[1] if own else CONTAINERD_DATA)
