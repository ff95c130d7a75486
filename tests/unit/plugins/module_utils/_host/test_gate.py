# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from types import SimpleNamespace

import pytest

from ansible_collections.evenkeel.fleet.plugins.module_utils._host import gate
from ansible_collections.evenkeel.fleet.plugins.module_utils._host.gate import GateError, about, wait
from ansible_collections.evenkeel.fleet.plugins.module_utils._host.http import Response

GATE = {"url": "http://127.0.0.1/api/health", "timeout": 5, "interval": 0.5}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    fake = SimpleNamespace(monotonic=lambda: now[0], sleep=lambda seconds: now.__setitem__(0, now[0] + seconds))
    monkeypatch.setattr(gate, "time", fake)
    return now


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[Response | OSError]:
    """What is answered, one after the other; the last one stays."""
    given: list[Response | OSError] = []

    def get(_url: str, _timeout: float) -> Response:
        answer = given.pop(0) if len(given) > 1 else given[0]
        if isinstance(answer, OSError):
            raise answer
        return answer

    monkeypatch.setattr(gate, "get", get)
    return given


GOOD = Response(200, b"ok")
STARTING = Response(503, b'{"status":"starting","reasons":["database: password=hunter2 refused"]}')
REFUSED = ConnectionRefusedError(111, "Connection refused")


@pytest.mark.usefixtures("clock")
def test_good_answers_must_be_in_a_row(answers: list[Response | OSError]) -> None:
    answers += [REFUSED, GOOD, STARTING, GOOD, GOOD, GOOD]
    wait(GATE, lambda: None, successes=2)
    assert len(answers) == 1


def test_the_deadline_says_what_was_answered_last(clock: list[float], answers: list[Response | OSError]) -> None:
    answers += [REFUSED, STARTING]
    with pytest.raises(GateError, match=r"didn't answer 200 2 times in a row within 5 s\. .* last answered 503") as e:
        wait(GATE, lambda: None, successes=2)
    assert "database" in e.value.message
    assert "hunter2" not in e.value.message
    assert clock[0] <= 5


def test_it_gives_up_when_waiting_is_pointless(clock: list[float], answers: list[Response | OSError]) -> None:
    answers += [REFUSED]
    with pytest.raises(GateError, match=r"It ended\. The last request to .* got no answer: Connection refused"):
        wait(GATE, lambda: "It ended.", successes=1)
    assert clock[0] == 0


def test_about(answers: list[Response | OSError]) -> None:
    answers += [
        Response(200, b'{"version": "1"}'),
        Response(200, b"[1]"),
        Response(500, b"oh"),
        Response(200, b"x"),
        REFUSED,
    ]
    assert about("u", 1) == {"version": "1"}
    assert all(set(about("u", 1)) == {"error"} for _answer in range(4))
