# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs import canary
from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.canary import plan, weight_problems
from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.cutover import CutoverState
from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.shorthand import legacy_group

PORTS = {"users": 3002, "orders": 5003, "catalog": 5004}
SERVICES: list[dict[str, Any]] = [
    {"name": f"{name}-nlb", "port": port, "legacy": {"service": name, "url": f"http://public:{port}"}}
    for name, port in PORTS.items()
]
INSIDE = {f"{name.upper()}_SERVICE_URL": f"http://inside:{port}" for name, port in PORTS.items()}
Shares = Mapping[str, int]


def state(shares: Shares | None = None, running: int = 2, **more: Any) -> CutoverState:
    """shares: of the new service, by name, where a legacy group exists."""
    given = shares or {}
    groups = {f"{name}-nlb": {"arn": f"arn:{name}-nlb"} for name in PORTS}
    groups |= {f"{name}-nlb-legacy": {"arn": f"arn:{name}-nlb-legacy"} for name in given}
    forwards = {str(port): {f"arn:{name}-nlb": 1} for name, port in PORTS.items()}
    for name, share in given.items():
        forwards[str(PORTS[name])] = {f"arn:{name}-nlb": share, f"arn:{name}-nlb-legacy": 100 - share}
    services = {name: {"exists": True, "desired": 2, "running": running, "remembered": None} for name in PORTS}
    listeners = {str(port): f"arn:listener-{name}" for name, port in PORTS.items()}
    seen = {"dns_name": "inside", "listeners": listeners, "groups": groups, "services": services, "environment": {}}
    return CutoverState(**{**seen, "forwards": forwards, **more})


def planned(
    found: CutoverState,
    running: Mapping[str, str] | None = None,
    weights: tuple[int, ...] = (10, 50),
    batch: int = 1,
    complete: tuple[str, ...] = (),
) -> dict[str, Any]:
    left = [one for one in SERVICES if one["name"] not in complete]
    return plan(SERVICES, left, found, running or {}, "", weights, batch)


def steps(found: Mapping[str, Any]) -> list[tuple[int, list[str], bool]]:
    return [(one["weight"], names(one["services"]), one["watched"]) for one in found["steps"]]


def names(found: list[Mapping[str, Any]]) -> list[str]:
    return [one["name"].removesuffix("-nlb") for one in found]


def test_each_service_goes_through_all_weights_before_the_next_one_begins() -> None:
    found = planned(state())
    assert steps(found) == [
        (10, ["users"], True), (50, ["users"], True), (100, ["users"], True),
        (10, ["orders"], True), (50, ["orders"], True), (100, ["orders"], True),
        (10, ["catalog"], True), (50, ["catalog"], True), (100, ["catalog"], False),
    ]  # fmt: skip
    assert names(found["new"]) == names(found["services"]) == list(PORTS)
    assert (found["unused"], found["problems"]) == ([], [])
    assert found["services"][0]["targets"] == {
        "legacy": "users",
        "group": "users-nlb",
        "legacy_group": "users-nlb-legacy",
        "port": 0,
        "listener": "arn:listener-users",
    }


@pytest.mark.parametrize(
    ("batch", "expected"),
    [
        (0, [(10, list(PORTS), True), (100, list(PORTS), False)]),
        (2, [(10, ["users", "orders"], True), (100, ["users", "orders"], True),
             (10, ["catalog"], True), (100, ["catalog"], False)]),
    ],
)  # fmt: skip
def test_services_of_a_batch_go_together(batch: int, expected: list[tuple[int, list[str], bool]]) -> None:
    assert steps(planned(state(), weights=(10,), batch=batch)) == expected


def test_a_run_that_was_interrupted_goes_on_where_it_was() -> None:
    shares = {"users": 100, "orders": 50, "catalog": 0}
    found = planned(state(shares), INSIDE)
    assert steps(found)[:2] == [(50, ["orders"], True), (100, ["orders"], True)]
    assert steps(found)[2:] == [(10, ["catalog"], True), (50, ["catalog"], True), (100, ["catalog"], False)]
    assert names(found["services"]) == list(PORTS)
    assert (found["new"], found["unused"]) == ([], [])


def test_the_share_of_a_batch_is_the_least_of_its_services() -> None:
    """One of two listeners was set when the run ended."""
    found = planned(state({"users": 50, "orders": 10, "catalog": 10}), INSIDE, batch=0)
    assert [weight for weight, _names, _watched in steps(found)] == [10, 50, 100]


def test_listeners_without_clients_begin_anew() -> None:
    """The run before ended between the weights and the URLs, or on its way back."""
    found = planned(state({"users": 10}))
    assert names(found["unused"]) == ["users"]
    assert steps(found)[0] == (10, ["users"], True)


def test_without_weights_only_what_was_left_is_ended() -> None:
    found = planned(state({"users": 10}), INSIDE, weights=())
    assert steps(found) == [(100, ["users"], False)]
    assert names(found["services"]) == names(found["there"]) == ["users"]
    plain = planned(state(), weights=())
    assert [plain[key] for key in ("services", "steps", "there", "new", "unused")] == [[]] * 5


def test_a_canary_that_has_not_ended_is_no_beginning_for_gateways_on_ec2() -> None:
    [found] = plan(SERVICES, SERVICES, state({"users": 10}), {}, "", (), 1, fleet=True)["problems"]
    assert found.startswith("users-nlb: a canary has not ended, and the listener still forwards to users-nlb-legacy")
    assert plan(SERVICES, SERVICES, state(), {}, "", (), 1, fleet=True)["problems"] == []


def test_services_that_have_moved_are_left_alone_except_for_their_groups() -> None:
    found = planned(state({"users": 100}), INSIDE, complete=("users-nlb", "orders-nlb", "catalog-nlb"))
    assert (found["services"], found["steps"]) == ([], [])
    assert names(found["there"]) == ["users"]
    # All at once, and interrupted before the legacy services were retired.
    assert planned(state(), INSIDE)["services"] == []


def test_what_makes_a_split_impossible_is_named() -> None:
    forwards = {"3002": {"arn:users-nlb": 1, "arn:other": 1}}
    [strange, *_others] = planned(state(forwards=forwards))["problems"]
    assert strange.startswith("users-nlb: the listener 3002 forwards to arn:other, which is not its target group")
    gone = planned(state(running=0))["problems"]
    assert gone[0].startswith("users-nlb: its legacy service users has no running tasks")
    assert planned(state(running=0), weights=())["problems"] == []


def test_a_group_without_any_weight_has_no_share() -> None:
    forwards = {"3002": {"arn:users-nlb": 0, "arn:users-nlb-legacy": 0}}
    found = state({"users": 0}, forwards=forwards)
    [users] = canary.splits(SERVICES[:1], found, INSIDE, "")
    assert users.share == 0


@pytest.mark.parametrize(
    ("weights", "batch", "words"),
    [
        ([10, 50], 1, ""),
        ([], "0", ""),
        (["10", "50"], "2", ""),
        ([50, 10], 1, "ecs_cutover_weights has 50, 10: list ascending percentages"),
        ([10, 10], 1, "ecs_cutover_weights has 10, 10"),
        ([10, 100], 1, "ecs_cutover_weights has 10, 100"),
        (["ten"], 1, "ecs_cutover_weights has ten"),
        ([10], -1, "ecs_cutover_batch is -1"),
    ],
)
def test_weights_that_make_no_sense(weights: list[Any], batch: Any, words: str) -> None:
    found = weight_problems(weights, batch)
    assert bool(found) == bool(words)
    assert words in "".join(found)


def test_weights_are_refused_for_gateways_on_ec2() -> None:
    [found] = weight_problems([10, 50], 1, fleet=True)
    assert found.startswith("ecs_cutover_weights is set, and ecs_cutover_upstreams, too") and "remove" in found
    assert weight_problems([], 1, fleet=True) == []


def test_the_name_of_a_legacy_group_is_short_enough_and_its_own() -> None:
    assert legacy_group("users-nlb") == "users-nlb-legacy"
    assert legacy_group("x" * 25) == f"{'x' * 25}-legacy"
    long = [legacy_group(f"shop-production-europe-users-{n}") for n in "ab"]
    assert len({*long}) == 2
    assert all(len(name) <= 32 and name.endswith("-legacy") for name in long)
