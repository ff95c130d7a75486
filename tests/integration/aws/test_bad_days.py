# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""aws.yml where AWS refuses, whoever's modules ask it: the call is named, and the next run goes on from there."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from werkzeug.wrappers import Request, Response

from fleet.services.aws.calls import Call
from tests.integration.aws.stage import Played, play, surroundings
from tests.integration.endpoint import Endpoint

ROLES = ("load_balancer", "iam", "alarms")
ASKS = re.compile(r"[a-z0-9]+:(Describe|Get|List)")


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Endpoint]:
    with Endpoint() as served:
        yield served


class EachOnce:
    """Of all calls that change something, the first of its kind is denied; one in a run."""

    def __init__(self, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
        self.denied: list[str] = []
        self._armed = False
        self._faults = endpoint.faults
        self._usual = endpoint.faults.answer
        monkeypatch.setattr(endpoint.faults, "answer", self._answer)

    def _answer(self, call: Call, request: Request) -> Response | None:
        if self._armed and not ASKS.match(call.permission) and call.permission not in self.denied:
            self._armed = False
            self.denied.append(call.permission)
            self._faults.denied[call.permission] = ""
        return self._usual(call, request)

    def walk(self, endpoint: Endpoint, chosen: dict[str, Any], role: str) -> Played:
        """Run the role until it is through, and return the last run."""
        while True:
            self._armed = True
            known = len(self.denied)
            run = play(endpoint, chosen, "--tags", role)
            self._faults.denied.clear()
            if len(self.denied) == known:
                return run
            assert run.code != 0, f"{self.denied[-1]} was denied and nobody said so"
            assert self.denied[-1] in run.failures


@pytest.mark.parametrize("role", ROLES)
def test_every_change_is_denied_once_and_the_next_run_goes_on(
    endpoint: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, role: str
) -> None:
    chosen = surroundings(endpoint, f"walk-{role}".replace("_", "-"), tmp_path)
    denials = EachOnce(endpoint, monkeypatch)
    made = denials.walk(endpoint, chosen, role)
    assert (made.code, made.failures) == (0, "")
    assert len(denials.denied) >= 4
    again = play(endpoint, chosen, "--tags", role)
    assert (again.code, again.changed) == (0, []), "nothing was left half done"
    deleted = denials.walk(endpoint, {**chosen, f"{role}_state": "absent"}, role)
    assert (deleted.code, deleted.failures) == (0, "")
    gone = play(endpoint, {**chosen, f"{role}_state": "absent"}, "--tags", role)
    assert (gone.code, gone.changed) == (0, [])


def test_calls_that_are_put_off_are_made_again_and_expired_credentials_named(
    endpoint: Endpoint, tmp_path: Path
) -> None:
    chosen = surroundings(endpoint, "busy", tmp_path)
    for role in ROLES:
        expired = play(endpoint, chosen, "--tags", role, key="AKIAEXPIRED")
        assert expired.code != 0 and "expired" in expired.failures, role
    endpoint.faults.throttled = Throttled(2)
    assert play(endpoint, chosen).code == 0
    endpoint.faults.throttled = Throttled(2)
    assert play(endpoint, {**chosen, **{f"{role}_state": "absent" for role in ROLES}}).code == 0
    endpoint.faults.throttled = Counter()


class Throttled(Counter[str]):
    """Each action that anybody asks for is put off so many times."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self._times = times

    def __missing__(self, action: str) -> int:
        return self._times
