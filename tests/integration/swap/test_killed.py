# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module or the engine is killed, at each of its steps: the next call finds a state that it knows.

SWAP_SEED chooses another run.
"""

from __future__ import annotations

import os
import random
import threading
from typing import Any

import pytest

from tests.integration.support import await_true
from tests.integration.swap.conftest import Swaps
from tests.integration.swap.little_host import LittleHost

SEED = int(os.environ.get("SWAP_SEED", "1"))
# Nobody serves from when the old one stops until the next call has put it back.
LONGEST_GAP = 6.0


class Story:
    """Two images, and a container that is always of one of them."""

    def __init__(self, swap: Swaps, host: LittleHost, seed: object) -> None:
        self.random = random.Random(f"{SEED} {seed}")
        self.swap = swap
        self.host = host
        self.images = {tag: host.image(tag) for tag in ("v1", "v2")}
        swap(self.images["v1"])
        swap(self.images["v2"])
        self.read()

    def read(self) -> None:
        """What is there is what must be there between two calls."""
        containers = self.host.containers()
        assert containers.keys() == {"app", "app-previous"}
        self.current, self.previous = containers["app"], containers["app-previous"]
        self.image = self.host.inspect("app")["Config"]["Image"]
        for name, policy, running in (("app", "unless-stopped", True), ("app-previous", "no", False)):
            found = self.host.inspect(name)
            assert found["HostConfig"]["RestartPolicy"]["Name"] == policy
            assert found["State"]["Running"] is running
        tag = next(tag for tag, image in self.images.items() if image == self.image)
        await_true(lambda: f'"version": "{tag}"' in self.host.get("/health"), f"{tag} serves")

    @property
    def other(self) -> str:
        return next(image for image in self.images.values() if image != self.image)

    def next_call(self, state: str, wanted: str) -> dict[str, Any]:
        """What comes after a call that was killed: the same again, one that is bound to fail, or the way back."""
        kind = self.random.choice(["again", "missing", "back"])
        if kind == "again":
            answer = self.swap(wanted, state=state, wanted_image=wanted)
            assert answer["outcome"] in ("swapped", "restored", "unchanged"), answer
            assert answer["serving"]["image"] == wanted
        elif kind == "missing":
            answer = self.swap("127.0.0.1:5000/app:none")
            assert answer["outcome"] in ("unchanged", "rolled_back"), answer
            assert answer["serving"]["id"] in self.host.containers().values()
        else:
            answer = self.swap(self.image, state="swapped")
            assert answer["outcome"] in ("swapped", "restored", "unchanged"), answer
            assert answer["serving"]["image"] == self.image
        return answer

    def killed(self, who: str, where: object, when: str, state: str) -> dict[str, Any] | None:
        """One call that is killed; what it answers if it lives to do so."""
        wanted = self.other
        return self.swap.dying(who, str(where), when, wanted, state=state, wanted_image=wanted)


@pytest.mark.parametrize("state", ["swapped", "restored"])
def test_the_module_is_killed_at_each_of_its_requests(swap: Swaps, host: LittleHost, state: str) -> None:
    story = Story(swap, host, state)
    for where in ["gate", *range(1, 20)]:
        when = story.random.choice(["before", "sent"])
        wanted = story.other
        with host.watched() as watch:
            answer = story.killed("module", where, when, state)
            if answer is None:
                story.next_call(state, wanted)
        watch.assert_never_two()
        assert watch.gap() < LONGEST_GAP, f"{where} {when}"
        story.read()
        if answer is not None:
            assert where != "gate" and int(where) > 6, "the call ended before it was killed"
            assert answer["serving"]["image"] == wanted
            return
    pytest.fail("it was never let live")


def test_the_module_is_killed_while_it_pulls(swap: Swaps, host: LittleHost) -> None:
    story = Story(swap, host, "pull")
    image = host.image("large", size=3_000_000)
    assert swap.dying("module", "pull", "before", image) is None
    story.read()
    assert swap(image)["outcome"] == "swapped"
    assert host.containers()["app-previous"] == story.current


@pytest.mark.parametrize("where", ["gate", *random.Random(SEED).sample(range(1, 10), 2)])
def test_the_engine_is_killed(swap: Swaps, host: LittleHost, where: object) -> None:
    story = Story(swap, host, f"engine {where}")
    when = story.random.choice(["before", "sent"])
    wanted, old = story.other, story.current

    def revive() -> None:
        await_true(lambda: not host.answers(), "the engine is dead")
        host.do("rm --force /run/docker.pid")
        host.start_engine()

    systemd = threading.Thread(target=revive, daemon=True)
    systemd.start()
    with host.watched() as watch:
        answer = story.killed("engine", where, when, "swapped")
        systemd.join(60)
        assert answer is not None
        if answer["failed"]:
            assert answer["outcome"] in ("rolled_back", "unchanged", "failed", "swapped"), answer
            if answer["outcome"] == "rolled_back":
                assert answer["serving"]["id"] == old
                assert host.inspect("app")["State"]["Running"]
        else:
            assert answer["serving"]["image"] == wanted
        again = swap(wanted)
    assert again["outcome"] in ("swapped", "restored", "unchanged"), again
    assert again["serving"]["image"] == wanted
    watch.assert_never_two()
    story.read()
    assert old in (story.current, story.previous)
