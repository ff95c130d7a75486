# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A container definition of ECS as arguments of the docker engine, and the order of starts and stops."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..agent import ContainerReport

Definition = Mapping[str, Any]
MIB = 1024 * 1024
NANOSECONDS = 1_000_000_000
START_TIMEOUT, STOP_TIMEOUT = 180.0, 30.0


class CannotStartError(Exception):
    """Why a task never starts, in AWS's words, and the container that it is about, if it is about one."""

    def __init__(self, reason: str, container: str = "") -> None:
        super().__init__(reason)
        self.container = container


def arguments(
    container: Definition, task: Definition, environment: Mapping[str, str], volumes: Mapping[str, str], second: float
) -> dict[str, Any]:
    """Of containers.create, without image, name, network and labels.

    environment: the container's own, its secrets, and what all tasks have. volumes: the engine's name of each of the
    task's. second: how long a second of a health check is.
    """
    linux = container.get("linuxParameters", {})
    capabilities = linux.get("capabilities", {})
    memory = container.get("memory") or int(task.get("memory") or 0)
    found: dict[str, Any] = {
        "command": container.get("command"),
        "entrypoint": container.get("entryPoint"),
        "environment": dict(environment),
        "user": container.get("user"),
        "working_dir": container.get("workingDirectory"),
        "read_only": container.get("readonlyRootFilesystem", False),
        "privileged": container.get("privileged", False),
        "cap_add": capabilities.get("add"),
        "cap_drop": capabilities.get("drop"),
        "tmpfs": {item["containerPath"]: f"size={item['size']}m" for item in linux.get("tmpfs", [])},
        "volumes": [
            f"{volumes[item['sourceVolume']]}:{item['containerPath']}:{'ro' if item.get('readOnly') else 'rw'}"
            for item in container.get("mountPoints", [])
        ],
        "healthcheck": health_check(container, second),
    }
    if memory:
        found.update(mem_limit=memory * MIB, memswap_limit=memory * MIB)
    if container.get("memoryReservation"):
        found["mem_reservation"] = container["memoryReservation"] * MIB
    return {name: value for name, value in found.items() if value}


def health_check(container: Definition, second: float) -> dict[str, Any]:
    """The engine's; that of an image alone does not count, as on ECS."""
    check = container.get("healthCheck")
    if not check:
        return {"test": ["NONE"]}
    unit = int(second * NANOSECONDS)
    return {
        "test": list(check["command"]) if len(check["command"]) > 1 else ["CMD-SHELL", *check["command"]],
        "interval": check["interval"] * unit,
        # A program that starts takes as long as ever.
        "timeout": check["timeout"] * NANOSECONDS,
        "retries": check["retries"],
        "start_period": check.get("startPeriod", 0) * unit,
    }


def may_start(container: Definition, reports: Mapping[str, ContainerReport]) -> bool:
    """Whether all that it depends on is so. CannotStartError if it never will be."""
    waits = False
    for item in container.get("dependsOn", []):
        name, condition = item["containerName"], item["condition"]
        report = reports[name]
        ended = report.status == "STOPPED"
        met = {
            "START": ended or report.status == "RUNNING",
            "HEALTHY": report.status == "RUNNING" and report.health == "HEALTHY",
            "COMPLETE": ended,
            "SUCCESS": ended and report.exit_code == 0,
        }[condition]
        never = {
            "HEALTHY": ended or report.health == "UNHEALTHY",
            "SUCCESS": ended and report.exit_code != 0,
        }.get(condition, False)
        if never:
            code = f", exit code {report.exit_code}" if ended else ", unhealthy"
            raise CannotStartError(
                f"Dependency of container {container['name']} was not met: container {name} is not {condition}"
                f" ({report.status}{code})",
                container["name"],
            )
        waits |= not met
    return not waits


def may_stop(name: str, containers: Iterable[Definition], reports: Mapping[str, ContainerReport]) -> bool:
    """Whether all that depend on it have ended."""
    return all(
        reports[other["name"]].status == "STOPPED"
        for other in containers
        if name in [item["containerName"] for item in other.get("dependsOn", [])]
    )
