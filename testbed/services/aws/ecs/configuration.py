# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A load balancer of moto as the configuration of an HAProxy.

Weights are no part of the configuration's text: they are in a map, which HAProxy's runtime API changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

SLOTS = 60  # servers of a group
RUNTIME_PORT, MASTER_PORT = 9999, 9998
FOLDER = "/etc/haproxy"
MAP = f"{FOLDER}/weights.map"
WHOLE = 1_000_000
NETWORK_IDLE = 350  # seconds, of a Network Load Balancer
HEAD = f"""\
global
    maxconn 4096
    log stdout format raw local0 notice
    stats socket ipv4@*:{RUNTIME_PORT} level admin expose-fd listeners
    nbthread 1
    hard-stop-after 600s
defaults
    log global
    timeout connect 2s
    # A load balancer of AWS does not try another target either: a refused connection is a lost request.
    retries 0
"""
NONE = "frontend none\n    mode tcp\n    bind 127.0.0.1:9997\n    timeout client 1s\n"
# Frontend, backend, server, status, seconds until the target's response headers; -1 where the target sent none.
LOG = '    log {} format raw local0\n    log-format "request %f %b %s %ST %Tr"\n'


@dataclass(frozen=True)
class Checks:
    """Of a target group, in seconds. port: empty for each target's own."""

    path: str
    protocol: str
    matcher: str
    port: str
    interval: float
    timeout: float
    rise: int
    fall: int

    @classmethod
    def of(cls, group: Any, second: float) -> Checks:
        port = str(group.health_check_port or "")
        return cls(
            group.health_check_path or "/",
            str(group.health_check_protocol),
            str((getattr(group, "matcher", None) or {}).get("HttpCode") or "200"),
            port if port.isdecimal() else "",
            int(group.health_check_interval_seconds) * second,
            float(group.health_check_timeout_seconds),
            int(group.healthy_threshold_count),
            int(group.unhealthy_threshold_count),
        )


@dataclass(frozen=True)
class Server:
    """A target that is healthy, so that it gets traffic before its first check."""

    address: str
    port: int


@dataclass(frozen=True)
class Configuration:
    """frontends: HAProxy's text. backends: by group, without their servers. weights: the map's values by its keys."""

    frontends: str = ""
    backends: Mapping[str, str] = field(default_factory=dict)
    weights: Mapping[str, int] = field(default_factory=dict)

    def same_text(self, other: Configuration) -> bool:
        return self.frontends == other.frontends and self.backends == other.backends

    def text(self, servers: Mapping[str, Mapping[int, Server]]) -> str:
        """servers: by group and slot."""
        backends = [head + _servers(servers.get(name, {})) for name, head in self.backends.items()]
        return "".join([HEAD, self.frontends or NONE, *backends])

    def map(self) -> str:
        return "".join(f"{key} {value}\n" for key, value in self.weights.items())


def configuration(balancer: Any, groups: Mapping[str, Any], second: float, log: str) -> Configuration:
    """Of a load balancer. groups: moto's target groups by ARN. log: where requests are told, as address:port."""
    frontends, backends, weights = [], {}, {}
    network = balancer.type == "network"
    mode = "tcp" if network else "http"
    idle = NETWORK_IDLE if network else int(balancer.attrs.get("idle_timeout.timeout_seconds", 60))
    timeouts = f"    mode {mode}\n    timeout client {idle}s\n"
    for listener in list(balancer.listeners.values()):
        name = f"{balancer.name}-{listener.port}"
        shares = {
            groups[arn].name: share for arn, share in forwarded(listener.default_actions).items() if arn in groups
        }
        rules = "    option forwardfor\n" + LOG.format(log) if mode == "http" else ""
        verb = "http-request" if mode == "http" else "tcp-request content"
        rules += f"    {verb} set-var(txn.drawn) rand({WHOLE})\n"
        for number, (group, limit) in enumerate(limits(shares).items()):
            key = f"{name}/{group}"
            weights[key] = limit
            rules += (
                f"    {verb} set-var(txn.limit{number}) str({key}),map_str_int({MAP},0)\n"
                f"    use_backend {group} if {{ var(txn.drawn),sub(txn.limit{number}) -m int lt 0 }}\n"
            )
        frontends.append(f"frontend {name}\n    bind :{listener.port}\n{timeouts}{_ordered(rules)}")
        for arn in forwarded(listener.default_actions):
            if arn in groups:
                group = groups[arn]
                backends[group.name] = _backend(group.name, mode, idle, Checks.of(group, second))
    return Configuration("".join(frontends), backends, weights)


def forwarded(actions: Iterable[Any]) -> dict[str, int]:
    """The weights of a listener's target groups, by ARN. A group with the weight 0 is one of them."""
    weights: dict[str, int] = {}
    for action in actions:
        if action.type != "forward":
            continue
        groups = action.data.get("ForwardConfig", {}).get("TargetGroups", [])
        for group in groups or [{"TargetGroupArn": action.data.get("TargetGroupArn")}]:
            if group["TargetGroupArn"]:
                weights[group["TargetGroupArn"]] = int(group.get("Weight", 1))
    return weights


def limits(weights: Mapping[str, int]) -> dict[str, int]:
    """Below which drawn number of WHOLE each group gets the request, if none before it does."""
    total = sum(weights.values())
    found, sofar = {}, 0
    for name, weight in weights.items():
        sofar += weight
        found[name] = sofar * WHOLE // total if total else 0
    return found


def _ordered(rules: str) -> str:
    """HAProxy warns of a use_backend before a rule that it evaluates earlier."""
    lines = rules.splitlines(keepends=True)
    return "".join(sorted(lines, key=lambda line: line.startswith("    use_backend")))


def _backend(name: str, mode: str, idle: int, checks: Checks) -> str:
    asks = ""
    if checks.protocol.startswith("HTTP"):
        asks = f"    option httpchk GET {checks.path}\n    http-check expect status {checks.matcher}\n"
    server = f"check inter {max(1, int(checks.interval * 1000))}ms rise {checks.rise} fall {checks.fall}"
    if checks.port:
        server += f" port {checks.port}"
    if checks.protocol == "HTTPS":
        server += " check-ssl verify none"
    return (
        f"backend {name}\n    mode {mode}\n    balance roundrobin\n    timeout server {idle}s\n"
        f"    timeout check {int(checks.timeout * 1000)}ms\n{asks}    default-server {server}\n"
    )


def _servers(taken: Mapping[int, Server]) -> str:
    """All slots: those that are taken, and those between them."""
    lines = []
    ends = [0, *sorted(taken), SLOTS + 1]
    for before, number in zip(ends, ends[1:]):
        if number - before > 1:
            lines.append(f"    server-template target {before + 1}-{number - 1} 192.0.2.1:1 disabled\n")
        if number in taken:
            server = taken[number]
            lines.append(f"    server target{number} {server.address}:{server.port}\n")
    return "".join(lines)
