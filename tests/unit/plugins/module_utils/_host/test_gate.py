# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.evenkeel.fleet.plugins.module_utils._common.http import Response
from ansible_collections.evenkeel.fleet.plugins.module_utils._host import gate
from ansible_collections.evenkeel.fleet.plugins.module_utils._host.gate import FatalCheck, Gate, GateError, about

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

    def get(*_: object) -> Response:
        answer = given.pop(0) if len(given) > 1 else given[0]
        if isinstance(answer, OSError):
            raise answer
        return answer

    monkeypatch.setattr(gate, "get", get)
    return given


def wait(spec: dict[str, Any], hopeless: FatalCheck | None, successes: int) -> None:
    Gate(spec, hopeless).wait(successes)


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
    with pytest.raises(
        GateError, match=r"didn't answer 200 2 consecutive times within 5 s\. .* last answered 503"
    ) as e:
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


def saying(**about: Any) -> Response:
    return Response(200, json.dumps(about).encode())


@pytest.mark.usefixtures("clock")
def test_the_wanted_version_must_be_said(answers: list[Response | OSError]) -> None:
    answers += [saying(version="v1"), GOOD, saying(version="v2"), saying(version="v2")]
    gate = Gate({**GATE, "version": "v2"})
    gate.wait(2)
    assert [look.version for look in gate.results] == ["v1", None, "v2", "v2"]
    assert gate.report() == {
        "answers": 4,
        "good": 2,
        "version": "v2",
        "instance": None,
        "latency": {"p50": 0.0, "p95": 0.0, "max": 0.0},
    }


def test_another_version_of_a_container_is_final(clock: list[float], answers: list[Response | OSError]) -> None:
    answers += [saying(version="v1")]
    with pytest.raises(GateError, match=r"healthy, but not of the wanted version\. .* says version v1, not v2"):
        Gate({**GATE, "version": "v2"}, lambda: None).wait(3)
    assert clock[0] < 2
    clock[0] = 0
    with pytest.raises(GateError, match="didn't answer 200 with version v2 once within 5 s"):
        Gate({**GATE, "version": "v2"}).wait(1)


@pytest.mark.usefixtures("clock")
def test_version_and_instance_stand_where_they_are_said_to(answers: list[Response | OSError]) -> None:
    answers += [saying(build={"version": 2}, node="i-1")]
    fields = {"version_field": "build.version", "instance_field": "node"}
    gate = Gate({**GATE, "version": "2", "instance": "i-1", **fields})
    gate.wait(1)
    assert (gate.results[0].version, gate.results[0].instance) == ("2", "i-1")
    with pytest.raises(GateError, match="answer has no version"):
        Gate({**GATE, "version": "2"}).wait(1)


@pytest.mark.usefixtures("clock")
def test_answers_of_other_instances_count_neither_way(answers: list[Response | OSError]) -> None:
    own, other = saying(instanceId="i-1", version="v2"), saying(instanceId="i-2", version="v1")
    answers += [own, other, other, own, other]
    gate = Gate({**GATE, "version": "v2", "instance": "i-1"})
    gate.wait(2)
    assert len(gate.results) == 4
    assert gate.report()["good"] == 2
    assert gate.report()["version"] == "v2"
    with pytest.raises(GateError, match=r"from i-1 once within 5 s\. .* last answered from i-2"):
        gate.wait(1)
    with pytest.raises(GateError, match="No answer came from i-1"):
        gate.hold(2)


@pytest.mark.usefixtures("answers")
def test_slow_answers_are_not_good_enough(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    took = [0.3, 0.3, 0.1, 0.1, 0.1]

    def get(*_: object) -> Response:
        clock[0] += took.pop(0) if len(took) > 1 else took[0]
        return GOOD

    monkeypatch.setattr(gate, "get", get)
    slow = Gate({**GATE, "max_latency": 0.2})
    slow.wait(2)
    assert len(slow.results) == 4
    took[:] = [0.3]
    with pytest.raises(GateError, match=r"take 0\.300 s \(95th percentile of 2\), more than 0\.2 s"):
        slow.wait(2)
    with pytest.raises(GateError, match=r"has to stay healthy for 2 s\. Its answers succeed, but take 0\.300 s"):
        slow.hold(2)


@pytest.mark.usefixtures("clock")
def test_the_aggregate_is_asked_once_the_row_is_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def get(url: str, *_: object) -> Response:
        asked.append(url)
        return STARTING if url == "http://x/aggregate" and len(asked) < 5 else GOOD

    monkeypatch.setattr(gate, "get", get)
    Gate({**GATE, "url": "http://x", "aggregate_url": "http://x/aggregate"}).wait(2)
    assert asked == ["http://x", "http://x", "http://x/aggregate", "http://x", "http://x/aggregate"]


def test_holding_ends_at_the_first_bad_answer(clock: list[float], answers: list[Response | OSError]) -> None:
    answers += [GOOD, GOOD, STARTING, GOOD]
    with pytest.raises(GateError, match=r"1\.0 s later it was not \(1 of 3 requests failed\)\. .*answered 503"):
        Gate(GATE).hold(30)
    assert clock[0] == 1
    answers[:] = [GOOD, STARTING, REFUSED, GOOD]
    gate = Gate(GATE)
    gate.hold(30, tolerate=2)
    assert clock[0] == 31
    assert (gate.report()["answers"], gate.report()["good"]) == (61, 59)


def test_holding_ends_when_the_container_does(clock: list[float], answers: list[Response | OSError]) -> None:
    answers += [GOOD]
    with pytest.raises(GateError, match=r"it was not .*It ended with exit code 7"):
        Gate(GATE, lambda: "It ended with exit code 7." if clock[0] > 2 else None).hold(30, tolerate=100)
    assert clock[0] < 3


def test_percentiles() -> None:
    assert gate.percentile([1.0], 95) == 1.0
    assert gate.percentile([float(n) for n in range(1, 101)], 95) == 95.0
    assert gate.percentile([1.0, 2.0, 3.0], 50) == 2.0
