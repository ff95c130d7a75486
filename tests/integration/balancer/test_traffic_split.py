# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""traffic_split on real HAProxies under requests, and on listeners of moto."""

from __future__ import annotations

import collections
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.integration.balancer.balancers import Balancer, Upstream
from tests.integration.balancer.forwarding import GREEN, Forwarding, split
from tests.integration.endpoint import Endpoint
from tests.integration.support import await_true

Pair = tuple[Balancer, Balancer]
SICK = ("unhealthy", "Target.FailedHealthChecks", "Health checks failed with these codes: [502]")


# HAProxy


def on(*balancers: Balancer, **more: Any) -> dict[str, Any]:
    return {
        "balancer": "haproxy",
        "sockets": [balancer.admin for balancer in balancers],
        "backends": ["gateways"],
        "sides": {"blue": ["a"], "green": ["b"]},
        **more,
    }


@contextmanager
def clients(balancer: Balancer) -> Iterator[collections.Counter[str]]:
    """Who answers, all the while."""
    answers: collections.Counter[str] = collections.Counter()
    over = threading.Event()

    def ask() -> None:
        while not over.wait(0.002):
            answers[balancer.get()] += 1

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    yield answers
    over.set()
    for thread in threads:
        thread.join()


def test_all_requests_go_to_the_other_side_at_once(pair: Pair) -> None:
    one, two = pair
    looked = split(**on(one, two))
    assert (looked["weights"], looked["healthy"], looked["changed"]) == (
        {"blue": 100, "green": 100},
        {"blue": 1, "green": 1},
        False,
    )
    blue = {"weights": {"blue": 100, "green": 0}}
    planned = split(check=True, **on(one, two, **blue))
    assert (planned["changed"], planned["diff"]["after"]) == (True, {"blue": 100, "green": 0})
    assert split(**on(one, two))["weights"] == {"blue": 100, "green": 100}
    assert split(**on(one, two, **blue))["diff"] == planned["diff"]
    assert {balancer.get() for balancer in pair for _ in range(6)} == {"a"}

    with clients(one) as answers:
        over = split(**on(one, two, weights={"blue": 0, "green": 100}))
        assert (over["changed"], over["weights"]) == (True, {"blue": 0, "green": 100})
        assert {balancer.get() for balancer in pair for _ in range(6)} == {"b"}
    assert set(answers) == {"a", "b"}
    again = split(**on(one, two, weights={"blue": 0, "green": 100}))
    assert (again["changed"], again["failed"]) == (False, False)


def test_a_side_that_is_not_up_gets_nothing(pair: Pair, upstreams: dict[str, Upstream]) -> None:
    one, two = pair
    split(**on(one, two, weights={"green": 0}))
    upstreams["b"].stop()
    await_true(lambda: {balancer.status("b") for balancer in pair} == {"DOWN"}, "both have seen it")
    refused = split(**on(one, two, weights={"blue": 0, "green": 100}, timeout=1.5))
    assert refused["failed"]
    assert (
        "Traffic was not switched: not enough targets are healthy after 1.5 s. green: gateways/b is DOWN"
        in refused["msg"]
    )
    assert refused["weights"] == {"blue": 100, "green": 0}
    assert one.get() == "a"


def test_what_one_haproxy_does_not_do_the_others_take_back(pair: Pair) -> None:
    one, two = pair
    split(**on(one, two, weights={"green": 0}))
    deaf = {"sockets": [one.admin, str(two.folder / "operator.sock")]}
    refused = split(**on(one, two, weights={"blue": 0, "green": 100}, **deaf))
    assert refused["failed"] and "needs 'level admin'" in refused["msg"]
    assert split(**on(one, two))["weights"] == {"blue": 100, "green": 0}
    two.stop()
    unanswered = split(**on(one, two, weights={"blue": 0, "green": 100}))
    assert unanswered["failed"] and f"runtime API did not answer at {two.admin}" in unanswered["msg"]
    assert split(**on(one))["weights"] == {"blue": 100, "green": 0}


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"weights": {"red": 1}}, "red is not a side. The sides are blue, green"),
        ({"weights": {"blue": 101}}, "blue has the weight 101"),
        ({"weights": {"blue": "half"}}, "each has to be a number from 0 to 100"),
        ({"weights": {"blue": 0, "green": 0}}, "all sides would have the weight 0"),
        ({"weights": {"blue": 50}}, "has the weight 1 in HAProxy's configuration, and 50 % of it is no whole number"),
        ({"sides": {"blue": ["a"], "green": ["x"]}}, "has no server x"),
        ({"backends": ["elsewhere"]}, "the backend elsewhere of HAProxy"),
    ],
)
def test_what_can_not_be(pair: Pair, wrong: dict[str, Any], words: str) -> None:
    refused = split(**on(*pair, **wrong))
    assert refused["failed"] and words in refused["msg"]
    assert split(**on(*pair))["weights"] == {"blue": 100, "green": 100}


# Listeners of an ALB


@pytest.fixture(scope="module")
def served() -> Iterator[Endpoint]:
    with Endpoint() as endpoint:
        yield endpoint


@pytest.fixture
def forwarding(served: Endpoint) -> Forwarding:
    return Forwarding(served)


def test_a_listener_is_led_over_and_back(forwarding: Forwarding) -> None:
    looked = forwarding.split()
    assert (looked["weights"], looked["changed"]) == ({"blue": 100, "green": 0}, False)
    over: dict[str, Any] = {"weights": {"blue": 0, "green": 100}}
    planned = forwarding.split(check=True, **over)
    assert (planned["changed"], forwarding.split()["weights"]) == (True, {"blue": 100, "green": 0})
    done = forwarding.split(**over)
    assert (done["failed"], done["diff"]) == (False, planned["diff"]), done
    assert forwarding.weights == {forwarding.blue: 0, forwarding.green: 100}
    assert not forwarding.split(**over)["changed"]
    assert forwarding.split(weights={"blue": 90, "green": 10})["weights"] == {"blue": 90, "green": 10}


def test_a_listener_does_not_lead_to_the_sick(forwarding: Forwarding) -> None:
    forwarding.endpoint.traffic.sick[GREEN] = SICK
    refused = forwarding.split(weights={"blue": 0, "green": 100}, timeout=0.5)
    assert refused["failed"] and "Health checks failed with these codes: [502]" in refused["msg"]
    # The other group is known to the listener by then, so that its health is; it has no weight.
    assert refused["weights"] == {"blue": 100, "green": 0} and forwarding.weights[forwarding.green] == 0
    back = forwarding.split(weights={"blue": 0, "green": 100}, min_healthy=0)
    assert back["weights"] == {"blue": 0, "green": 100}


def test_who_may_not_and_what_is_not_there(forwarding: Forwarding, served: Endpoint) -> None:
    denied = forwarding.split(weights={"blue": 0, "green": 100}, access_key="AKIADENIED")
    assert denied["failed"] and "needs elasticloadbalancing:Describe" in denied["msg"]
    assert "planted-secret" not in str(denied)
    nowhere = forwarding.split(listeners=[forwarding.listener + "0"])
    assert nowhere["failed"] and "DescribeListeners failed: ListenerNotFound" in nowhere["msg"]
    _name, third = served.group()
    stranger = forwarding.split(sides={"blue": [third], "green": [forwarding.green]})
    assert (
        stranger["failed"] and f"forwards to {forwarding.blue}, which is no target group of a side" in stranger["msg"]
    )
