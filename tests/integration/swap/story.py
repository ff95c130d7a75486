# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A container whose swaps are killed, and the next calls. SWAP_SEED chooses another run."""

from __future__ import annotations

import os
import random
from typing import Any

from tests.integration.support import await_true
from tests.integration.swap.little_host import LittleHost
from tests.integration.swap.swaps import Swaps

SEED = int(os.environ.get("SWAP_SEED", "1"))


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
