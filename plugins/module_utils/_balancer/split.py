# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a load balancer splits its requests between the sides of a fleet, such as blue and green."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from .._aws.api import Api as AwsApi
from .._aws.protocols import incompatibility
from .._common.progress import OperationError, Progress
from .haproxy import Proxy, Server
from .target_groups import TargetGroup, TargetGroupsApi

LONGEST_PAUSE = 5.0
LARGEST_WEIGHT = 100

Weights = Mapping[str, int]


@dataclass(frozen=True)
class Side:
    """One side in the load balancer: its weight, its healthy targets, and why the others are unhealthy."""

    weight: int
    healthy: tuple[str, ...]
    unhealthy: tuple[str, ...]

    def healthy_enough(self, min_healthy: int | None) -> bool:
        return bool(self.healthy) and not self.unhealthy if min_healthy is None else len(self.healthy) >= min_healthy

    @property
    def words(self) -> str:
        return "; ".join(self.unhealthy) or (
            "no target is registered" if not self.healthy else "all targets are healthy"
        )


class Balancer(Protocol):
    def read(self) -> dict[str, Side]:
        """The sides as they are now; raises OperationError if a part does not answer or if parts differ."""

    def start_health_checks(self) -> None:
        """Start health checks of all sides' targets, also of a side without weight. No traffic is switched."""

    def set_weights(self, weights: Weights) -> None:
        """Set these weights at once; restore the previous weights if that fails partially."""


@dataclass
class SwitchReport(Progress):
    """The result of a call; before and after are the sides at its begin and at its end."""

    changed: bool = False
    before: dict[str, Side] = field(default_factory=dict)
    after: dict[str, Side] = field(default_factory=dict)
    expected: dict[str, int] = field(default_factory=dict)

    def result(self) -> dict[str, Any]:
        weights = {name: side.weight for name, side in self.after.items()}
        return {
            "changed": self.changed,
            "weights": weights,
            "healthy": {name: len(side.healthy) for name, side in self.after.items()},
            "progress": self.progress,
            "seconds": round(self.seconds, 3),
            "diff": {
                "before": {name: side.weight for name, side in self.before.items()},
                "after": {**weights, **self.expected},
            },
        }


def split(
    balancer: Balancer,
    weights: Weights,
    report: SwitchReport,
    *,
    timeout: float,
    check_mode: bool,
    min_healthy: int | None = None,
) -> None:
    """Set these weights; without weights, only read the sides.

    A side gets a larger weight only when all its targets, or min_healthy of them, are healthy. Waits for that.
    """
    report.timeout = timeout
    report.before = report.after = balancer.read()
    wanted = {**{name: side.weight for name, side in report.before.items()}, **weights}
    _refuse(weights, wanted, report.before)
    if all(report.before[name].weight == weight for name, weight in wanted.items()):
        return
    report.changed = True
    if check_mode:
        report.expected = wanted
        return
    growing = [name for name, weight in wanted.items() if weight > report.before[name].weight]
    balancer.start_health_checks()

    def healthy() -> bool:
        report.after = balancer.read()
        for name in growing:
            report.note(f"{name}: {report.after[name].words}")
        return all(report.after[name].healthy_enough(min_healthy) for name in growing)

    if not report.wait(healthy, LONGEST_PAUSE):
        report.changed = False
        late = [
            f"{name}: {report.after[name].words}"
            for name in growing
            if not report.after[name].healthy_enough(min_healthy)
        ]
        raise OperationError(
            f"Traffic was not switched: not enough targets are healthy after {timeout:g} s. {' '.join(late)}."
        )
    balancer.set_weights(wanted)
    report.after = balancer.read()
    report.note(", ".join(f"{name} {side.weight}" for name, side in report.after.items()))
    now = {name: side.weight for name, side in report.after.items()}
    if now != wanted:
        raise OperationError(f"The weights were changed by another process meanwhile: expected {wanted}, found {now}.")


def _refuse(given: Weights, wanted: Weights, sides: Mapping[str, Side]) -> None:
    unknown = sorted(set(given) - set(sides))
    if unknown:
        raise OperationError(f"weights: {unknown[0]} is not a side. The sides are {', '.join(sorted(sides))}.")
    wrong = [name for name, weight in given.items() if not 0 <= weight <= LARGEST_WEIGHT]
    if wrong:
        raise OperationError(f"weights: {wrong[0]} has the weight {given[wrong[0]]}, which is not between 0 and 100.")
    if given and not any(wanted.values()):
        raise OperationError("weights: all sides would have the weight 0, and no request would be served.")


class Listeners:
    """Listeners of an ALB or NLB that forward to a target group for each side."""

    def __init__(self, client: Any, listeners: Sequence[str], sides: Mapping[str, Sequence[str]]) -> None:
        self._aws = AwsApi(client)
        self._api = TargetGroupsApi(client)
        self._listeners = listeners
        self._names = sides
        self._known: dict[str, TargetGroup] = {}

    def read(self) -> dict[str, Side]:
        told = {arn: self._weights(arn, self._actions(arn)) for arn in self._listeners}
        first = next(iter(told.values()))
        if any(weights != first for weights in told.values()):
            names = {group.arn: name for name, group in self._groups.items()}
            shares = [
                f"{arn}: {', '.join(f'{names[group]} {weight}' for group, weight in weights.items())}"
                for arn, weights in told.items()
            ]
            raise OperationError(
                f"The listeners have different weights: {'; '.join(shares)}. Give them the same weights first."
            )
        return {name: self._side(name, first.get(group.arn, 0)) for name, group in self._groups.items()}

    def start_health_checks(self) -> None:
        for arn in self._listeners:
            actions = self._actions(arn)
            weights = self._weights(arn, actions)
            if set(weights) != {group.arn for group in self._groups.values()}:
                self._modify(arn, actions, weights)

    def set_weights(self, weights: Weights) -> None:
        wanted = {group.arn: weights[name] for name, group in self._groups.items()}
        # All are read before any change.
        asked = {arn: self._actions(arn) for arn in self._listeners}
        for arn, actions in asked.items():
            self._weights(arn, actions)  # Refuses target groups that belong to no side.
        told: dict[str, list[dict[str, Any]]] = {}
        for arn, actions in asked.items():
            told[arn] = actions
            try:
                self._modify(arn, actions, wanted)
            except OperationError as error:
                raise OperationError(f"{error}{self._put_back(told)}") from error

    def _put_back(self, told: Mapping[str, list[dict[str, Any]]]) -> str:
        try:
            for arn, actions in told.items():
                self._modify(arn, actions, self._weights(arn, actions))
        except OperationError as error:
            return f" Not all listeners have their previous weights again: {error}"
        return " All listeners have their previous weights again."

    @property
    def _groups(self) -> dict[str, TargetGroup]:
        for name, groups in self._names.items():
            if len(groups) != 1:
                raise OperationError(f"sides: {name} has {len(groups)} target groups; a side has one.")
            if name not in self._known:
                self._known[name] = self._api.group(groups[0])
        return self._known

    def _side(self, name: str, weight: int) -> Side:
        entries = [entry for entry in self._api.health(self._groups[name]) if entry.registered]
        sick = [f"{entry.name} is {entry.standing}" + (f" ({entry.why})" if entry.why else "") for entry in entries]
        return Side(
            weight,
            tuple(entry.name for entry in entries if entry.state == "healthy"),
            tuple(words for words, entry in zip(sick, entries) if entry.state != "healthy"),
        )

    def _actions(self, arn: str) -> list[dict[str, Any]]:
        about = f"the listener {arn}"
        found = self._aws.call("DescribeListeners", about, ListenerArns=[arn])["Listeners"]
        for listener in found:
            self._refuse_protocols(listener)
        actions: list[dict[str, Any]] = found[0]["DefaultActions"] if found else []
        if not actions or actions[-1]["Type"] != "forward":
            raise OperationError(
                f"The default action of the listener {arn} forwards to no target group. Set a listener whose default "
                "action does."
            )
        return actions

    def _refuse_protocols(self, listener: Mapping[str, Any]) -> None:
        for group in self._groups.values():
            described = {"TargetGroupName": group.name, "Protocol": group.protocol}
            why = incompatibility(listener["Protocol"], listener["Port"], described)
            if why:
                raise OperationError(f"Traffic was not switched: {why}")

    def _weights(self, arn: str, actions: Sequence[Mapping[str, Any]]) -> dict[str, int]:
        """By target group."""
        forward = actions[-1]
        listed = forward.get("ForwardConfig", {}).get("TargetGroups") or [forward]
        weights = {group["TargetGroupArn"]: int(group.get("Weight", 1)) for group in listed}
        if len(listed) == 1:  # Its weight has no effect.
            weights = dict.fromkeys(weights, LARGEST_WEIGHT)
        strangers = sorted(set(weights) - {group.arn for group in self._groups.values()})
        if strangers:
            raise OperationError(f"The listener {arn} forwards to {strangers[0]}, which is no target group of a side.")
        return weights

    def _modify(self, arn: str, actions: Sequence[dict[str, Any]], weights: Mapping[str, int]) -> None:
        *before, forward = actions
        sticky = forward.get("ForwardConfig", {}).get("TargetGroupStickinessConfig")
        everyone = {group.arn: 0 for group in self._groups.values()}
        groups = [{"TargetGroupArn": group, "Weight": w} for group, w in {**everyone, **weights}.items()]
        config = {"TargetGroups": groups, **({"TargetGroupStickinessConfig": sticky} if sticky else {})}
        action = {key: forward[key] for key in ("Type", "Order") if key in forward}
        self._aws.call(
            "ModifyListener",
            f"the listener {arn}",
            ListenerArn=arn,
            DefaultActions=[*before, {**action, "ForwardConfig": config}],
        )


class Proxies:
    """Servers of HAProxy backends. A side's weight is that of each of its servers, in percent of its own."""

    def __init__(self, addresses: Sequence[str], backends: Sequence[str], sides: Mapping[str, Sequence[str]]) -> None:
        self._proxies = list(dict.fromkeys(Proxy(address) for address in addresses))
        self._backends = backends
        self._sides = sides

    def read(self) -> dict[str, Side]:
        servers = {proxy: self._servers(proxy) for proxy in self._proxies}
        return {name: self._side(names, servers) for name, names in self._sides.items()}

    def start_health_checks(self) -> None:
        """HAProxy checks all servers, whatever their weight is."""

    def set_weights(self, weights: Weights) -> None:
        told: list[tuple[Proxy, list[Server]]] = []
        for proxy in self._proxies:
            servers = self._servers(proxy)
            # The side whose weight grows comes first, so that each request has a server.
            growing = sorted(self._sides, key=lambda name: -weights[name])
            orders = [
                f"set weight {server.backend}/{server.name} {_share(server, weights[name])}"
                for name in growing
                for server in servers
                if server.name in self._sides[name]
            ]
            told.append((proxy, servers))
            try:
                proxy.execute(*orders)
            except OperationError as error:
                raise OperationError(f"{error}{self._put_back(told)}") from error

    def _put_back(self, told: Sequence[tuple[Proxy, Sequence[Server]]]) -> str:
        words = ""
        for proxy, servers in told:
            try:
                proxy.execute(*(f"set weight {server.backend}/{server.name} {server.weight}" for server in servers))
            except OperationError:
                words += f" The weights at {proxy.address} may have changed."
        return words or " All servers have their previous weights again."

    def _servers(self, proxy: Proxy) -> list[Server]:
        """Both sides' servers in the named backends, or in all backends that have one."""
        listed = proxy.servers()
        wanted = {server for names in self._sides.values() for server in names}
        found = [
            server
            for server in listed
            if server.name in wanted and (not self._backends or server.backend in self._backends)
        ]
        for backend in self._backends or sorted({server.backend for server in found}) or [""]:
            missing = sorted(wanted - {server.name for server in found if server.backend == backend})
            if missing:
                where = f"the backend {backend} of HAProxy" if backend else "HAProxy"
                raise OperationError(f"{where} at {proxy.address} has no server {missing[0]}.")
        return found

    @staticmethod
    def _side(names: Sequence[str], servers: Mapping[Proxy, Sequence[Server]]) -> Side:
        healthy, sick, weights = [], [], [0]
        for proxy, listed in servers.items():
            for server in (server for server in listed if server.name in names):
                weights.append(round(100 * server.weight / max(1, server.configured_weight)))
                if server.up:
                    healthy.append(f"{server.backend}/{server.name}")
                else:
                    about = f" ({server.last_check})" if server.last_check else ""
                    sick.append(f"{server.backend}/{server.name} is {server.status} at {proxy.address}{about}")
        return Side(max(weights), tuple(dict.fromkeys(healthy)), tuple(sick))


def _share(server: Server, percent: int) -> int:
    weight, rest = divmod(server.configured_weight * percent, 100)
    if rest:
        raise OperationError(
            f"{server.backend}/{server.name} has the weight {server.configured_weight} in HAProxy's configuration, and "
            f"{percent} % of it is no whole number. Traffic was not switched. Give the servers a weight of 100."
        )
    return weight
