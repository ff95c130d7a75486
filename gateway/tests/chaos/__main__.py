"""`python -m chaos`: many seeds with a table at the end, or one seed again."""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
from collections import Counter

from chaos.run import LENGTH, SCALE, Result, run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    parser.add_argument("--seeds", type=int, default=10, help="how many, from --first on")
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--seed", type=int, help="this one alone, with its timeline")
    parser.add_argument("--jobs", type=int, default=2, help="how many fleets at once")
    parser.add_argument(
        "--scale", type=float, default=SCALE, help="1: the defaults of production; 5: five times as fast"
    )
    parser.add_argument("--length", type=float, default=LENGTH, help="seconds in which faults begin")
    parser.add_argument("--mutant", default="", help="break the election on purpose")
    options = parser.parse_args()
    if options.seed is not None:
        options.first, options.seeds, options.jobs = options.seed, 1, 1
    return asyncio.run(_all(options))


async def _all(options: argparse.Namespace) -> int:
    started, results = time.monotonic(), []
    turn = asyncio.Semaphore(options.jobs)

    async def one(seed: int) -> Result:
        async with turn:
            return await run(seed, scale=options.scale, length=options.length, mutant=options.mutant)

    seeds = range(options.first, options.first + options.seeds)
    for count, waited in enumerate(asyncio.as_completed([one(seed) for seed in seeds]), start=1):
        result = await waited
        results.append(result)
        bad = sum(bool(result.violations) for result in results)
        _say(
            f"{count}/{len(seeds)} seed {result.seed}: {len(result.kinds)} faults, {result.terms} terms,"
            f" {result.writes} writes, {len(result.violations)} violations ({bad} bad seeds so far,"
            f" {time.monotonic() - started:.0f} s)"
        )
        if result.violations:
            _say(result.report())
    if options.seed is not None and not results[0].violations:
        _say("\n".join(f"  {at:.3f} {what}" for at, what in sorted(results[0].timeline)))
    _say(table(results))
    return int(any(result.violations for result in results))


def table(results: list[Result]) -> str:
    gaps = sorted(gap for result in results for gap in result.gaps)
    kinds = Counter(kind for result in results for kind in result.kinds)
    rules = Counter(one.rule for result in results for one in result.violations)
    rows = [
        ("seeds", str(len(results))),
        ("violations", ", ".join(f"{rule} {count}" for rule, count in rules.items()) or "none"),
        ("faults", f"{kinds.total()}: " + ", ".join(f"{kind} {count}" for kind, count in sorted(kinds.items()))),
        ("terms", str(sum(result.terms for result in results))),
        ("accepted writes", str(sum(result.writes for result in results))),
    ]
    if gaps:
        p99 = gaps[min(len(gaps) - 1, round(0.99 * len(gaps)))]
        rows.append(
            (
                "without a leader",
                f"{len(gaps)} times, median {statistics.median(gaps):.2f} s, p99 {p99:.2f} s, max {gaps[-1]:.2f} s",
            )
        )
    return "\n".join(f"{name:18} {value}" for name, value in rows)


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
