"""Short election runs under faults, and broken elections; `make chaos` runs the long ones."""

from __future__ import annotations

import asyncio

import pytest

from chaos import history
from chaos.fleet import Way
from chaos.mutants import MUTANTS
from chaos.run import Result, run
from support.postgres import Cluster

pytestmark = pytest.mark.anyio

THREE = [Way(), Way(), Way(pooled=True, listens=False)]
NAMES = list(MUTANTS)
# Some at a time, for the sake of small machines.
GROUPS = [NAMES[:4], NAMES[4:]]


async def test_no_seed_breaks_the_election() -> None:
    for result in await asyncio.gather(*(run(seed, length=14) for seed in (1, 2))):
        assert not result.violations, result.report()
        assert result.terms > 2
        assert result.writes > 50


@pytest.mark.parametrize("names", GROUPS, ids="+".join)
async def test_a_broken_election_is_caught(names: list[str]) -> None:
    """By one of three seeds: what a seed meets depends on the machine's speed, too."""
    missed: dict[str, str] = dict.fromkeys(names, "")
    for seed in (1, 2, 3):
        with Cluster(**history.SETTINGS) as cluster:
            runs = [
                run(seed, mutant=name, kinds=MUTANTS[name].faults, ways=THREE, clocks=False, length=30, cluster=cluster)
                for name in missed
            ]
            results = zip(missed, await asyncio.gather(*runs), strict=True)
            missed = {name: result.report() for name, result in results if not caught(name, result)}
        if not missed:
            break
    assert not missed, "\n".join(missed.values())


def caught(name: str, result: Result) -> bool:
    return bool({violation.rule for violation in result.violations} & set(MUTANTS[name].caught_by))
