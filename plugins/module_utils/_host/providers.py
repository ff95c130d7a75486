# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands of packages: another package, a snap or an installer may provide them, too."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from .host import SEARCH_PATH, Host

ENGINE = "dockerd"
CLOUDWATCH_AGENT = "/opt/aws/amazon-cloudwatch-agent/bin/amazon-cloudwatch-agent-ctl"
_EVERYWHERE = {
    "amazon-cloudwatch-agent": CLOUDWATCH_AGENT,
    "amazon-ecr-credential-helper": "docker-credential-ecr-login",
    "containerd": "containerd",
    "containerd.io": "containerd",
    "curl": "curl",
    "docker-ce": ENGINE,
    "docker-ce-cli": "docker",
    "iptables": "iptables",
    "moby-cli": "docker",
    "moby-engine": ENGINE,
    "nftables": "nft",
}
# The command of each package, by the family of systems; a package that isn't listed here has no alternative.
COMMANDS = {
    "debian": {
        **_EVERYWHERE,
        "awscli": "aws",
        "ca-certificates": "update-ca-certificates",
        "docker-cli": "docker",
        "docker.io": ENGINE,
        "moby-containerd": "containerd",
        "postgresql-client": "psql",
    },
    "redhat": {
        **_EVERYWHERE,
        "awscli": "aws",
        "awscli-2": "aws",
        "awscli2": "aws",
        "ca-certificates": "update-ca-trust",
        "docker": ENGINE,
        "iptables-nft": "iptables",
        "postgresql": "psql",
        "postgresql15": "psql",
        "postgresql16": "psql",
        "postgresql17": "psql",
    },
}
# Packages that older releases have as a part of another: before Debian 13, docker.io has the command docker itself.
PART_OF = {"docker-cli": "docker.io"}
SNAP_ENGINE = Path("/snap/bin/docker.dockerd")


def command_of(host: Host, package: str) -> str:
    """The command that a package provides, or none."""
    family = "debian" if "debian" in host.os_families else "redhat"
    return COMMANDS[family].get(package, "")


def unprovided(host: Host, packages: Iterable[str]) -> list[str]:
    """The packages that are not installed and whose command is missing, too."""
    return [name for name in packages if not (command := command_of(host, name)) or not host.has_command(command)]


def engine_in_the_way(host: Host, packages: Iterable[str]) -> str:
    """Why an engine can't be installed beside another one on this host, or ""."""
    engines = [name for name in packages if command_of(host, name) == ENGINE]
    if not engines:
        return ""
    if SNAP_ENGINE.exists():
        return (
            "The Docker engine of this host is a snap: its configuration and its service are in other places, and "
            f"{engines[0]} beside it would be a second engine on the same socket. Nothing was changed. Move its "
            "containers away and remove it (snap remove docker), or leave docker out of bootstrap_roles."
        )
    client = _podman_client()
    if client:
        return (
            f"{client} runs Podman (package podman-docker), which is no Docker engine, and {engines[0]} would replace "
            "it. Nothing was changed. Remove the package podman-docker if it is not needed, or leave docker out of "
            "bootstrap_roles."
        )
    return ""


def _podman_client() -> str:
    """podman-docker's command is a script."""
    client = shutil.which("docker", path=SEARCH_PATH)
    if not client:
        return ""
    with Path(client).open("rb") as stream:
        start = stream.read(4096)
    return client if start.startswith(b"#!") and b"podman" in start else ""
