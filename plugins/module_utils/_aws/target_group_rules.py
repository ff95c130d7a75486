# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What AWS refuses in a target group, found beforehand. Source: the ELBv2 API reference, CreateTargetGroup and
TargetGroupAttribute."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

WEB = ("HTTP", "HTTPS")
NETWORK = ("TCP", "TLS", "UDP", "TCP_UDP")
RANGES = {
    "interval": (5, 300),
    "timeout": (2, 120),
    "healthy_threshold": (2, 10),
    "unhealthy_threshold": (2, 10),
}
DEFAULT_INTERVAL = 30
FOR_WEB = (
    "slow_start.",
    "load_balancing.algorithm.",
    "stickiness.lb_cookie.",
    "stickiness.app_cookie.",
)
FOR_NETWORK = (
    "preserve_client_ip.",
    "proxy_protocol_v2.",
    "deregistration_delay.connection_termination.",
    "target_health_state.",
)
STICKINESS = {"web": ("lb_cookie", "app_cookie"), "network": ("source_ip",)}


def check_protocol(protocol: str, health: Mapping[str, Any]) -> str:
    """The protocol of the health checks: the declared one, or AWS's default."""
    return str(health.get("protocol") or ("HTTP" if protocol in WEB else "TCP"))


def problems(
    protocol: str, declared: Mapping[str, Any], found: Mapping[str, Any], attributes: Mapping[str, str]
) -> Iterator[str]:
    """The refusals, each with its remedy. `declared` and `found` are health checks by the names of our options."""
    yield from _of_health_checks(protocol, declared, {**found, **declared})
    yield from _of_attributes(protocol, attributes)


def _of_health_checks(protocol: str, declared: Mapping[str, Any], health: Mapping[str, Any]) -> Iterator[str]:
    check = check_protocol(protocol, health)
    if check == "TCP" and protocol in WEB:
        yield (
            f"health_check protocol TCP is for target groups of TCP, TLS, UDP and TCP_UDP, and this one is {protocol}; "
            "set HTTP or HTTPS"
        )
    for key in ("path", "matcher"):
        if key in declared and check == "TCP":
            yield f"TCP health checks have no {key}; remove it from health_check, or set protocol: HTTP there"
    for key, (least, most) in RANGES.items():
        if key in declared and not least <= declared[key] <= most:
            yield f"health_check {key} {declared[key]} is not between {least} and {most}"
    timeout, interval = health.get("timeout", 0), health.get("interval", DEFAULT_INTERVAL)
    # Equal is taken for network protocols alone.
    if {"timeout", "interval"} & set(declared) and (timeout > interval or (protocol in WEB and timeout == interval)):
        yield f"health_check timeout {timeout} is not less than the interval {interval}"


def _of_attributes(protocol: str, attributes: Mapping[str, str]) -> Iterator[str]:
    side, others = ("web", FOR_NETWORK) if protocol in WEB else ("network", FOR_WEB)
    balancer = "Network" if side == "web" else "Application"
    for key in sorted(attributes):
        if key.startswith(others):
            yield f"the attribute {key} is for target groups of {balancer} Load Balancers; remove it"
    kind = attributes.get("stickiness.type")
    if kind and kind not in STICKINESS[side]:
        yield (
            f"stickiness.type {kind} is not supported with the protocol {protocol}; set {' or '.join(STICKINESS[side])}"
        )
    if protocol == "TLS" and attributes.get("stickiness.enabled") == "true":
        yield "stickiness is not supported with the protocol TLS; set stickiness.enabled: false"
    if protocol in ("UDP", "TCP_UDP") and attributes.get("preserve_client_ip.enabled") == "false":
        yield f"preserve_client_ip.enabled can't be false with the protocol {protocol}; remove it"
