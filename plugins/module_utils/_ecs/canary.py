# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a cutover moves the connections of services in steps, by the weights of listeners. Imports without Ansible."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from .cutover import CutoverState, Service, moved
from .shorthand import group_name, legacy_group, listener_port

WHOLE = 100
TARGETS = ("legacy", "group", "legacy_group", "port", "listener")


@dataclass(frozen=True)
class Split:
    """The listener of a service, which forwards to its own target group and to that of its legacy service.

    share: the percentage of new connections that the service gets. moved: whether its clients use the listener.
    forwarded: whether the listener has the legacy target group, which exists if `prepared`. port: of the legacy
    containers, as it is declared, or 0.
    """

    name: str
    legacy: str
    port: int
    group: str
    legacy_group: str
    listener: str
    share: int
    moved: bool
    forwarded: bool
    prepared: bool

    def result(self) -> dict[str, Any]:
        """`targets` has the options of ecs_legacy_targets."""
        found = asdict(self)
        return {**found, "targets": {name: found[name] for name in TARGETS}}


@dataclass(frozen=True)
class WeightStep:
    """Services whose share becomes `weight` together. watched: whether requests are compared before the next step."""

    weight: int
    services: Sequence[Split]
    watched: bool

    def result(self) -> dict[str, Any]:
        return {"weight": self.weight, "services": [one.result() for one in self.services], "watched": self.watched}


def weight_problems(weights: Sequence[Any], batch: Any, *, fleet: bool = False) -> list[str]:
    """What is wrong with ecs_cutover_weights and ecs_cutover_batch. fleet: whether gateways on EC2 are the clients."""
    found = []
    if weights and fleet:
        found.append(
            "ecs_cutover_weights is set, and ecs_cutover_upstreams, too: gateways on EC2 get the URLs by a rollout, "
            "batch by batch, and no weights: remove ecs_cutover_weights"
        )
    numbers = [int(one) if str(one).isdecimal() else 0 for one in weights]
    if any(not 0 < one < WHOLE for one in numbers) or numbers != sorted(set(numbers)):
        given = ", ".join(str(one) for one in weights)
        found.append(f"ecs_cutover_weights has {given}: list ascending percentages from 1 to 99, such as [10, 50]")
    if not str(batch).isdecimal():
        found.append(f"ecs_cutover_batch is {batch}: set a number of services, or 0 for all at once")
    return found


def plan(
    ours: Sequence[Service],
    unfinished: Sequence[Service],
    found: CutoverState,
    running: Mapping[str, str],
    prefix: str,
    weights: Sequence[int],
    batch: int,
    *,
    fleet: bool = False,
) -> dict[str, Any]:
    """What a cutover does with the weights of listeners. `ours` are all chosen services, `running` the client's URLs.

    Without `weights`, only what a run before this one left is brought to its end. For a fleet, it must have ended.
    """
    given = splits(unfinished, found, running, prefix)
    some = [one for one in given if one.forwarded or (weights and not (one.moved and one.share == WHOLE))]
    asked = [one for one in unfinished if prefix + str(one["name"]) in [split.name for split in some]]
    there = [one for one in splits(ours, found, running, prefix) if one.prepared]
    return {
        "problems": split_problems(asked, found, prefix) if weights else _left_problems(given) if fleet else [],
        "services": [one.result() for one in some],
        "new": [one.result() for one in some if weights and not one.moved],
        "unused": [one.result() for one in some if one.forwarded and not one.moved and one.share < WHOLE],
        "steps": [one.result() for one in steps([one for one in some if weights or one.moved], weights, batch)],
        "there": [one.result() for one in {one.name: one for one in (*some, *there)}.values()],
    }


def splits(services: Sequence[Service], found: CutoverState, running: Mapping[str, str], prefix: str) -> list[Split]:
    """Of services with a listener, as they are now."""
    return [_split(one, found, running, prefix) for one in services if str(listener_port(one)) in found.listeners]


def split_problems(services: Sequence[Service], found: CutoverState, prefix: str) -> list[str]:
    """Why the weights of these services can't be set."""
    problems = []
    for one in services:
        name, legacy = prefix + str(one["name"]), str(one["legacy"]["service"])
        ours = {_arn(found, group) for group in _groups(one, prefix)}
        port = str(listener_port(one))
        others = sorted(set(found.forwards.get(port, {})) - ours)
        if others:
            problems.append(
                f"{name}: the listener {port} forwards to {others[0]}, which is not its target group: run ecs.yml "
                "--tags load_balancer, or remove it from the listener"
            )
        if (found.services.get(legacy) or {}).get("exists") and not found.services[legacy]["running"]:
            problems.append(
                f"{name}: its legacy service {legacy} has no running tasks, so it can't get a share of the "
                "connections: go back first with -e ecs_cutover_back=true, or leave out ecs_cutover_weights"
            )
    return problems


def _left_problems(given: Sequence[Split]) -> list[str]:
    return [
        f"{one.name}: a canary has not ended, and the listener still forwards to {one.legacy_group}: run the cutover "
        "of its gateway on Amazon ECS again, or go back there, and then move the gateways on EC2"
        for one in given
        if one.forwarded
    ]


def steps(given: Sequence[Split], weights: Sequence[int], batch: int) -> list[WeightStep]:
    """What is left to do: batch by batch, each weight that its services have not passed, and 100.

    A service that no client uses starts from 0. After the last step, the requests are compared anyway.
    """
    left = [one for one in given if start_of(one) < WHOLE]
    size = batch or max(1, len(left))
    found = []
    for first in range(0, len(left), size):
        some = left[first : first + size]
        least = min(start_of(one) for one in some)
        found += [WeightStep(weight, some, True) for weight in (*weights, WHOLE) if weight >= least]
    return [*found[:-1], replace(found[-1], watched=False)] if found else []


def start_of(one: Split) -> int:
    return one.share if one.moved else 0


def _split(one: Service, found: CutoverState, running: Mapping[str, str], prefix: str) -> Split:
    group, beside = _groups(one, prefix)
    port = str(listener_port(one))
    legacy = one.get("legacy") or {}
    return Split(
        name=prefix + str(one["name"]),
        legacy=str(legacy.get("service") or ""),
        port=int(legacy.get("port") or 0),
        group=group,
        legacy_group=beside,
        listener=found.listeners[port],
        share=_share(found.forwards.get(port, {}), _arn(found, group)),
        moved=bool(moved([one], running, found.dns_name)),
        forwarded=bool(_arn(found, beside)) and _arn(found, beside) in found.forwards.get(port, {}),
        prepared=beside in found.groups,
    )


def _share(weights: Mapping[str, int], arn: str) -> int:
    """In percent. A group that is alone gets everything, whatever its weight is."""
    if set(weights) <= {arn}:
        return WHOLE
    total = sum(weights.values())
    return WHOLE * weights.get(arn, 0) // total if total else 0


def _groups(one: Service, prefix: str) -> tuple[str, str]:
    group = group_name(one, prefix)
    return group, legacy_group(group)


def _arn(found: CutoverState, group: str) -> str:
    return str((found.groups.get(group) or {}).get("arn") or "")
