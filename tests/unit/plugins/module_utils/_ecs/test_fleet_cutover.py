# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A cutover whose clients are gateways on EC2."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs import cutover, fleet_cutover
from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.cutover import CutoverState, FleetOfGateways
from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.probe import ProbeTarget

PARAMETER = "/shop/gateway-urls"
SERVICES = [
    {"name": "users-nlb", "port": 3002, "legacy": {"service": "users", "url": "http://public:3002"}},
    {"name": "orders-nlb", "port": 5003, "legacy": {"service": "orders", "url": "http://public:5003"}},
    {"name": "search", "port": 9200},
]
FLEET = FleetOfGateways(["users-nlb", "orders-nlb"], PARAMETER, ["host-1", "host-2"])
URLS = {"USERS_SERVICE_URL": "http://inside:3002", "ORDERS_SERVICE_URL": "http://public:5003"}
IMAGE = "registry/gateway@sha256:aa"
TARGET = ProbeTarget("users-nlb", "http://inside:3002/health", "http://public:3002/health")


def kept(**changes: Any) -> dict[str, Any]:
    container = {"image": IMAGE, "digest": "sha256:aa", "status": "running"}
    answers = {"log": ["probe 0 200 0.01", "probe 1 200 0.01"]}
    return {"runs": {"container": container}, "answers": answers, "parameter": PARAMETER, **changes}


def problems(*hosts: dict[str, Any], asked: bool = True) -> list[str]:
    by_name = {f"host-{number}": host for number, host in enumerate(hosts, 1)}
    return fleet_cutover.problems(by_name, [TARGET], parameter=PARAMETER, slower=3, asked=asked)


def test_the_upstreams_of_the_fleet_are_moved() -> None:
    assert cutover.declaration_problems(SERVICES, "", [], "inside", FLEET) == []
    assert [one["name"] for one in cutover.chosen(SERVICES, "", [], "", FLEET)] == ["users-nlb", "orders-nlb"]
    assert [one["name"] for one in cutover.chosen(SERVICES, "", ["orders-nlb"], "", FLEET)] == ["orders-nlb"]


@pytest.mark.parametrize(
    ("fleet", "gateway", "names", "words"),
    [
        (FleetOfGateways(["user"], PARAMETER, ["host-1"]), "", [], "ecs_cutover_upstreams has user"),
        (FLEET, "gateway", [], "keep the first for a gateway on Amazon ECS"),
        (FleetOfGateways(["users-nlb"], "", ["host-1"]), "", [], "gateway_urls_parameter is not set"),
        (FleetOfGateways(["users-nlb"], PARAMETER), "", [], "name the inventory of the fleet with -i"),
        (FleetOfGateways(["users-nlb"], PARAMETER, ["host-1"], "host-1"), "", [], "run it without --limit"),
        (FLEET, "", ["search"], "the upstreams of the fleet are users-nlb, orders-nlb: correct the name"),
    ],
)
def test_what_is_missing_in_the_declaration(fleet: FleetOfGateways, gateway: str, names: list[str], words: str) -> None:
    [found] = cutover.declaration_problems(SERVICES, gateway, names, "inside", fleet)
    assert words in found


def test_what_the_hosts_are_to_run_with_says_who_has_moved() -> None:
    environment = {"gateway": {"USERS_SERVICE_URL": "http://other"}}
    found = CutoverState("inside", {}, {}, {}, environment, gateway_urls=URLS)
    running = cutover.running_urls(found, "gateway", FLEET)
    assert cutover.moved(SERVICES[:2], running, "inside") == ["users-nlb"]
    assert cutover.running_urls(found, "gateway", None) == {"USERS_SERVICE_URL": "http://other"}


def test_before_any_cutover_the_urls_are_the_legacy_ones() -> None:
    everything = [str(one["name"]) for one in SERVICES]
    legacy = {"USERS_SERVICE_URL": "http://public:3002", "ORDERS_SERVICE_URL": "http://public:5003"}
    assert cutover.first_urls(SERVICES, FLEET.upstreams, "inside") == legacy
    assert cutover.first_urls(SERVICES, everything, "inside") == {**legacy, "SEARCH_SERVICE_URL": "http://inside:9200"}
    assert cutover.first_urls(SERVICES, everything, "") == legacy, "an unknown URL is not written"


def test_hosts_that_run_one_image_and_get_good_answers() -> None:
    assert problems(kept(), kept()) == []
    assert fleet_cutover.image_of(kept()) == IMAGE


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"runs": {"msg": "Failed to connect"}}, "host-2: Failed to connect"),
        ({"runs": {"msg": ["Nothing was changed.", "No image."]}}, "host-2: Nothing was changed. No image."),
        ({"runs": {}}, "host-2: it was not reached"),
        ({"runs": {"engine_error": "docker does not answer", "container": None}}, "host-2: docker does not answer"),
        ({"runs": {"container": None}}, "host-2: its gateway does not run"),
        ({"runs": {"container": {"image": IMAGE, "digest": "sha256:aa", "status": "exited"}}}, "does not run"),
        ({"parameter": ""}, f"host-2: gateway_urls_parameter is empty for it, and {PARAMETER} for localhost"),
        ({"answers": {"msg": "no Python"}}, "host-2: it did not ask the services: no Python"),
        ({"answers": {"log": ["probe 0 503 0.01", "probe 1 200 0.01"]}}, "from host-2: users-nlb: 1 of 1 requests"),
        ({"answers": {"log": ["probe 0 200 0.9", "probe 1 200 0.1"]}}, "from host-2: users-nlb: http://inside"),
        ({"answers": {"log": []}}, "from host-2: users-nlb: the probe logged nothing"),
    ],
)
def test_one_host_that_cannot_be_switched(changes: dict[str, Any], words: str) -> None:
    [found] = problems(kept(), kept(**changes))
    assert words in found


def test_hosts_with_different_images_are_refused() -> None:
    container = {"image": "registry/gateway:2", "digest": "sha256:bb", "status": "running"}
    [found] = problems(kept(), kept(runs={"container": container}))
    assert "host-1 registry/gateway@sha256:aa, host-2 registry/gateway@sha256:bb" in found


def test_without_a_probe_there_are_no_answers_to_judge() -> None:
    assert problems(kept(answers={"skipped": True}), asked=False) == []


@pytest.mark.parametrize(
    ("image", "digest", "wanted"),
    [
        ("host:5000/gateway:1.0", "sha256:cc", "host:5000/gateway@sha256:cc"),
        ("host:5000/gateway", "sha256:cc", "host:5000/gateway@sha256:cc"),
        ("gateway:1.0", None, "gateway:1.0"),
        ("gateway@sha256:cc", "sha256:cc", "gateway@sha256:cc"),
    ],
)
def test_the_image_is_named_by_its_digest(image: str, digest: str | None, wanted: str) -> None:
    assert fleet_cutover.image_of({"runs": {"container": {"image": image, "digest": digest}}}) == wanted


def test_why_the_rollout_did_not_reach_all_hosts() -> None:
    done, failed = {"rolled_out": True}, {"why": ["host-2 failed.", "Not touched: host-3."]}
    assert fleet_cutover.undone({"host-1": done, "host-2": done}) == []
    assert fleet_cutover.undone({"host-1": failed, "host-2": {"why": ""}, "host-3": failed}) == failed["why"]
    assert fleet_cutover.undone({"host-1": done, "host-2": {}}) == [
        "The URLs were not rolled out; see the failed task above."
    ]
    assert fleet_cutover.undone({"host-1": {}, "host-2": {}}, planned=True) == []
    assert fleet_cutover.undone({"host-1": failed, "host-2": {}}, planned=True) == failed["why"]
