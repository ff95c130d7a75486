# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module or the engine is killed at each of its steps: the next call recovers from that state.

SWAP_SEED chooses another run.
"""

from __future__ import annotations

import random
import threading

import pytest

from tests.integration.support import await_true
from tests.integration.swap.little_host import LittleHost
from tests.integration.swap.story import SEED, Story
from tests.integration.swap.swaps import Swaps

# No container serves from when the old one stops until the next call has put it back.
LONGEST_GAP = 6.0


@pytest.mark.parametrize("state", ["swapped", pytest.param("restored", marks=pytest.mark.weekly)])
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
