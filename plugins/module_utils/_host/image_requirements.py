# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requirements of an image: the architecture of the host, and disk space."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .docker import Docker
from .host import Host, HostError, Spec, free_space, mount_point
from .registry import pull_environment
from .storage import image_folder

# Other architectures whose programs a processor runs.
ALSO_RUNS = {"amd64": ("386",), "arm64": ("arm",)}
EMULATORS = Path("/proc/sys/fs/binfmt_misc")
# A compressed layer is stored beside its unpacked files until it is complete. Those are about twice as large.
UNPACKED = 3


def architecture(docker: Docker) -> str:
    """The host's architecture in the engine's terms: amd64, arm64."""
    return str((docker.get("/version") or {}).get("Arch") or "unknown")


def fits(wanted: str, host: str) -> bool:
    return wanted == host or wanted in ALSO_RUNS.get(host, ()) or any(EMULATORS.glob("qemu-*"))


def refuse_other_architecture(docker: Docker, reference: str, image: Mapping[str, Any] | None) -> None:
    made_for = (image or {}).get("Architecture")
    if not made_for:
        return
    host = architecture(docker)
    if not fits(made_for, host):
        raise HostError(
            f"The image {reference} is built for {made_for}, and this host is {host}; nothing was stopped. "
            f"Build it for both platforms, or declare an image for {host}."
        )


def misfit(docker: Docker, container: str) -> str:
    """The message for a program that the kernel can't execute."""
    image = docker.image((docker.container(container) or {}).get("Image") or "-") or {}
    return (
        f"This host can't execute its program: the host is {architecture(docker)}, "
        f"and the image says it is built for {image.get('Architecture') or 'no architecture'}."
    )


def requirements(host: Host, docker: Docker, spec: Spec, logins: Sequence[Spec]) -> dict[str, Any] | None:
    """Requirements of a pull, from the registry: `architectures`, `download_mb`, `disk_mb`; and `free_mb` here.

    None if the client can't query the registry: it may connect in another way than the engine. Raises HostError if
    this host does not meet them.
    """
    reference = spec["image"]
    variants = _variants(host, docker, spec, logins, reference)
    if variants is None:
        return None
    here = architecture(docker)
    platforms = [(variant["Descriptor"].get("platform") or {}) for variant in variants]
    architectures = sorted(
        {str(found["architecture"]) for found in platforms if found.get("architecture")} - {"unknown"}
    )
    fitting = [
        variant
        for variant, platform in zip(variants, platforms)
        if platform.get("os", "linux") == "linux" and fits(platform.get("architecture") or here, here)
    ]
    if not fitting:
        raise HostError(f"The image {reference} is built for {', '.join(architectures)}, and this host is {here}.")
    own = next((v for v in fitting if (v["Descriptor"].get("platform") or {}).get("architecture") == here), fitting[0])
    layers = _layers(own)
    place = image_folder(docker.info())
    if _missing(layers, free_bytes(place)) > 0:
        layers = _without_those_here(host, docker, spec, logins, layers)
    download = sum(layers.values())
    needs = {
        "architectures": architectures,
        "download_mb": megabytes(download),
        "disk_mb": megabytes(download * UNPACKED),
        "free_mb": megabytes(free_bytes(place)),
    }
    if _missing(layers, free_bytes(place)) > 0:
        raise HostError(
            f"The image {reference} needs about {needs['disk_mb']} MB to be pulled and unpacked; {free_space(place)}. "
            "Remove unused images (docker image prune), or enlarge the volume."
        )
    return needs


def free_bytes(place: Path) -> int:
    usage = os.statvfs(mount_point(place))
    return usage.f_bavail * usage.f_frsize


def megabytes(size: int) -> int:
    return -(-size // 10**6)


def _missing(layers: Mapping[str, int], free: int) -> int:
    return sum(layers.values()) * UNPACKED - free


def _variants(
    host: Host, docker: Docker, spec: Spec, logins: Sequence[Spec], reference: str
) -> list[dict[str, Any]] | None:
    """An image's manifests, one for each platform."""
    insecure = ["--insecure"] if _may_be_insecure(docker, reference.partition("/")[0]) else []
    argv = ["docker", "manifest", "inspect", "--verbose", *insecure, reference]
    environment = {"DOCKER_CLI_EXPERIMENTAL": "enabled", **pull_environment(spec, logins)}
    result = host.run(argv, timeout=20, environment=environment)
    try:
        value = json.loads(result.stdout)
        found = value if isinstance(value, list) else [value]
        return [variant for variant in found if isinstance(variant["Descriptor"], dict)] or None
    except (ValueError, KeyError, TypeError):
        return None


def _may_be_insecure(docker: Docker, registry: str) -> bool:
    """The client doesn't know the engine's insecure registries, and would report a missing image."""
    known = (docker.info().get("RegistryConfig") or {}).get("IndexConfigs") or {}
    return registry.startswith(("127.", "localhost:")) or (known.get(registry) or {}).get("Secure") is False


def _layers(variant: Mapping[str, Any]) -> dict[str, int]:
    """Compressed bytes by digest."""
    manifest = variant.get("SchemaV2Manifest") or variant.get("OCIManifest") or {}
    return {str(layer["digest"]): int(layer["size"]) for layer in manifest.get("layers") or []}


def _without_those_here(
    host: Host, docker: Docker, spec: Spec, logins: Sequence[Spec], layers: dict[str, int]
) -> dict[str, int]:
    """The engine's layer digests differ from the registry's; the registry is queried for the running image."""
    running = docker.image((docker.container(spec["name"]) or {}).get("Image") or "-") or {}
    for reference in running.get("RepoDigests") or []:
        for variant in _variants(host, docker, spec, logins, str(reference)) or []:
            there = _layers(variant)
            layers = {digest: size for digest, size in layers.items() if digest not in there}
    return layers
