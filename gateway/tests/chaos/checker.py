"""Checks what instances believed and what the database committed against the rules of the election.

| rule | |
|---|---|
| two leaders | at no instant do two instances believe |
| terms | they only grow, by one, and each belongs to one process |
| old term | no write of a term is committed when another term holds the lease, or none |
| preempted | a lease changes hands when it was given up or had expired, and not before |
| margin | trust ends so long before the lease may be taken over |
| beyond belief | what `leads` answered is within what was recorded |
| leaderless | with the database and one instance well, an instance leads after at most this time |
| flapping | in quiet times one leads, and the same one |
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from chaos.history import Change, Lease, Write

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from chaos.trace import Belief, Trace

# Of a sample: between its two readings of the clock anything may have happened.
_SHARP_SECONDS = 0.02
# The wall clock is set right now and then while a run lasts.
_CLOCK_ERROR = 0.02


class Violation(NamedTuple):
    rule: str
    at: float
    what: str


class Span(NamedTuple):
    start: float
    end: float

    @property
    def length(self) -> float:
        return self.end - self.start


@dataclass(frozen=True)
class Limits:
    margin: float
    """By how much trust must end before the lease."""
    leaderless: float
    settle: float
    """How long after a fault is over something counts as still harmed by it."""


@dataclass
class Harm:
    """What was broken, when: by the names of instances, or `DATABASE`."""

    spans: dict[str, list[Span]] = field(default_factory=dict)

    def add(self, name: str, start: float, end: float) -> None:
        self.spans.setdefault(name, []).append(Span(start, end))


DATABASE = "database"


def offset() -> float:
    """What the wall clock shows more than CLOCK_BOOTTIME."""
    import time  # noqa: PLC0415

    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)


def check(traces: list[Trace], changes: list[Change], limits: Limits, *, wall: float | None) -> list[Violation]:
    """Safety. `wall` maps the database's clock to the instances', where neither was tampered with."""
    beliefs = sorted((belief for trace in traces for belief in trace.beliefs()), key=lambda belief: belief.start)
    found = [
        *_two_leaders(beliefs),
        *_terms(beliefs, changes),
        *_old_terms(changes),
        *_preempted(changes),
        *_margin_of_successors(traces, changes, limits.margin),
        *_beyond_belief(traces),
    ]
    if wall is not None:
        found += _margin_of_leases(traces, changes, limits.margin, wall)
    return sorted(found, key=lambda violation: violation.at)


def _two_leaders(beliefs: list[Belief]) -> Iterator[Violation]:
    for index, one in enumerate(beliefs):
        for other in beliefs[index + 1 :]:
            if other.start >= one.end:
                break
            if other.who != one.who:
                yield Violation("two leaders", other.start, f"{one}; {other}")


def _terms(beliefs: list[Belief], changes: list[Change]) -> Iterator[Violation]:
    for one, next_one in pairwise(beliefs):
        if next_one.term < one.term or (next_one.term == one.term and next_one.who != one.who):
            yield Violation("terms", next_one.start, f"{one}; then {next_one}")
    for before, after in pairwise(change for change in changes if isinstance(change, Lease)):
        if not before.term <= after.term <= before.term + 1:
            yield Violation("terms", _seconds(after.committed), f"the lease: {before}; then {after}")


def _old_terms(changes: list[Change]) -> Iterator[Violation]:
    lease: Lease | None = None
    for change in changes:
        if isinstance(change, Lease):
            lease = change
        elif lease is None or lease.holder is None or change.term != lease.term:
            yield Violation("old term", _seconds(change.committed), f"{change} was accepted under {lease}")


def _preempted(changes: list[Change]) -> Iterator[Violation]:
    for before, after in pairwise(change for change in changes if isinstance(change, Lease)):
        if after.term == before.term or before.expires_at is None or after.elected_at is None:
            continue
        if before.expires_at > after.elected_at:
            yield Violation("preempted", _seconds(after.committed), f"{before}; then {after}")


def _margin_of_successors(traces: list[Trace], changes: list[Change], margin: float) -> Iterator[Violation]:
    """Between the last moment of trust and the evaluation that took the lease over, where it was not given up."""
    given_up = {change.term for change in changes if isinstance(change, Lease) and change.holder is None}
    trusted: dict[int, float] = {}
    taken: dict[int, float] = {}
    for trace in traces:
        for grant in trace.grants:
            trusted[grant.term] = max(trusted.get(grant.term, 0.0), grant.until)
            taken[grant.term] = min(taken.get(grant.term, grant.started), grant.started)
    for term, until in trusted.items():
        start = taken.get(term + 1)
        if start is not None and term not in given_up and start - until < margin:
            what = f"term {term} was trusted until {until:.3f}, term {term + 1} was taken at {start:.3f}"
            yield Violation("margin", start, what)


def _margin_of_leases(traces: list[Trace], changes: list[Change], margin: float, wall: float) -> Iterator[Violation]:
    """Between the end of each trust and that of the lease which was written for it."""
    leases: dict[int, list[Lease]] = {}
    for change in changes:
        if isinstance(change, Lease) and change.expires_at:
            leases.setdefault(change.term, []).append(change)
    for trace in traces:
        for grant in trace.grants:
            written = [
                lease
                for lease in leases.get(grant.term, [])
                if _seconds(lease.committed) - wall <= grant.at + _CLOCK_ERROR
            ]
            if not written or written[-1].expires_at is None:
                continue
            expires = _seconds(written[-1].expires_at) - wall
            if expires - grant.until < margin - _CLOCK_ERROR:
                what = f"{trace.who} trusts term {grant.term} until {grant.until:.3f}, the lease ends at {expires:.3f}"
                yield Violation("margin", grant.at, what)


def _beyond_belief(traces: list[Trace]) -> Iterator[Violation]:
    for trace in traces:
        beliefs = trace.beliefs()
        for sample in trace.samples:
            if not sample.leads or sample.after - sample.before > _SHARP_SECONDS:
                continue
            if not any(one.start <= sample.after and sample.before <= one.end for one in beliefs):
                yield Violation("beyond belief", sample.before, f"{trace.who} said so in term {sample.term}")


def leaderless(beliefs: Iterable[Belief], start: float, end: float) -> list[Span]:
    """When no instance believed."""
    found, at = [], start
    for belief in sorted(beliefs, key=lambda one: one.start):
        if belief.start >= end:
            break
        if belief.start > at:
            found.append(Span(at, belief.start))
        at = max(at, belief.end)
    if at < end:
        found.append(Span(at, end))
    return found


def check_leaderless(
    beliefs: list[Belief], harm: Harm, names: list[str], whole: Span, limits: Limits
) -> list[Violation]:
    well = {name: _well(harm, name, whole, limits.settle) for name in [*names, DATABASE]}
    found = []
    for gap in leaderless(beliefs, *whole):
        for name in names:
            for span in _common(_common([gap], well[DATABASE]), well[name]):
                if span.length > limits.leaderless:
                    what = f"for {span.length:.2f} s (of {gap.length:.2f} s) no instance led, and {name} was well"
                    found.append(Violation("leaderless", span.start, what))
    return found


def check_quiet(beliefs: list[Belief], quiet: Span) -> list[Violation]:
    during = [one for one in beliefs if one.start < quiet.end and quiet.start < one.end]
    if len(during) == 1 and during[0].start <= quiet.start and during[0].end >= quiet.end:
        return []
    return [Violation("flapping", quiet.start, f"in quiet {quiet}: {'; '.join(map(str, during)) or 'no instance led'}")]


def _well(harm: Harm, name: str, whole: Span, settle: float) -> list[Span]:
    spans, at = [], whole.start
    for start, end in sorted(harm.spans.get(name, [])):
        if start > at:
            spans.append(Span(at, start))
        at = max(at, end + settle)
    if at < whole.end:
        spans.append(Span(at, whole.end))
    return spans


def _common(one: list[Span], other: list[Span]) -> list[Span]:
    spans = (Span(max(a.start, b.start), min(a.end, b.end)) for a in one for b in other)
    return [span for span in spans if span.start < span.end]


def _seconds(moment: datetime) -> float:
    return moment.astimezone(UTC).timestamp()


__all__ = ["DATABASE", "Harm", "Limits", "Span", "Violation", "Write", "check", "check_leaderless", "check_quiet"]
