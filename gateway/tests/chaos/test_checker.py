"""The checker: each rule reports a violation, and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from chaos.checker import (
    DATABASE,
    Harm,
    Limits,
    Span,
    check,
    check_leaderless,
    check_quiet,
    leaderless,
)
from chaos.history import Change, Lease, Write, parse
from chaos.trace import Belief, Grant, Sample, Trace

LIMITS = Limits(margin=1.0, leaderless=16.0, settle=2.0)
WALL = datetime(2026, 1, 1, tzinfo=UTC)
TTL = 15


def at(seconds: float) -> datetime:
    return WALL + timedelta(seconds=seconds)


def grant(start: float, term: int, until: float | None = None) -> Grant:
    return Grant(start + 0.01, start, start + TTL - 2 if until is None else until, term)


def lease(start: float, holder: str | None, term: int) -> Lease:
    """As it is committed by an evaluation that begins at `start`."""
    return Lease(at(start + 0.005), holder, term, at(start), at(start + TTL) if holder else None)


# i-1 leads, renews, and is killed; i-2 takes over.
FIRST = Trace("i-1.0", [grant(0, 1), grant(5, 1)], killed=7)
SECOND = Trace("i-2.0", [grant(20.1, 2)], samples=[Sample(21, 21.001, leads=True, term=2)])
HISTORY: list[Change] = [
    lease(0, "i-1", 1),
    Write(at(1), 1, "job"),
    lease(5, "i-1", 1),
    lease(20.1, "i-2", 2),
    Write(at(21), 2, "job"),
]


def rules(traces: list[Trace], changes: list[Change]) -> set[str]:
    return {violation.rule for violation in check(traces, changes, LIMITS, wall=WALL.timestamp())}


def test_a_good_day() -> None:
    assert rules([FIRST, SECOND], HISTORY) == set()
    assert FIRST.beliefs() == [Belief("i-1.0", 0.01, 7, 1)]
    assert leaderless(FIRST.beliefs() + SECOND.beliefs(), 0.01, 30) == [Span(7, SECOND.grants[0].at)]


@pytest.mark.parametrize(
    ("rule", "traces", "changes"),
    [
        ("two leaders", [Trace("i-1.0", [grant(0, 1)]), Trace("i-2.0", [grant(12.9, 2)])], HISTORY),
        ("terms", [Trace("i-1.0", [grant(0, 2)]), Trace("i-2.0", [grant(15, 1)])], HISTORY),
        ("terms", [Trace("i-1.0", [grant(0, 1)]), Trace("i-2.0", [grant(15, 1)])], HISTORY),
        ("terms", [], [lease(0, "i-1", 1), lease(20, "i-2", 3)]),
        ("old term", [], [*HISTORY, Write(at(22), 1, "writer")]),
        ("old term", [], [lease(0, None, 1), Write(at(1), 1, "writer")]),
        ("preempted", [], [lease(0, "i-1", 1), lease(14.9, "i-2", 2)]),
        ("margin", [Trace("i-1.0", [grant(0, 1, until=14.5)])], HISTORY),
        ("margin", [Trace("i-1.0", [grant(0, 1)]), Trace("i-2.0", [grant(13.9, 2)])], []),
        ("beyond belief", [Trace("i-1.0", [grant(0, 1)], samples=[Sample(14, 14.001, leads=True, term=1)])], HISTORY),
    ],
)
def test_a_bad_day(rule: str, traces: list[Trace], changes: list[Change]) -> None:
    assert rule in rules(traces, changes)


def test_giving_up_needs_no_margin() -> None:
    given_up: list[Change] = [lease(0, "i-1", 1), lease(3, None, 1), lease(3.1, "i-2", 2)]
    assert rules([Trace("i-1.0", [grant(0, 1)], ends=[2.9]), Trace("i-2.0", [grant(3.1, 2)])], given_up) == set()


def test_without_a_leader_though_somebody_was_well() -> None:
    beliefs = [Belief("i-1.0", 0, 10, 1), Belief("i-2.0", 30, 40, 2)]
    whole, harm = Span(0, 40), Harm()
    assert [one.rule for one in check_leaderless(beliefs, harm, ["i-2"], whole, LIMITS)] == ["leaderless"]
    harm.add(DATABASE, 12, 20)
    assert check_leaderless(beliefs, harm, ["i-2"], whole, LIMITS) == []
    harm = Harm({"i-2": [Span(10, 15)]})
    assert check_leaderless(beliefs, harm, ["i-2"], whole, LIMITS) == []
    assert [one.at for one in check_leaderless(beliefs, harm, ["i-2", "i-3"], whole, LIMITS)] == [10]


def test_quiet() -> None:
    assert check_quiet([Belief("i-1.0", 0, 10, 1)], Span(2, 9)) == []
    for beliefs in (
        [],
        [Belief("i-1.0", 0, 5, 1)],
        [Belief("i-1.0", 0, 5, 1), Belief("i-2.0", 5, 10, 2)],
    ):
        assert check_quiet(beliefs, Span(2, 9))


def test_reads_what_postgresql_writes() -> None:
    row = (
        "table public.leader_lease: UPDATE: only_row[boolean]:true holder[text]:'i-''1' term[bigint]:7"
        " elected_at[timestamp with time zone]:'2026-01-01 00:00:01+00'"
        " expires_at[timestamp with time zone]:'2026-01-01 05:30:02.5+05:30' requested_holder[text]:null"
    )
    lines = [
        "BEGIN 1",
        row,
        "table public.chaos_write: INSERT: id[bigint]:3 term[bigint]:7 who[text]:'job'",
        "COMMIT 1 (at 2026-01-01 00:00:03.25+00)",
    ]
    assert parse(lines) == [Lease(at(3.25), "i-'1", 7, at(1), at(2.5)), Write(at(3.25), 7, "job")]
