# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""aws.yml when AWS refuses a call of any module: the message names the call, and the next run continues."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.aws.stage import Played, play, surroundings
from tests.integration.endpoint import Endpoint

ROLES = ("load_balancer", "iam", "alarms")
ASKS = re.compile(r"[a-z0-9]+:(Describe|Get|List)")


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Endpoint]:
    with Endpoint() as served:
        yield served


class EachOnce(dict[str, str]):
    """Actions that are denied: of those that change something, in each run the first one that was not denied before."""

    def __init__(self) -> None:
        super().__init__()
        self.met: list[str] = []
        self._armed = False

    def __contains__(self, action: object) -> bool:
        if self._armed and not ASKS.match(str(action)) and action not in self.met:
            self._armed = False
            self.met.append(str(action))
            self[str(action)] = ""
        return super().__contains__(action)

    def walk(self, endpoint: Endpoint, chosen: dict[str, Any], role: str) -> Played:
        """Run the role until it is through, and return that run."""
        while True:
            self.clear()
            self._armed, known = True, len(self.met)
            run = play(endpoint, chosen, "--tags", role)
            self._armed = False
            if len(self.met) == known:
                return run
            assert run.code != 0, f"{self.met[-1]} was denied and not reported"
            assert self.met[-1] in run.failures


class Throttled(Counter[str]):
    """Each requested action is throttled once."""

    def __missing__(self, action: str) -> int:
        return 1


@pytest.mark.parametrize(
    "role", ["load_balancer", *(pytest.param(role, marks=pytest.mark.weekly) for role in ("iam", "alarms"))]
)
def test_every_change_is_denied_once_and_the_next_run_goes_on(endpoint: Endpoint, tmp_path: Path, role: str) -> None:
    chosen = surroundings(endpoint, f"walk-{role}".replace("_", "-"), tmp_path)
    if role == "alarms":  # it sets alarms on a load balancer that is there
        assert play(endpoint, chosen, "--tags", "load_balancer").code == 0
    denials = EachOnce()
    endpoint.faults.denied = denials
    made = denials.walk(endpoint, chosen, role)
    assert (made.code, made.failures) == (0, "")
    assert len(denials.met) >= 4
    again = play(endpoint, chosen, "--tags", role)
    assert (again.code, again.changed) == (0, []), "nothing was left half done"
    deleted = denials.walk(endpoint, {**chosen, f"{role}_state": "absent"}, role)
    assert (deleted.code, deleted.failures) == (0, "")
    gone = play(endpoint, {**chosen, f"{role}_state": "absent"}, "--tags", role)
    assert (gone.code, gone.changed) == (0, [])
    if role == "alarms":
        assert play(endpoint, {**chosen, "load_balancer_state": "absent"}, "--tags", "load_balancer").code == 0


@pytest.mark.weekly
def test_calls_that_are_put_off_are_made_again_and_expired_credentials_named(
    endpoint: Endpoint, tmp_path: Path
) -> None:
    chosen = surroundings(endpoint, "busy", tmp_path)
    for role in ROLES:
        expired = play(endpoint, chosen, "--tags", role, key="AKIAEXPIRED")
        assert expired.code != 0 and "expired" in expired.failures, role
    endpoint.faults.throttled = Throttled()
    assert play(endpoint, chosen).code == 0
    endpoint.faults.throttled.clear()
    assert play(endpoint, {**chosen, **{f"{role}_state": "absent" for role in ROLES}}).code == 0
    endpoint.faults.throttled = Counter()
