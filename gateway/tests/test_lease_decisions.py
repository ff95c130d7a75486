"""The rules of the election, without a database."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from evenkeel_gateway.lease import Candidate, Lease, Step, decide

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATER = NOW + timedelta(seconds=10)
EARLIER = NOW - timedelta(seconds=1)
VACANT = Lease(None, 7, None, None, None, None, None, None, NOW)
HELD_BY_B = replace(VACANT, holder="b", expires_at=LATER)
FLEET = [Candidate(name, NOW) for name in ("a", "b", "c")]


def requested(lease: Lease, target: str, until: datetime = LATER) -> Lease:
    return replace(lease, requested_holder=target, requested_by="operator", reason="test", request_expires_at=until)


@pytest.mark.parametrize(
    ("lease", "me", "held_term", "step"),
    [
        pytest.param(VACANT, "a", None, Step.TAKE, id="the oldest takes a vacancy"),
        pytest.param(VACANT, "b", None, Step.FOLLOW, id="a younger one leaves it to the oldest"),
        pytest.param(HELD_BY_B, "b", 7, Step.RENEW, id="the holder renews"),
        pytest.param(HELD_BY_B, "a", None, Step.FOLLOW, id="age does not preempt"),
        pytest.param(HELD_BY_B, "b", None, Step.FOLLOW, id="another process of the holder's instance does not renew"),
        pytest.param(HELD_BY_B, "b", 6, Step.FOLLOW, id="nor one that held an earlier term"),
        pytest.param(replace(HELD_BY_B, expires_at=NOW), "a", None, Step.TAKE, id="an expired lease is vacant"),
        pytest.param(replace(HELD_BY_B, expires_at=NOW), "b", 7, Step.FOLLOW, id="also for its last holder"),
        pytest.param(
            replace(VACANT, holder="a", expires_at=NOW),
            "b",
            None,
            Step.TAKE,
            id="who let it expire has no claim to age",
        ),
        pytest.param(requested(HELD_BY_B, "c"), "b", 7, Step.HAND_OVER, id="the holder hands over"),
        pytest.param(requested(HELD_BY_B, "c"), "c", None, Step.FOLLOW, id="the target waits for that"),
        pytest.param(requested(VACANT, "c"), "c", None, Step.TAKE, id="the target takes the vacancy"),
        pytest.param(requested(VACANT, "c"), "a", None, Step.FOLLOW, id="even the oldest leaves it to the target"),
        pytest.param(requested(VACANT, "gone"), "a", None, Step.TAKE, id="a stale target gets nothing"),
        pytest.param(requested(HELD_BY_B, "gone"), "b", 7, Step.RENEW, id="nor is anything handed over to it"),
        pytest.param(requested(HELD_BY_B, "c", EARLIER), "b", 7, Step.RENEW, id="an expired request counts no more"),
        pytest.param(requested(HELD_BY_B, "b"), "b", 7, Step.RENEW, id="a request for the holder is fulfilled"),
    ],
)
def test_step(lease: Lease, me: str, held_term: int | None, step: Step) -> None:
    assert decide(lease, me, held_term, FLEET, NOW).step is step


@pytest.mark.parametrize(
    ("lease", "why"),
    [
        (requested(HELD_BY_B, "gone"), "its target has no fresh heartbeat or is draining"),
        (requested(HELD_BY_B, "c", EARLIER), "it has expired"),
        (requested(HELD_BY_B, "b"), "it already leads"),
        (requested(HELD_BY_B, "c"), None),
        (HELD_BY_B, None),
    ],
)
def test_end_of_a_request(lease: Lease, why: str | None) -> None:
    assert decide(lease, "b", 7, FLEET, NOW).drop_request == why


def test_nobody_fresh_but_a_draining_instance() -> None:
    assert decide(VACANT, "a", None, [], NOW).step is Step.FOLLOW


def beats(**ages: float) -> list[Candidate]:
    return [Candidate(name, NOW - timedelta(seconds=age)) for name, age in ages.items()]


def vacant_for(seconds: float) -> Lease:
    return replace(VACANT, vacant_since=NOW - timedelta(seconds=seconds))


@pytest.mark.parametrize(
    ("lease", "fleet", "step", "due_in"),
    [
        pytest.param(vacant_for(0.1), beats(a=5, b=0), Step.FOLLOW, 0.4, id="who it belongs to is waited for"),
        pytest.param(vacant_for(0.5), beats(a=5, b=0), Step.TAKE, None, id="not for longer"),
        pytest.param(vacant_for(0.5), beats(a=0.2, b=0), Step.FOLLOW, 0.5, id="if it has come, it will take it"),
        pytest.param(vacant_for(9), beats(a=1.1, b=0), Step.TAKE, None, id="who then falls silent is passed over"),
        pytest.param(
            replace(VACANT, holder="c", expires_at=NOW - timedelta(seconds=0.6)),
            beats(a=3, b=0, c=9),
            Step.TAKE,
            None,
            id="so it is where a lease has expired",
        ),
        pytest.param(requested(vacant_for(0.1), "c"), beats(b=0, c=5), Step.FOLLOW, 0.4, id="a target is waited for"),
        pytest.param(requested(vacant_for(0.5), "c"), beats(b=0, c=5), Step.TAKE, None, id="nor it for longer"),
        pytest.param(
            replace(VACANT, vacant_since=LATER), beats(b=0, a=5), Step.TAKE, None, id="since a time yet to come"
        ),
    ],
)
def test_a_vacancy_waits_for_nobody_who_is_not_there(
    lease: Lease, fleet: list[Candidate], step: Step, due_in: float | None
) -> None:
    decision = decide(lease, "b", None, fleet, NOW)
    assert decision.step is step
    assert decision.due_in == (None if due_in is None else pytest.approx(due_in))


def test_says_when_the_lease_ends() -> None:
    assert decide(HELD_BY_B, "a", None, FLEET, NOW).due_in == 10


def test_the_target_of_a_handover_looks_often() -> None:
    assert decide(requested(HELD_BY_B, "a"), "a", None, FLEET, NOW).due_in == 0.2
