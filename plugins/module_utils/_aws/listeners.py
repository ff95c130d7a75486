# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Listeners of a load balancer: what is compared, and how they are changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .api import Api

Listener = Mapping[str, Any]


def forward_to(target_group_arn: str) -> dict[str, Any]:
    """The action that forwards to one target group."""
    return {
        "Type": "forward",
        "ForwardConfig": {"TargetGroups": [{"TargetGroupArn": target_group_arn, "Weight": 1}]},
    }


def forwards(listener: Listener) -> list[dict[str, Any]]:
    """The default actions that forward to target groups."""
    return [action for action in listener["DefaultActions"] if groups(action)]


def groups(action: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Of an action that forwards, its target groups with their weights; AWS has two notations for a single group."""
    if action.get("Type") != "forward":
        return []
    lone = [{"TargetGroupArn": action["TargetGroupArn"]}] if action.get("TargetGroupArn") else []
    found = action.get("ForwardConfig", {}).get("TargetGroups") or lone
    weighed = [{"TargetGroupArn": group["TargetGroupArn"], "Weight": group.get("Weight", 1)} for group in found]
    return sorted(weighed, key=lambda group: str(group["TargetGroupArn"]))


def picture(listener: Listener) -> dict[str, Any]:
    """The settings of a listener that are compared."""
    actions = [
        groups(action) or action.get("RedirectConfig") or action["Type"] for action in listener["DefaultActions"]
    ]
    settings = {"protocol": listener["Protocol"], "actions": actions}
    if listener["Protocol"] in ("HTTPS", "TLS"):
        settings["certificates"] = [pair["CertificateArn"] for pair in listener["Certificates"]]
        settings["ssl_policy"] = listener["SslPolicy"]
    return settings


def change_listeners(
    elb: Api,
    arn: str,
    there: Mapping[int, Listener],
    wanted: Mapping[int, Listener],
    about: str,
    tags: Sequence[Mapping[str, str]] = (),
) -> None:
    """Create, modify and delete what differs, by port. `tags` are those of a listener that is created."""
    more = {"Tags": list(tags)} if tags else {}
    # HTTPS exists before HTTP redirects to it, and HTTP serves before HTTPS is removed.
    for port in sorted(wanted, reverse=True):
        if port not in there:
            elb.call("CreateListener", about, LoadBalancerArn=arn, Port=port, **wanted[port], **more)
        elif picture(there[port]) != picture(wanted[port]):
            elb.call("ModifyListener", about, ListenerArn=there[port]["ListenerArn"], **wanted[port])
    for port in there:
        if port not in wanted:
            elb.call("DeleteListener", about, ListenerArn=there[port]["ListenerArn"])
