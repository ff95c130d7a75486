"""The election's rules over thousands of simulated days: `decide` itself; database, network and clock are models."""

from __future__ import annotations

import heapq
import itertools
import random
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest

from evenkeel_gateway import lease as lease_module
from evenkeel_gateway.lease import GRACE_SECONDS, Candidate, Decision, Lease, Step, decide

TTL, MARGIN, TICK, STALE, POLL = 15.0, 2.0, 5.0, 15.0, 1.0
DAY = 240.0
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
NOBODY = Lease(None, 0, None, None, None, None, None, None, EPOCH)


def moment(seconds: float) -> datetime:
    return EPOCH + timedelta(seconds=seconds)


@dataclass
class Instance:
    name: str
    listens: bool
    away_until: float = 0.0
    """Dead, stopped or cut off: it does not evaluate; what it trusts it goes on to trust."""
    held_term: int | None = None
    trusted_until: float = 0.0
    generation: int = 0
    """Of its next evaluation; an older one is void."""


class Fleet:
    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self.instances = [Instance(name, self._chance.random() < 0.7) for name in "abcde"]
        self._beats: dict[str, float] = {}
        self._lease = NOBODY
        self._events: list[tuple[float, int, Instance | None, int]] = []
        self._count = itertools.count()
        self.longest = 0.0
        """For how long a vacancy lasted at most while one and the same instance was there."""
        self.terms = 0
        for instance in self.instances:
            self._push(self._chance.uniform(0, 2), instance)
        at = 20.0
        while at < DAY:
            self._push(at, None)
            at += self._chance.expovariate(1 / 12)

    def _push(self, at: float, instance: Instance | None) -> None:
        if instance:
            instance.generation += 1
        heapq.heappush(self._events, (at, next(self._count), instance, instance.generation if instance else 0))

    def live(self) -> None:
        while self._events:
            now, _, instance, generation = heapq.heappop(self._events)
            if now > DAY:
                return
            if instance is None:
                self._trouble(now)
            elif generation == instance.generation:
                self._evaluate(now, instance)

    def _trouble(self, now: float) -> None:
        chance, one = self._chance, self._chance.choice(self.instances)
        leader = next((other for other in self.instances if other.trusted_until > now), one)
        kind = chance.choice(("away", "away", "leader away", "resign", "request", "two away", "all away"))
        if kind == "resign":
            if leader.away_until <= now and self._lease.holder == leader.name:
                leader.trusted_until = 0.0
                self._give_up(now)
        elif kind == "request":
            until = moment(now + 30)
            self._lease = replace(self._lease, requested_holder=one.name, requested_by="x", request_expires_at=until)
            self._notify(now)
        else:
            several = {"two away": [leader, one], "all away": self.instances, "leader away": [leader]}.get(kind, [one])
            for away in several:
                away.away_until = max(away.away_until, now + chance.choice((0.3, 2, 10, 20, 60)))
                if chance.random() < 0.5:  # the process is gone, its successor knows nothing
                    away.trusted_until, away.held_term = 0.0, None

    def _evaluate(self, now: float, me: Instance) -> None:
        if me.away_until > now:
            self._push(me.away_until + self._chance.uniform(0, POLL), me)
            return
        self._beats = {name: beat for name, beat in self._beats.items() if beat > now - STALE} | {me.name: now}
        candidates = [Candidate(name, moment(beat)) for name, beat in sorted(self._beats.items())]
        before = self._lease
        decision = decide(before, me.name, me.held_term, candidates, moment(now))
        self._carry_out(now, me, decision)
        wait = TICK if me.listens else POLL
        if decision.due_in is not None:
            wait = min(wait, decision.due_in + 0.01)
        self._push(now + max(wait, 0.001), me)

    def _carry_out(self, now: float, me: Instance, decision: Decision) -> None:
        before = self._lease
        if decision.drop_request:
            self._lease = replace(self._lease, requested_holder=None, request_expires_at=None)
        if decision.step is Step.TAKE:
            assert not [one for one in self.instances if one.trusted_until > now], "while an instance trusts"
            if before.expires_at:
                assert moment(now) >= before.expires_at
            self._lease = replace(self._lease, holder=me.name, term=before.term + 1, expires_at=moment(now + TTL))
            me.held_term, me.trusted_until = before.term + 1, now + TTL - MARGIN
            start = before.vacant_since if before.holder is None else before.expires_at
            assert start
            there = min(max(one.away_until, (start - EPOCH).total_seconds()) for one in self.instances)
            self.longest = max(self.longest, now - there)
            self.terms += 1
            self._notify(now)
        elif decision.step is Step.RENEW:
            assert before.holder == me.name
            self._lease = replace(self._lease, expires_at=moment(now + TTL))
            me.trusted_until = now + TTL - MARGIN
        elif decision.step is Step.HAND_OVER:
            me.trusted_until = 0.0
            self._give_up(now)
        else:
            assert me.trusted_until <= now or me.held_term != before.term or before.holder != me.name
            me.trusted_until = 0.0

    def _give_up(self, now: float) -> None:
        self._lease = replace(self._lease, holder=None, expires_at=None, vacant_since=moment(now))
        self._notify(now)

    def _notify(self, now: float) -> None:
        for one in self.instances:
            if one.listens and one.away_until <= now:
                self._push(now + self._chance.uniform(0.001, 0.05), one)


@pytest.mark.parametrize("first", range(0, 400, 100))
def test_no_day_has_two_leaders_or_a_long_vacancy(first: int) -> None:
    terms = 0
    for seed in range(first, first + 100):
        fleet = Fleet(seed)
        fleet.live()
        assert fleet.longest <= POLL + 3 * GRACE_SECONDS + 0.2, f"seed {seed}"
        terms += fleet.terms
    assert terms > 400


def _caught(mutant: object, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setitem(globals(), "decide", mutant)
    for seed in range(100):
        fleet = Fleet(seed)
        try:
            fleet.live()
            assert fleet.longest <= POLL + 3 * GRACE_SECONDS + 0.2
        except AssertionError:
            return True
    return False


def test_a_rule_that_lets_age_preempt_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def preempting(lease: Lease, me: str, term: int | None, candidates: list[Candidate], now: datetime) -> Decision:
        decision = decide_(lease, me, term, candidates, now)
        oldest = bool(candidates) and candidates[0].instance_id == me
        return Decision(Step.TAKE) if oldest and decision.step is Step.FOLLOW else decision

    decide_ = decide
    assert _caught(preempting, monkeypatch)


def test_waiting_for_whoever_is_oldest_and_fresh_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_module, "_GRACE", timedelta(seconds=STALE))
    assert _caught(decide, monkeypatch)
