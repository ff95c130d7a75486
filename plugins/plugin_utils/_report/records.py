# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a report consists of: hosts, their steps and states, phases, leader changes, failures. All times are seconds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

# Waits that any tool would have; the rest of a host's time is this tool's overhead.
WAITS = ("permit", "drain", "swap", "admit", "bake", "put_back", "migrate", "deploy", "probe")
UNTOUCHED = "not touched"
WAITING, CURRENT, DONE, ROLLING_BACK, ROLLED_BACK = "waiting", "current", "done", "rolling back", "rolled back"
FAILED, UNREACHABLE, REFUSED, PUT_OFF = "failed", "unreachable", "refused", "put off"
KEPT_OUT = "kept out of service"
BAD = (FAILED, UNREACHABLE, REFUSED)
ENDED = (CURRENT, DONE, ROLLED_BACK, KEPT_OUT, *BAD)
RUNNING, SUCCEEDED, SKIPPED = "running", "succeeded", "skipped"
UNFINISHED, INTERRUPTED = "unfinished", "interrupted"


@dataclass(frozen=True)
class Nouns:
    """What a report is about: a rollout to hosts or to Deployments of Kubernetes, or a deployment of services.

    `shared` is where the steps stand that concern no member alone.
    """

    kind: str
    change: str
    member: str
    members: str
    all_members: str
    shared: str


ROLLOUT = Nouns("rollout", "rollout", "host", "hosts", "all hosts", "the fleet")
DEPLOYMENT = Nouns("deployment", "deployment", "service", "services", "all services", "the lock")
KUBERNETES = Nouns("kubernetes", "rollout", "Deployment", "Deployments", "the Deployment", "lock and leader")
NOUNS = {nouns.kind: nouns for nouns in (ROLLOUT, DEPLOYMENT, KUBERNETES)}


@dataclass
class StepRecord:
    """Something done to a host, or to the fleet. `own` is how long it took by itself, as the journal has it; None
    where it did not say. `parts` is what that consisted of."""

    name: str
    began: float
    ended: float | None = None
    result: str = RUNNING
    own: float | None = None
    parts: dict[str, float] = field(default_factory=dict)


@dataclass
class Phase:
    """A part of the whole time, without gaps.

    look, plan, update, judge, hand_over, switch, watch, put_back, deploy or end.
    """

    kind: str
    began: float
    ended: float | None = None
    hosts: tuple[str, ...] = ()
    batch: int | None = None


@dataclass
class HostRecord:
    """One host, one service of a deployment, or one Deployment of Kubernetes. `serves` is None where nothing
    has failed."""

    name: str
    instance_id: str = ""
    state: str = WAITING
    since: float = 0.0
    batch: int | None = None
    serves: bool | None = None
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None
    steps: list[StepRecord] = field(default_factory=list)
    # From the first step of its batch to the last word about it.
    began: float | None = None
    ended: float | None = None
    # Of a service or Deployment: the last line of progress, and what became of it, as results.deployment() has it.
    progress: str = ""
    deployment: dict[str, Any] | None = None

    @property
    def waits(self) -> dict[str, float]:
        """Seconds of its own waits while it was updated, by step."""
        found: dict[str, float] = {}
        for step in self.steps:
            if step.name in WAITS and step.own is not None and step.began >= (self.began or 0.0):
                found[step.name] = found.get(step.name, 0.0) + step.own
        return found

    @property
    def went_back(self) -> bool:
        return bool(self.after) and bool(self.before) and (self.after or {})["digest"] == (self.before or {})["digest"]

    def seconds(self, now: float) -> float | None:
        return None if self.began is None else (now if self.ended is None else self.ended) - self.began


@dataclass(frozen=True)
class LeaderChange:
    """`kind` is handover for one that was asked for, election for one that was found. Names are those of hosts, or
    instance ids where no host is known."""

    at: float
    kind: str
    old: str
    new: str
    term: int | None = None
    gap: float | None = None


@dataclass(frozen=True)
class Failure:
    """`host` is empty where it concerns all of them."""

    at: float
    host: str
    step: str
    cause: str
    exit_code: int | None = None
    log: tuple[str, ...] = ()


@dataclass(frozen=True)
class News:
    """Something to be said in a line; `host` is empty where it concerns all of them."""

    at: float
    host: str
    words: str
    bad: bool = False
