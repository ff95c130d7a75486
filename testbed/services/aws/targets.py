# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Target groups: the parts that moto lacks."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol
from xml.sax.saxutils import escape

from moto.elbv2.models import elbv2_backends
from werkzeug.wrappers import Request, Response

from .calls import Call, parameters

NAMESPACE = "http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/"
Key = tuple[str, int]
State = tuple[str, str, str]  # state, reason, description
NOT_REGISTERED = "Target.NotRegistered"
HEALTHY: State = ("healthy", "", "")


@dataclass
class Standing:
    """A target in a group: since when it is registered, or draining."""

    since: float
    draining: bool = False
    gone: bool = False


class Traffic(Protocol):
    """What stands behind the groups: where their requests go, and how targets fare."""

    def begin(self, group: str, target: str, port: int) -> None:
        """Requests of the group go to the target from now on."""

    def stop(self, group: str, target: str, port: int) -> None:
        """No new requests go there; those that are there may end."""

    def cut(self, group: str, target: str, port: int) -> None:
        """What is still there ends now."""

    def weigh(self, group: str, target: str, port: int, weight: int) -> None:
        """So many of the listener's new requests go there, compared with other groups' targets."""

    def busy(self, group: str, target: str, port: int) -> bool:
        """Whether requests are still there."""

    def health(self, group: str, target: str, port: int) -> State:
        """What health checks say of a target that is registered for long enough."""


@dataclass
class Pretended:
    """No traffic at all: what a test says of targets is so."""

    sick: dict[str, State] = field(default_factory=dict)

    def begin(self, group: str, target: str, port: int) -> None: ...

    def stop(self, group: str, target: str, port: int) -> None: ...

    def cut(self, group: str, target: str, port: int) -> None: ...

    def weigh(self, group: str, target: str, port: int, weight: int) -> None: ...

    def busy(self, _group: str, _target: str, _port: int) -> bool:
        return True

    def health(self, _group: str, target: str, _port: int) -> State:
        return self.sick.get(target, HEALTHY)


class TargetStates:
    """Answers the three calls about a group's targets: registering and draining take time, and a target can be sick.

    In seconds: how long a target is initial, and how long it drains at most.
    """

    def __init__(self, traffic: Traffic, registering: float = 0.0, draining: float = 0.6) -> None:
        self.traffic = traffic
        self.registering = registering
        self.draining = draining
        self.groups: dict[str, dict[Key, Standing]] = {}
        self.changes: list[tuple[str, tuple[Key, ...]]] = []
        self._lock = threading.Lock()

    def answer(self, call: Call, request: Request) -> Response | None:
        if call.service != "elasticloadbalancing":
            return None
        given = parameters(request)
        name = _name(given.get("TargetGroupArn", ""))
        if not name:
            return None  # moto says it
        targets = tuple(_targets(given, _port(given["TargetGroupArn"])))
        with self._lock:
            if call.action == "DescribeTargetHealth":
                return _xml(call.action, self._health(name, targets))
            if call.action == "RegisterTargets":
                self._register(name, targets)
            elif call.action == "DeregisterTargets":
                self._deregister(name, targets)
            else:
                return None
            self.changes.append((call.action, targets))
            return _xml(call.action, "")

    def take_for_registered(self, name: str, targets: Iterable[str], port: int = 80) -> None:
        """Targets that were there long before."""
        group = self.groups.setdefault(name, {})
        group.update({(target, port): Standing(float("-inf")) for target in targets})

    def register(self, arn: str, target: str, port: int = 80) -> None:
        """What an Auto Scaling group does with an instance that comes into service, and ECS with a task."""
        with self._lock:
            self._register(_name(arn), [(target, port)])

    def deregister(self, arn: str, target: str, port: int | None = None) -> None:
        """What an Auto Scaling group does with an instance that it takes out, and ECS with a task."""
        name = _name(arn)
        with self._lock:
            keys = [key for key in self.groups.get(name, {}) if key[0] == target and port in (None, key[1])]
            self._deregister(name, keys)

    def state(self, arn: str, target: str, port: int) -> str:
        """What DescribeTargetHealth says."""
        with self._lock:
            return self._state(_name(arn), (target, port))[0]

    def weigh(self, arn: str, weight: int) -> None:
        """What a listener gives to the group. One that is registered later has what it had."""
        name = _name(arn)
        with self._lock:
            for identifier, port in self.groups.get(name, {}):
                self.traffic.weigh(name, identifier, port, weight)

    def drains(self, arn: str, target: str) -> bool:
        name = _name(arn)
        with self._lock:
            keys = [key for key in self.groups.get(name, {}) if key[0] == target]
            return any(self._state(name, key)[0] == "draining" for key in keys)

    def _register(self, name: str, targets: Iterable[Key]) -> None:
        group = self.groups.setdefault(name, {})
        for key in targets:
            if self._state(name, key)[0] in ("draining", "unused"):
                group[key] = Standing(time.monotonic())
                self.traffic.begin(name, *key)

    def _deregister(self, name: str, targets: Iterable[Key]) -> None:
        for key in targets:
            if self._state(name, key)[0] not in ("draining", "unused"):
                self.groups[name][key] = Standing(time.monotonic(), draining=True)
                self.traffic.stop(name, *key)

    def _health(self, name: str, targets: tuple[Key, ...]) -> str:
        states = {key: self._state(name, key) for key in targets or self.groups.get(name, {})}
        described = [
            f"<member><HealthCheckPort>{port}</HealthCheckPort><TargetHealth><State>{state}</State>"
            + (f"<Reason>{reason}</Reason><Description>{escape(description)}</Description>" if reason else "")
            + f"</TargetHealth><Target><Id>{identifier}</Id><Port>{port}</Port></Target></member>"
            for (identifier, port), (state, reason, description) in states.items()
            if targets or state != "unused" or reason != NOT_REGISTERED
        ]
        return f"<TargetHealthDescriptions>{''.join(described)}</TargetHealthDescriptions>"

    def _state(self, name: str, key: Key) -> State:
        standing = self.groups.get(name, {}).get(key)
        if standing is None or standing.gone:
            return "unused", NOT_REGISTERED, "Target is not registered to the target group"
        age = time.monotonic() - standing.since
        if standing.draining:
            if age < self.draining and self.traffic.busy(name, *key):
                return "draining", "Target.DeregistrationInProgress", "Target deregistration is in progress"
            standing.gone = True
            self.traffic.cut(name, *key)
            return self._state(name, key)
        if age < self.registering:
            return "initial", "Elb.RegistrationInProgress", "Target registration is in progress"
        return self.traffic.health(name, *key)


def _name(arn: str) -> str:
    """The name of a group that exists."""
    *_service, region, account, resource = arn.split(":") if arn.count(":") == 5 else ("", "", "", "")
    known = arn in elbv2_backends[account][region].target_groups if resource else False
    return resource.split("/")[1] if known else ""


def _port(arn: str) -> int:
    """That of targets which are registered without one."""
    region, account = arn.split(":")[3:5]
    return int(elbv2_backends[account][region].target_groups[arn].port or 0)


def _targets(given: dict[str, str], port: int) -> Iterable[Key]:
    for number in itertools.count(1):
        identifier = given.get(f"Targets.member.{number}.Id")
        if identifier is None:
            return
        yield identifier, int(given.get(f"Targets.member.{number}.Port", port))


def _xml(action: str, content: str) -> Response:
    body = f'<{action}Response xmlns="{NAMESPACE}"><{action}Result>{content}</{action}Result></{action}Response>'
    return Response(body, content_type="text/xml")
