# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""With a stand-in, no client notices a swap, a failed swap or a killed one.

SWAP_SEED chooses another run.
"""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.support import await_true
from tests.integration.swap.little_host import HOST4, PORT, LittleHost
from tests.integration.swap.load import clients
from tests.integration.swap.story import SEED, Story
from tests.integration.swap.swaps import Swaps

REUSED_PORT = Path(__file__).parent / "reused_port.py"


class Covered(Swaps):
    """The app is published to all addresses, and a container stands in for it."""

    def container(self, image: str, **more: Any) -> dict[str, Any]:
        return super().container(image, **{"ports": [f"{PORT}:3000"], "stand_in": True, **more})


@pytest.fixture(scope="module", autouse=True)
def elsewhere(host: LittleHost) -> None:
    """Another machine, from which the host is reached."""
    host.know_another_machine()


@pytest.fixture
def covered(host: LittleHost) -> Iterator[Covered]:
    yield Covered(host)
    host.remove_containers()
    leads = "nft list set inet evenkeel_stand_in_app ports &>/dev/null"
    host.do(f"if {leads}; then nft flush set inet evenkeel_stand_in_app ports; fi")


def assert_nothing_left(host: LittleHost, *names: str) -> None:
    assert host.containers().keys() == set(names)
    assert "elements" not in host.do("nft list ruleset"), "no port leads elsewhere"


def test_nobody_notices_a_swap_and_the_way_back(covered: Covered, host: LittleHost) -> None:
    first = covered(host.image("v1"))
    with clients(host) as told:
        second = covered(host.image("v2"), wanted_version="v2")
        assert_nothing_left(host, "app", "app-previous")
        back = covered(host.image("v2"), state="restored", wanted_version="v1")
    assert (second["outcome"], back["outcome"]) == ("swapped", "restored")
    assert second["old"] == first["serving"] == back["serving"]
    assert [change["action"] for change in second["changes"]][-1] == "replace"
    assert second["seconds"]["stand_in"] > 2
    assert told.failures == []
    assert min(told.versions["v1"], told.versions["v2"]) > 500
    assert_nothing_left(host, "app", "app-previous")
    again = covered(host.image("v1"))
    assert (again["outcome"], again["changed"]) == ("unchanged", False)


@pytest.mark.parametrize(
    ("app", "gate"),
    [
        pytest.param({"crash_after": 2}, {"hold": 3}, id="crashes"),
        pytest.param({"sick_after": 0}, {"timeout": 2}, id="never healthy"),
    ],
)
def test_nobody_notices_a_bad_image(
    covered: Covered, host: LittleHost, app: dict[str, Any], gate: dict[str, Any]
) -> None:
    old = covered(host.image("v1"))["serving"]
    with clients(host) as told:
        answer = covered(host.image("-".join(app), **app), container={"gate": gate})
    assert (answer["outcome"], answer["serving"]["id"]) == ("rolled_back", old["id"]), answer["msg"]
    assert told.failures == []
    assert told.versions.keys() == {"v1"}, "none but the old one was asked"
    assert_nothing_left(host, "app")


@pytest.mark.parametrize(
    "address", ["127.0.0.1", *(pytest.param(address, marks=pytest.mark.weekly) for address in ("::1", HOST4))]
)
def test_a_client_that_connects_from_the_same_port_again(covered: Covered, host: LittleHost, address: str) -> None:
    """The kernel would send it where its earlier connection went, of which it has missed the end."""
    covered(host.image("v1"))
    port = 23456
    earlier = f"--src {address} --dst {address} --sport {port} --dport {PORT}"
    host.do(f"conntrack -I -p tcp {earlier} --state LAST_ACK --timeout 60 --status SEEN_REPLY,ASSURED")
    answers = []

    def meanwhile() -> None:
        await_true(lambda: "v2 starts" in host.do("docker logs app 2>&1 || true"), "the new one has started")
        command = [*host.inside, sys.executable, str(REUSED_PORT), address, str(port), str(PORT)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
        answers.append(done.stdout or done.stderr)

    asking = threading.Thread(target=meanwhile)
    asking.start()
    covered(host.image("v2"), container={"gate": {"hold": 4}})
    asking.join()
    assert ['"v1"' in answer for answer in answers] == [True], answers


def test_where_nobody_can_stand_in_nothing_is_stopped(covered: Covered, host: LittleHost) -> None:
    shared = {"volumes": ["/usr:/usr:ro", "/run/shared:/shared"]}
    old = covered(host.image("exclusive", lock="/shared/lock"), container=shared)
    with clients(host) as told:
        answer = covered(host.image("v2"), container=shared)
    assert (answer["failed"], answer["outcome"]) == (True, "unchanged")
    assert "nothing was stopped" in answer["msg"]
    assert "app: another one has /shared/lock" in answer["msg"]
    assert answer["serving"]["id"] == old["serving"]["id"]
    assert told.failures == []
    assert_nothing_left(host, "app")


def test_without_anything_to_lose_nobody_stands_in(covered: Covered, host: LittleHost) -> None:
    covered(host.image("sick", sick_after=2))
    await_true(lambda: "503" in host.get("/health"), "it is sick")
    answer = covered(host.image("v2"))
    assert (answer["outcome"], answer["seconds"]["stand_in"]) == ("swapped", 0)
    assert "no stand-in was started for app" in str(answer["warnings"])


@pytest.mark.parametrize("state", ["swapped", pytest.param("restored", marks=pytest.mark.weekly)])
def test_nobody_notices_that_a_swap_is_killed(covered: Covered, host: LittleHost, state: str) -> None:
    story = Story(covered, host, f"stand-in {state}")
    moments = ["gate", *story.random.sample(range(1, 14), 5)]
    with clients(host) as told:
        for where in moments:
            when = story.random.choice(["before", "sent"])
            wanted = story.other
            if story.killed("module", where, when, state) is None:
                story.next_call(state, wanted)
            story.read()
            assert_nothing_left(host, "app", "app-previous")
    assert told.failures == [], moments


@pytest.mark.parametrize("where", random.Random(SEED).sample(range(2, 12), 2))
def test_after_the_engine_was_killed(covered: Covered, host: LittleHost, where: int) -> None:
    """It takes all containers along, the one that stands in, too: no port may go on leading to it."""
    story = Story(covered, host, f"stand-in engine {where}")

    def revive() -> None:
        await_true(lambda: not host.answers(), "the engine is dead")
        host.do("rm --force /run/docker.pid")
        host.start_engine()

    wanted = story.other
    systemd = threading.Thread(target=revive, daemon=True)
    systemd.start()
    story.killed("engine", where, story.random.choice(["before", "sent"]), "swapped")
    systemd.join(60)
    again = covered(wanted)
    assert again["serving"]["image"] == wanted, again
    story.read()
    assert_nothing_left(host, "app", "app-previous")
