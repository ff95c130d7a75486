"""`python -m chaos`: runs many seeds and prints a table, or repeats one seed."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import pickle
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from chaos.run import LENGTH, SCALE, Result, run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    parser.add_argument("--seeds", type=int, default=20, help="how many, from --first on")
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--seed", type=int, help="this one alone, with its timeline")
    parser.add_argument("--jobs", type=int, default=2, help="how many fleets at once")
    parser.add_argument(
        "--scale", type=float, default=SCALE, help="1: the defaults of production; 5: five times as fast"
    )
    parser.add_argument("--length", type=float, default=LENGTH, help="seconds in which faults begin")
    parser.add_argument("--mutant", default="", help="break the election on purpose")
    parser.add_argument("--result", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    logging.getLogger("evenkeel_gateway").setLevel(logging.ERROR)
    with contextlib.suppress(KeyboardInterrupt, asyncio.CancelledError):
        return asyncio.run(_main(options))
    return 130


async def _main(options: argparse.Namespace) -> int:
    task = asyncio.current_task()
    assert task
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await (_all(options) if options.seed is None else _one(options))


async def _one(options: argparse.Namespace) -> int:
    result = await run(options.seed, scale=options.scale, length=options.length, mutant=options.mutant)
    if options.result:
        options.result.write_bytes(pickle.dumps(result))
        return 0
    timeline = [f"  {at:.3f} {what}" for at, what in sorted(result.timeline)]
    _say("\n".join([*timeline, result.report(), table([result])]))
    return int(bool(result.violations))


async def _all(options: argparse.Namespace) -> int:
    """Each seed in a process of its own: the ways to the database are in it, and must not wait for each other."""
    started, turn = time.monotonic(), asyncio.Semaphore(options.jobs)
    results: list[Result] = []
    seeds = range(options.first, options.first + options.seeds)
    with tempfile.TemporaryDirectory(prefix="gateway-chaos-results-") as folder:

        async def one(seed: int) -> None:
            path = Path(folder) / str(seed)
            command = [sys.executable, "-m", "chaos", "--seed", str(seed), "--result", str(path)]
            command += ["--scale", str(options.scale), "--length", str(options.length), "--mutant", options.mutant]
            async with turn:
                child = await asyncio.create_subprocess_exec(*command, start_new_session=True)
                try:
                    code = await child.wait()
                except asyncio.CancelledError:
                    child.terminate()
                    await child.wait()
                    raise
            if code:
                raise RuntimeError(f"seed {seed} ended with {code}")
            results.append(pickle.loads(path.read_bytes()))
            _progress(results, len(seeds), time.monotonic() - started)

        try:
            async with asyncio.TaskGroup() as group:
                for seed in seeds:
                    group.create_task(one(seed))
        finally:
            _say(table(results))
    return int(any(result.violations for result in results))


def _progress(results: list[Result], total: int, seconds: float) -> None:
    result, bad = results[-1], sum(bool(result.violations) for result in results)
    _say(
        f"{len(results)}/{total} seed {result.seed}: {len(result.kinds)} faults, {result.terms} terms,"
        f" {result.writes} writes, {len(result.violations)} violations ({bad} bad seeds so far, {seconds:.0f} s)"
    )
    if result.violations:
        _say(result.report())


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
        p99 = gaps[min(len(gaps) - 1, int(0.99 * len(gaps)))]
        text = f"{len(gaps)} times, median {statistics.median(gaps):.2f} s, p99 {p99:.2f} s, max {gaps[-1]:.2f} s"
        rows.append(("without a leader", text))
    return "\n".join(f"{name:18} {value}" for name, value in rows)


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
