# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests at a constant rate, whether the answers come or not (an open loop), by h2load.

h2load, because a request's time is known to the microsecond and costs a few of them: a generator in Python, Node or
a JVM would use more of the two cores than what is measured, and those that send as fast as answers come (wrk, ab, hey)
offer a slow gateway less than a fast one. Each connection has a fixed rate; they are opened one by one over one period,
so that the requests are spread evenly. Where an answer comes later than the connection's next request was due, the
waiting of that request is added, as HdrHistogram does it: what is late does not hide what it holds up.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

from tests.bench.gateway.machine import BenchError, program

CONNECTIONS = 12  # for each user


@dataclass(frozen=True)
class Outcome:
    """What became of the requests of one stretch."""

    wanted: int
    seconds: float
    statuses: Counter[int]
    milliseconds: list[float] = field(repr=False)
    expected: tuple[int, ...] = (200,)

    @property
    def answered(self) -> int:
        return sum(count for status, count in self.statuses.items() if status in self.expected)

    @property
    def errors(self) -> int:
        return self.wanted - self.answered

    @property
    def rate(self) -> float:
        return self.answered / self.seconds

    @property
    def mean(self) -> float:
        return fmean(self.milliseconds)

    def quantile(self, share: float) -> float:
        return self.milliseconds[min(len(self.milliseconds) - 1, int(share * len(self.milliseconds)))]


def offer(
    urls: Sequence[str],
    rate: float,
    seconds: float,
    tokens: Sequence[str | None] = (None,),
    connections: int = CONNECTIONS,
    expected: tuple[int, ...] = (200,),
) -> Outcome:
    """One process of the generator for each token, all at once; the URLs are asked for in turn."""
    with tempfile.TemporaryDirectory(prefix="bench-load-") as folder, ThreadPoolExecutor(len(tokens)) as pool:
        share = rate / len(tokens)
        jobs = [
            pool.submit(_h2load, Path(folder), number, urls, token, share, seconds, connections)
            for number, token in enumerate(tokens)
        ]
        results = [job.result() for job in jobs]
    statuses: Counter[int] = Counter()
    times: list[float] = []
    first, last = min(result.first for result in results), max(result.last for result in results)
    for result in results:
        statuses.update(result.statuses)
        times += result.times
    if not times:
        raise BenchError(f"{urls[0]} did not respond")
    wanted = sum(result.wanted for result in results)
    return Outcome(wanted, (last - first) / 1e6, statuses, sorted(times), expected)


@dataclass(frozen=True)
class _Result:
    wanted: int
    first: float
    last: float
    statuses: Counter[int]
    times: list[float]


def _h2load(
    folder: Path, number: int, urls: Sequence[str], token: str | None, rate: float, seconds: float, clients: int
) -> _Result:
    wanted = max(clients, round(rate * seconds / clients) * clients)
    gap_ms = max(1, round(1000 / rate))
    log, list_of_urls = folder / f"{number}.log", folder / f"{number}.urls"
    list_of_urls.write_text("".join(f"{url}\n" for url in urls))
    argv = [program("h2load"), "--h1", "--requests", str(wanted), "--clients", str(clients)]
    argv += ["--rps", f"{rate / clients:.4f}", "--rate", "1", "--rate-period", f"{gap_ms}ms"]
    argv += ["--connection-active-timeout", "30", "--log-file", str(log), "--input-file", str(list_of_urls)]
    if token:
        argv += ["--header", f"authorization: Bearer {token}"]
    done = subprocess.run(
        argv, capture_output=True, text=True, timeout=seconds * 2 + 60, check=False, stdin=subprocess.DEVNULL
    )
    if done.returncode or not log.exists():
        raise BenchError(f"h2load failed: {done.stdout[-500:]}{done.stderr[-500:]}")
    statuses: Counter[int] = Counter()
    times: list[float] = []
    period = clients / rate * 1000
    first, last = float("inf"), 0.0
    for line in log.read_text().splitlines():
        began, status, took = line.split("\t")
        statuses[int(status)] += 1
        late = int(took) / 1000
        while late > 0:
            times.append(late)
            late -= period
        first, last = min(first, int(began)), max(last, int(began) + int(took))
    return _Result(wanted, first, last, statuses, times)


def flood(
    url: str, seconds: float, token: str | None = None, connections: int = 64, warm_up_seconds: float = 1
) -> float:
    """The most that goes through, in successful requests a second: as fast as answers come."""
    argv = [program("h2load"), "--h1", "--clients", str(connections), "--duration", f"{seconds:.0f}s"]
    argv += ["--warm-up-time", f"{warm_up_seconds:.0f}s"]
    if token:
        argv += ["--header", f"authorization: Bearer {token}"]
    began = time.monotonic()
    done = subprocess.run(
        [*argv, url], capture_output=True, text=True, timeout=seconds + 30, check=False, stdin=subprocess.DEVNULL
    )
    for line in done.stdout.splitlines():
        if line.startswith("status codes: "):
            return int(line.split()[2]) / seconds
    raise BenchError(f"h2load failed after {time.monotonic() - began:.0f} s: {done.stdout[-500:]}{done.stderr[-500:]}")
