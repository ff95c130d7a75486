# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What exists: services with their revisions and deployments, and tasks. Times are in seconds since the epoch."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .agent import ContainerReport

STARTING = ("PROVISIONING", "PENDING", "ACTIVATING")
OVER = ("STOPPING", "DEPROVISIONING", "STOPPED")
UNFINISHED = ("PENDING", "IN_PROGRESS", "STOP_REQUESTED", "ROLLBACK_REQUESTED", "ROLLBACK_IN_PROGRESS")
EVENTS = 100


@dataclass(frozen=True)
class Pace:
    """How long things take, in seconds. minute: what AWS counts in minutes, such as bake times."""

    state: float = 0.0
    settle: float = 1.0
    retry: float = 1.0
    retry_most: float = 27 * 60.0
    kept: float = 3600.0
    minute: float = 60.0


@dataclass
class Container:
    """A container of a task: what its definition says, and what the agent reports."""

    arn: str
    name: str
    image: str
    essential: bool
    checked: bool
    report: ContainerReport = field(default_factory=ContainerReport)


@dataclass
class Task:
    """A task. since is when it came into its last status; was_healthy, whether it ever was."""

    arn: str
    cluster: str
    definition_arn: str
    definition: Mapping[str, Any]
    containers: list[Container]
    group: str
    started_by: str
    created: float
    since: float
    options: dict[str, Any] = field(default_factory=dict)
    service: str = ""
    revision: str = ""
    targets: list[tuple[str, int]] = field(default_factory=list)
    last_status: str = "PROVISIONING"
    desired_status: str = "RUNNING"
    address: str = ""
    started: float | None = None
    stopping: float | None = None
    stopped: float | None = None
    stop_code: str = ""
    stopped_reason: str = ""
    target_state: str = ""
    was_healthy: bool = False
    counted: bool = False
    started_by_agent: bool = False
    registered: bool = False
    told_registered: bool = False
    version: int = 1
    protected_until: float | None = None

    @property
    def id(self) -> str:
        return self.arn.rpartition("/")[2]

    @property
    def health(self) -> str:
        """Of the essential containers that have a check; UNKNOWN without any."""
        states = {item.report.health for item in self.containers if item.essential and item.checked}
        return next((state for state in ("UNHEALTHY", "UNKNOWN", "HEALTHY") if state in states), "UNKNOWN")

    @property
    def checked(self) -> bool:
        return any(item.essential and item.checked for item in self.containers)

    @property
    def live(self) -> bool:
        """Running, or on its way there."""
        return self.desired_status == "RUNNING"

    @property
    def running(self) -> bool:
        return self.live and self.last_status == "RUNNING"

    def healthy(self, now: float, settle: float) -> bool:
        """Running, and its container checks and targets are healthy; without either, it has run for long enough."""
        if not self.running or (self.checked and self.health != "HEALTHY"):
            return False
        if self.targets:
            return self.target_state == "healthy"
        return self.checked or self.was_healthy or (self.started is not None and now - self.started >= settle)

    def protected(self, now: float) -> bool:
        return self.protected_until is not None and now < self.protected_until

    def enter(self, status: str, now: float) -> None:
        self.last_status, self.since = status, now
        self.version += 1


@dataclass
class Revision:
    """A service revision, and how far it is rolled out (an entry in the service's list of deployments)."""

    id: str
    arn: str
    created: float
    updated: float
    definition_arn: str
    settings: dict[str, Any]
    status: str = "PRIMARY"
    rollout_state: str = "IN_PROGRESS"
    rollout_reason: str = ""
    failed_tasks: int = 0
    succeeded: bool = False
    next_start: float = 0.0
    digests: dict[str, str] = field(default_factory=dict)
    test_weight: float = 0.0
    weight: float = 0.0

    @property
    def deployment_id(self) -> str:
        return f"ecs-svc/{self.id}"


@dataclass
class Hook:
    """A lifecycle hook that was reached."""

    id: str
    hook: Mapping[str, Any]
    stage: str
    status: str
    expires: float


@dataclass
class Deployment:
    """A service deployment: from its sources to its target, and perhaps back."""

    arn: str
    target: Revision
    sources: list[Revision]
    configuration: dict[str, Any]
    created: float
    updated: float
    status: str = "PENDING"
    reason: str = ""
    started: float | None = None
    finished: float | None = None
    stopped: float | None = None
    failures: int = 0
    threshold: int = 0
    breaker_status: str = "DISABLED"
    alarm_status: str = "DISABLED"
    triggered: list[str] = field(default_factory=list)
    rollback: dict[str, Any] = field(default_factory=dict)
    way_back: Revision | None = None
    stage: str = ""
    stage_since: float = 0.0
    hooks: list[Hook] = field(default_factory=list)
    final: dict[str, tuple[int, int, int]] = field(default_factory=dict)

    @property
    def unfinished(self) -> bool:
        return self.status in UNFINISHED


@dataclass
class Service:
    """A service. settings has what the caller declared, in AWS's terms, with the defaults."""

    name: str
    arn: str
    cluster: str
    desired: int
    created: float
    settings: dict[str, Any]
    created_by: str = ""
    status: str = "ACTIVE"
    tags: list[dict[str, str]] = field(default_factory=list)
    revisions: list[Revision] = field(default_factory=list)
    deployments: list[Deployment] = field(default_factory=list)
    events: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=EVENTS))
    steady: bool = False
    complaint: str = ""
    replaced: int = 0

    @property
    def primary(self) -> Revision:
        """The newest revision that the service is to run."""
        return next(revision for revision in self.revisions if revision.status == "PRIMARY")

    @property
    def listed(self) -> list[Revision]:
        """Those that DescribeServices lists: PRIMARY, and others that still have tasks."""
        return sorted(
            (item for item in self.revisions if item.status != "INACTIVE"), key=lambda item: item.status != "PRIMARY"
        )

    @property
    def current(self) -> Deployment | None:
        return self.deployments[0] if self.deployments and self.deployments[0].unfinished else None

    @property
    def last_good(self) -> Revision | None:
        """The newest revision, by its success, that was deployed successfully."""
        return next((item.target for item in self.deployments if item.status == "SUCCESSFUL"), None)
