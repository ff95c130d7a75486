# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs the containers of tasks, as the engine sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True)
class ContainerReport:
    """How a container fares: PENDING, RUNNING or STOPPED, and UNKNOWN, HEALTHY or UNHEALTHY."""

    status: str = "PENDING"
    health: str = "UNKNOWN"
    exit_code: int | None = None
    reason: str = ""
    image_digest: str = ""
    runtime_id: str = ""


@dataclass(frozen=True)
class TaskReport:
    """How a task fares. failed_to_start is the reason why it never will, such as CannotPullContainerError: …"""

    containers: Mapping[str, ContainerReport]
    failed_to_start: str = ""
    address: str = ""


@dataclass(frozen=True)
class Order:
    """A task to run: its definition in AWS's terms with all overrides applied, and environment for the network.

    The agent starts containers in the order of dependsOn, and says what their health checks say. It leaves alone
    those that run when another one exits: the engine calls stop when an essential one did.
    """

    arn: str
    cluster: str
    definition: Mapping[str, Any]
    network: Mapping[str, Any] = field(default_factory=dict)


class Agent(Protocol):
    """Runs tasks. Time is in seconds; an agent of real containers has its own and ignores `now`."""

    def start(self, order: Order, now: float) -> None:
        """Begin to run a task. Returns at once."""

    def stop(self, arn: str, now: float) -> None:
        """SIGTERM to all its containers, and SIGKILL after their stopTimeout. Returns at once; may be called twice."""

    def forget(self, arn: str) -> None:
        """The task is gone; what is left of it may be removed."""

    def states(self, now: float) -> Mapping[str, TaskReport]:
        """Of every task that was started and not forgotten, by ARN."""


class Targets(Protocol):
    """The target groups of services. `TargetStates` of the endpoint is one."""

    def register(self, group: str, address: str, port: int, /) -> None:
        """Of a target group's ARN. May be called twice."""

    def deregister(self, group: str, address: str, port: int, /) -> None:
        """The target drains from now on."""

    def state(self, group: str, address: str, port: int, /) -> str:
        """What DescribeTargetHealth calls it: initial, healthy, unhealthy, draining or unused."""


class HealthyTargets:
    """Target groups without health checks and without a delay."""

    def register(self, group: str, address: str, port: int, /) -> None: ...

    def deregister(self, group: str, address: str, port: int, /) -> None: ...

    def state(self, _group: str, _address: str, _port: int, /) -> str:
        return "healthy"
