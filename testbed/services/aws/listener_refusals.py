# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What AWS refuses of load balancers and listeners, and moto does not."""

from __future__ import annotations

from collections.abc import Iterable

from moto.elbv2.models import elbv2_backends
from werkzeug.wrappers import Request, Response

from .calls import Call, error, parameters
from .listeners import forwards

# The protocols of target groups by that of the listener.
GROUPS = {
    "HTTP": ("HTTP", "HTTPS"),
    "HTTPS": ("HTTP", "HTTPS"),
    "TCP": ("TCP", "TCP_UDP"),
    "TLS": ("TCP", "TLS"),
    "UDP": ("UDP", "TCP_UDP"),
    "TCP_UDP": ("TCP_UDP",),
}
LARGEST_WEIGHT = 999


class ListenerRefusals:
    """Answers a call that AWS would refuse."""

    def __init__(self, account: str, region: str) -> None:
        self._backend = elbv2_backends[account][region]

    def answer(self, call: Call, request: Request) -> Response | None:
        if call.service != "elasticloadbalancing":
            return None
        given = parameters(request)
        if call.action in ("CreateListener", "ModifyListener"):
            refusal = self._of_listener(given)
        elif call.action == "SetSecurityGroups":
            refusal = self._of_security_groups(given.get("LoadBalancerArn", ""))
        else:
            return None
        return error(call, *refusal) if refusal else None

    def _of_listener(self, given: dict[str, str]) -> tuple[str, str] | None:
        arn = given.get("LoadBalancerArn") or self._balancer_of(given.get("ListenerArn", ""))
        protocol = given.get("Protocol") or self._protocol_of(given.get("ListenerArn", ""))
        for group, weight in forwards(given):
            if not 0 <= weight <= LARGEST_WEIGHT:
                return "ValidationError", f"Weight '{weight}' must be between 0 and {LARGEST_WEIGHT}"
            found = self._backend.target_groups.get(group)
            if found is None:
                return None  # moto says it
            if protocol in GROUPS and found.protocol not in GROUPS[protocol]:
                return "IncompatibleProtocols", "The specified configuration is not valid with this protocol."
            others = [one for one in self._users(group) if one != arn]
            if others:
                return (
                    "TargetGroupAssociationLimit",
                    f"The following target groups cannot be associated with more than one load balancer: {group}",
                )
        return None

    def _of_security_groups(self, arn: str) -> tuple[str, str] | None:
        found = self._backend.load_balancers.get(arn)
        if found is not None and found.type == "network" and not found.security_groups:
            told = "SetSecurityGroups is not supported for a network load balancer that was created without any"
            return "InvalidConfigurationRequest", told
        return None

    def _users(self, group: str) -> Iterable[str]:
        """The load balancers with a listener that forwards to a group."""
        for arn, balancer in list(self._backend.load_balancers.items()):
            for listener in list(balancer.listeners.values()):
                actions = [action.data for action in listener.default_actions]
                if any(group in str(action) for action in actions):
                    yield arn

    def _balancer_of(self, listener: str) -> str:
        return next((arn for arn, one in self._backend.load_balancers.items() if listener in one.listeners), "")

    def _protocol_of(self, listener: str) -> str:
        balancer = self._backend.load_balancers.get(self._balancer_of(listener))
        return str(balancer.listeners[listener].protocol) if balancer else ""
