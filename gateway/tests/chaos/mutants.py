"""Broken elections, which the checker must detect. They apply only in the instance's process."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from evenkeel_gateway import clock
from evenkeel_gateway import lease as lease_module
from evenkeel_gateway.election import DatabaseElection
from evenkeel_gateway.lease import Decision, Step, Timing

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from evenkeel_gateway.database import Connection
    from evenkeel_gateway.lease import Candidate, Lease, Verdict
    from evenkeel_gateway.settings import Settings


def _no_margin() -> None:
    of = Timing.of

    def without(settings: Settings) -> Timing:
        return replace(of(settings), margin=0.0)

    Timing.of = without  # type: ignore[method-assign]


def _clock_before_lock() -> None:
    lock, read = lease_module._lock, lease_module._read_clock
    early: list[datetime] = []

    async def mutated_lock(connection: Connection) -> Lease:
        early[:] = [(await read(connection)).now]
        return await lock(connection)

    async def mutated_read(connection: Connection) -> lease_module._ClockReading:
        return lease_module._ClockReading(clock.now(), early[0], clock.now())

    lease_module._lock, lease_module._read_clock = mutated_lock, mutated_read


def _age_preempts() -> None:
    decide = lease_module.decide

    def mutated(lease: Lease, me: str, held_term: int | None, candidates: list[Candidate], now: datetime) -> Decision:
        decision = decide(lease, me, held_term, candidates, now)
        oldest = candidates and candidates[0].instance_id == me
        return Decision(Step.TAKE) if oldest and decision.step is Step.FOLLOW else decision

    lease_module.decide = mutated


def _trust_from_the_answer() -> None:
    accept = DatabaseElection._accept

    def mutated(self: DatabaseElection, verdict: Verdict) -> None:
        accept(self, replace(verdict, started=clock.now()))

    DatabaseElection._accept = mutated  # type: ignore[method-assign]


def _believes_on() -> None:
    DatabaseElection._step_down = lambda self: None  # type: ignore[method-assign]


@dataclass(frozen=True)
class Mutant:
    what: str
    caught_by: tuple[str, ...]
    """The checker's rules, one of which must speak."""
    faults: tuple[str, ...]
    """Under which it shows."""
    apply: Callable[[], None] = lambda: None
    sql: str = ""
    """Changes the database instead."""


_FENCE = (
    "CREATE OR REPLACE FUNCTION leader_fence(claimed_term bigint) RETURNS void LANGUAGE plpgsql AS $$BEGIN {} END$$"
)
MUTANTS = {
    "no-margin": Mutant("trust lasts as long as the lease", ("margin",), ("kill",), _no_margin),
    "clock-before-lock": Mutant(
        "the database's clock is read before the lock", ("margin", "two leaders"), ("lock",), _clock_before_lock
    ),
    "age-preempts": Mutant(
        "the oldest takes the lease from its holder", ("preempted", "two leaders"), ("restart", "kill"), _age_preempts
    ),
    "trust-from-the-answer": Mutant(
        "trust is counted from the database's answer",
        ("margin", "two leaders"),
        ("slow",),
        _trust_from_the_answer,
    ),
    "believes-on": Mutant("a leader that resigns goes on to believe", ("two leaders",), ("restart",), _believes_on),
    "no-fence": Mutant("the fence lets everything pass", ("old term",), ("handover",), sql=_FENCE.format("")),
    "fence-without-lock": Mutant(
        "the fence looks and does not hold off the next election",
        ("old term",),
        ("handover",),
        sql=_FENCE.format(
            "IF NOT EXISTS (SELECT FROM leader_lease WHERE term = claimed_term AND expires_at > clock_timestamp())"
            " THEN RAISE EXCEPTION 'leadership term % is over', claimed_term; END IF;"
        ),
    ),
}


def apply(name: str) -> None:
    if name:
        MUTANTS[name].apply()
