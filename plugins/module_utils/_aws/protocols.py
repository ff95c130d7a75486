# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which protocols a target group may have behind a listener."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Elastic Load Balancing, Network Load Balancers: target groups for your Network Load Balancers, Routing configuration.
BEHIND = {
    "HTTP": ("HTTP", "HTTPS"),
    "HTTPS": ("HTTP", "HTTPS"),
    "TCP": ("TCP", "TCP_UDP"),
    "TLS": ("TCP", "TLS"),
    "UDP": ("UDP", "TCP_UDP"),
    "TCP_UDP": ("TCP_UDP",),
}


def incompatibility(protocol: str, port: int, group: Mapping[str, Any]) -> str:
    """Why AWS refuses the target group behind a listener with IncompatibleProtocols; empty where it doesn't.

    `group` is as the API describes it.
    """
    fitting = BEHIND.get(protocol)
    if fitting is None or group["Protocol"] in fitting:
        return ""
    words = (
        f"the target group {group['TargetGroupName']} has the protocol {group['Protocol']}, and AWS takes "
        f"{' or '.join(fitting)} behind the {protocol} listener on port {port} (IncompatibleProtocols). "
    )
    if group["Protocol"] in ("HTTP", "HTTPS"):
        return words + (
            f"Create a target group with another name, protocol: {fitting[0]}, and in its health_check protocol: "
            f"{group['Protocol']}, which keeps the HTTP health checks."
        )
    return words + f"Create a target group with another name and protocol: {fitting[0]}, or change the listener's."
