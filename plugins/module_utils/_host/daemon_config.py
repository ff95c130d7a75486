# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How keys of daemon.json affect running containers, and which of them a declaration wrote. Pure."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

Settings = Mapping[str, Any]

SNAPSHOTTER = "features.containerd-snapshotter"
# Where the engine stores its containers, with its defaults; None where the engine chooses.
# With another value it starts empty, and its containers stop or run without it.
PLACES: dict[str, Any] = {
    "data-root": "/var/lib/docker",
    "exec-root": "/run/docker",
    "storage-driver": None,
    "storage-opts": (),
    "userns-remap": "",
    "containerd": None,
    "containerd-namespace": "moby",
    "containerd-plugins-namespace": "plugins.moby",
    SNAPSHOTTER: None,
}
# The storage options that name a location; others set size and checks.
STORES = ("dm.", "zfs.fsname")
# The engine does not change its default network while containers run.
DEFAULT_NETWORK = frozenset(
    (
        "bip",
        "bip6",
        "bridge",
        "default-gateway",
        "default-gateway-v6",
        "fixed-cidr",
        "fixed-cidr-v6",
        "ipv6",
        "mtu",
    )
)


def moved(old: Settings, new: Settings, runs: Settings, *, taken_over: bool) -> list[str]:
    """The places that an engine would not find again with the new settings, as the names of their keys.

    runs: the running engine's settings, by `running_places`. taken_over: whether it runs with the old settings.
    """
    found = []
    for key, default in PLACES.items():
        before, after = _place(old, key), _place(new, key)
        if key in runs and after is None:
            # The engine may choose another default than the removed value.
            changed = before is not None if default is None else default != runs[key]
        elif key in runs:
            changed = after != runs[key]
        elif taken_over:
            changed = (default if after is None else after) != (default if before is None else before)
        else:
            changed = after not in (None, default)
        if changed:
            found.append(_spelt(key, old, new))
    return found


def running_places(info: Settings) -> dict[str, Any]:
    """The settings that the running engine reports (GET /info)."""
    found: dict[str, Any] = {}
    root = info.get("DockerRootDir")
    if root:
        remapped = any("name=userns" in option for option in info.get("SecurityOptions") or [])
        found["data-root"] = _path(f"{root}/.." if remapped else root)
    if info.get("Driver"):
        found["storage-driver"] = info["Driver"]
        found[SNAPSHOTTER] = ["driver-type", "io.containerd.snapshotter.v1"] in (info.get("DriverStatus") or [])
    return found


def _place(settings: Settings, key: str) -> Any:
    if key == "data-root":
        root = settings.get("data-root", settings.get("graph"))
        return None if root is None else _path(root)
    if key == "exec-root":
        return None if settings.get(key) is None else _path(settings[key])
    if key == "storage-opts":
        return tuple(sorted(option for option in settings.get(key) or () if str(option).startswith(STORES)))
    if key == SNAPSHOTTER:
        return (settings.get("features") or {}).get("containerd-snapshotter")
    return settings.get(key)


def _path(path: str) -> str:
    return os.path.realpath(path).replace("/var/run/", "/run/", 1)


def _spelt(key: str, old: Settings, new: Settings) -> str:
    return "graph" if key == "data-root" and "graph" in {**old, **new} and "data-root" not in {**old, **new} else key


def withdrawn(current: Settings, written: Settings, wanted: Settings) -> dict[str, Any]:
    """Settings without those that this collection wrote and that are no longer declared.

    A setting whose value was changed since then stays.
    """
    result: dict[str, Any] = {}
    for key, value in current.items():
        own, declared = written.get(key), wanted.get(key)
        if isinstance(value, dict) and isinstance(own, dict):
            rest = withdrawn(value, own, declared if isinstance(declared, dict) else {})
            if rest or not value or declared:
                result[key] = rest
        elif key in wanted or key not in written or value != own:
            result[key] = value
    return result


def own_settings(before: Settings, written: Settings, wanted: Settings) -> dict[str, Any]:
    """The wanted settings that this collection writes or wrote, without those that the file had before."""
    result: dict[str, Any] = {}
    for key, value in wanted.items():
        there, own = before.get(key), written.get(key)
        if isinstance(value, dict):
            inner = own_settings(there if isinstance(there, dict) else {}, own if isinstance(own, dict) else {}, value)
            if inner:
                result[key] = inner
        elif value is not None and (there != value or own == value):
            result[key] = value
    return result
