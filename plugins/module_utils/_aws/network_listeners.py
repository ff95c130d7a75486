# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The declared listeners of a Network Load Balancer, each on a port with a target group of its own.

A listener that is created gets the tag OWNER. One that is no longer declared is deleted only if it has this tag.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .._common.progress import OperationError
from .api import Api, RefusedError
from .listeners import Listener, forward_to, forwards, groups, picture
from .pairs import as_dict
from .protocols import incompatibility

OWNER = "evenkeel:load_balancer"
# The most that DescribeTags and DescribeTargetGroups take.
MOST = 20


@dataclass(frozen=True)
class NetworkListener:
    """A TLS listener has a certificate; others have none."""

    port: int
    protocol: str
    target_group_arn: str
    certificate_arn: str
    ssl_policy: str


def refuse_declaration(name: str, declared: Sequence[NetworkListener]) -> None:
    """Refuse what AWS would refuse, without asking it."""
    ports = [listener.port for listener in declared]
    twice = sorted({port for port in ports if ports.count(port) > 1})
    if twice:
        raise OperationError(
            f"Nothing was changed: the load balancer {name} has two listeners on port {twice[0]}. For TCP and UDP on "
            "one port declare one listener with protocol: TCP_UDP."
        )
    for listener in declared:
        if not 1 <= listener.port <= 65535:
            raise OperationError(
                f"Nothing was changed: the listener port {listener.port} of {name} is not between 1 and 65535."
            )
        if (listener.protocol == "TLS") != bool(listener.certificate_arn):
            remedy = (
                "Set certificate_arn" if listener.protocol == "TLS" else "Remove certificate_arn, or set protocol: TLS"
            )
            raise OperationError(
                f"Nothing was changed: a TLS listener needs a certificate, and others have none; the listener on port "
                f"{listener.port} of {name} is {listener.protocol}. {remedy}."
            )


def of_declaration(
    elb: Api, name: str, listeners: Sequence[Listener], declared: Iterable[NetworkListener]
) -> dict[int, Listener]:
    """By port, the listeners that the declaration is about: on its ports, and those that this module created."""
    ports = {listener.port for listener in declared}
    others = [listener for listener in listeners if listener["Port"] not in ports]
    ours = owned(elb, name, others)
    return {
        listener["Port"]: listener
        for listener in listeners
        if listener["Port"] in ports or listener["ListenerArn"] in ours
    }


def owned(elb: Api, name: str, listeners: Sequence[Listener]) -> set[str]:
    """The ARNs of the listeners that this module created for the load balancer of that name."""
    arns = [listener["ListenerArn"] for listener in listeners]
    found = set()
    for start in range(0, len(arns), MOST):
        said = elb.call("DescribeTags", f"the listeners of {name}", ResourceArns=arns[start : start + MOST])
        found |= {
            described["ResourceArn"]
            for described in said["TagDescriptions"]
            if as_dict(described["Tags"]).get(OWNER) == name
        }
    return found


def wanted_listeners(
    declared: Iterable[NetworkListener], there: Mapping[int, Listener], keep_forward: bool
) -> dict[int, Listener]:
    """By port, in the shape of the API."""
    return {listener.port: _wanted(listener, there.get(listener.port), keep_forward) for listener in declared}


def _wanted(declared: NetworkListener, there: Listener | None, keep_forward: bool) -> Listener:
    kept = forwards(there) if there and keep_forward else []
    tls = {"SslPolicy": declared.ssl_policy, "Certificates": [{"CertificateArn": declared.certificate_arn}]}
    return {
        "Protocol": declared.protocol,
        **(tls if declared.protocol == "TLS" else {}),
        "DefaultActions": [kept[0] if kept else forward_to(declared.target_group_arn)],
    }


def refuse_target_groups(
    elb: Api, name: str, arn: str, there: Mapping[int, Listener], wanted: Mapping[int, Listener]
) -> None:
    """Refuse a listener that AWS would not create or modify because of its target groups.

    `arn` is that of the load balancer; empty if there is none yet.
    """
    changing = {
        port: listener
        for port, listener in wanted.items()
        if port not in there or picture(there[port]) != picture(listener)
    }
    arns = {
        group["TargetGroupArn"] for listener in changing.values() for group in groups(listener["DefaultActions"][0])
    }
    # In check mode, the group of a task before may not exist yet.
    known = _described(elb, sorted(one for one in arns if one.startswith("arn:")))
    for port, listener in sorted(changing.items()):
        for group in groups(listener["DefaultActions"][0]):
            if group["TargetGroupArn"] in known:
                _refuse(name, arn, listener["Protocol"], port, known[group["TargetGroupArn"]])


def _refuse(name: str, arn: str, protocol: str, port: int, group: Mapping[str, Any]) -> None:
    why = incompatibility(protocol, port, group)
    if why:
        raise OperationError(f"Nothing was changed in the load balancer {name}: {why}")
    users = sorted(user.split("/")[-2] for user in group.get("LoadBalancerArns", []) if user != arn)
    if users:
        raise OperationError(
            f"Nothing was changed in the load balancer {name}: the target group {group['TargetGroupName']} of the "
            f"listener on port {port} is used by the load balancer {users[0]}, and AWS takes one load balancer for "
            "each target group. Create a target group with another name."
        )


def _described(elb: Api, arns: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    found: dict[str, Mapping[str, Any]] = {}
    for start in range(0, len(arns), MOST):
        some = arns[start : start + MOST]
        try:
            said = elb.call("DescribeTargetGroups", ", ".join(some), TargetGroupArns=some)
        except RefusedError as error:
            if not error.code.startswith("TargetGroupNotFound"):
                raise
            raise OperationError(
                f"Nothing was changed: one of these target groups does not exist in {elb.region}: {', '.join(some)}. "
                "Create it first, or check its ARN."
            ) from None
        found |= {group["TargetGroupArn"]: group for group in said["TargetGroups"]}
    return found
