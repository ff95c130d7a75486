# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run everything that CI runs: several suites at once, and a line of what runs, how far, how long still.

The suites that measure time come first, and have three times the share of what runs beside them. The suites of fleets
wait for hosts half of the time, so two share the processors, and a suite that needs no host takes the rest. Each suite
writes a log to .cache; the log of one that failed is printed.
"""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

CHECKOUT = Path(__file__).parent.parent
CACHE = CHECKOUT / ".cache"
MAKE = ("make", "--no-print-directory")
# A third of the share of others, so that no test waits for so long that it gives up.
NICE = ("nice", "-n", "5")
# Until a run has measured them: minutes on two cores.
MINUTES = {
    "integration": 9,
    "fleetdb": 10,
    "gateway": 13,
    "images": 3,
    "lint": 5,
    "unit": 6,
    "sanity": 3,
    "package": 1,
    "molecule": 8,
    "system": 9,
    "rollouts": 23,
    "local-ecs": 8,
    "permissions": 3,
    "aws": 21,
}
PERCENT = re.compile(rb"\[ *(\d+)%\]")
SUMMARY = re.compile(r"^(?:=+ )?((?:\d+ \w+(?:, )?)+ in [\d.]+s.*?)(?: =+)?$", re.MULTILINE)
FAILURE = re.compile(r"^(?:FAILED|ERROR|lint: failed).*", re.MULTILINE)
EVERY = 60.0


@dataclass(frozen=True)
class Lane:
    """Suites that run one after the other, once those of `after` are done; `by` goes before their commands."""

    suites: tuple[str, ...]
    after: tuple[str, ...] = ()
    by: tuple[str, ...] = ()


MEASURE_TIME = ("integration", "fleetdb", "permissions", "gateway")
LANES = (
    Lane(("gateway",)),
    Lane(("integration",)),
    Lane(("fleetdb", "permissions")),
    Lane(("unit", "lint", "package", "sanity"), by=NICE),
    # Once, for all fleets. The last of those that measure time leaves a processor.
    Lane(("images",), after=("integration", "fleetdb"), by=NICE),
    Lane(("molecule", "system", "local-ecs"), after=(*MEASURE_TIME, "images")),
    Lane(("rollouts",), after=(*MEASURE_TIME, "images")),
    # It needs no host, and takes what the fleets leave.
    Lane(("aws",), after=MEASURE_TIME, by=NICE),
)


def with_make(suite: str) -> Sequence[str]:
    return (*MAKE, suite)


@dataclass
class Running:
    process: subprocess.Popen[bytes]
    log: Path
    began: float

    def lives(self) -> bool:
        """Whether it or a program that it started still runs."""
        self.process.poll()
        try:
            os.killpg(self.process.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def share(self) -> float | None:
        """How much of it is done, where it says so."""
        with self.log.open("rb") as file:
            file.seek(max(0, self.log.stat().st_size - 65536))
            said = PERCENT.findall(file.read())
        return int(said[-1]) / 100 if said else None


@dataclass
class Run:
    """One run of all lanes: what is running, and how each suite ended."""

    lanes: Sequence[Lane]
    cache: Path
    expected: Mapping[str, float]
    command: Callable[[str], Sequence[str]] = with_make
    running: dict[str, Running] = field(default_factory=dict)
    took: dict[str, float] = field(default_factory=dict)
    # Without what hosts and services in containers took.
    processor: dict[str, float] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)

    def advance(self) -> Iterator[str]:
        """End what is done and start what can start; yields the suites that ended."""
        for suite, of_it in list(self.running.items()):
            before = processor_time()
            if of_it.process.poll() is not None:
                del self.running[suite]
                self.processor[suite] = processor_time() - before
                self.took[suite] = time.monotonic() - of_it.began
                if of_it.process.returncode:
                    self.failed.append(suite)
                yield suite
        for lane in self.lanes:
            suite = next((name for name in lane.suites if name not in self.took), "")
            if suite and suite not in self.running and all(name in self.took for name in lane.after):
                self._start(suite, lane.by)

    def _start(self, suite: str, by: Sequence[str]) -> None:
        log = self.log(suite)
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*by, *self.command(suite)],
                cwd=CHECKOUT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.running[suite] = Running(process, log, time.monotonic())

    def log(self, suite: str) -> Path:
        return self.cache / f"{suite}.log"

    def left(self) -> float:
        """The seconds until all is done, by what each suite took the last time and by how far it is now."""
        ends: dict[str, float] = {}

        def end(suite: str) -> float:
            if suite in self.took:
                return 0.0
            if suite not in ends:
                lane = next(lane for lane in self.lanes if suite in lane.suites)
                before = (*lane.after, *lane.suites[: lane.suites.index(suite)])
                ends[suite] = max((end(name) for name in before), default=0.0) + self._remains(suite)
            return ends[suite]

        return max(end(suite) for lane in self.lanes for suite in lane.suites)

    def _remains(self, suite: str) -> float:
        expected = self.expected.get(suite, 60.0)
        if suite not in self.running:
            return expected
        share = self.running[suite].share()
        if share is not None:
            return expected * (1 - share)
        return max(0.0, expected - (time.monotonic() - self.running[suite].began))

    def status(self) -> str:
        """Such as "gateway 45 %, lint; then images, system; about 31 min left"."""
        shares = {suite: of_it.share() for suite, of_it in self.running.items()}
        now = [suite if share is None else f"{suite} {share:.0%}".replace("%", " %") for suite, share in shares.items()]
        then = [s for lane in self.lanes for s in lane.suites if s not in self.took and s not in self.running]
        after = f"; then {', '.join(then)}" if then else ""
        return f"{', '.join(now)}{after}; about {minutes(self.left())} left"

    def stop(self) -> None:
        """Interrupt what runs, as Ctrl-C does, so that tests remove what they made; kill it after half a minute."""
        for by, patience in ((signal.SIGINT, 30.0), (signal.SIGKILL, 5.0)):
            for of_it in self.running.values():
                with suppress(ProcessLookupError):
                    os.killpg(of_it.process.pid, by)
            deadline = time.monotonic() + patience
            while any(of_it.lives() for of_it in self.running.values()) and time.monotonic() < deadline:
                time.sleep(0.1)


def processor_time() -> float:
    """Of the suites that ended, in seconds."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def ticks() -> tuple[int, int]:
    """How long this machine's processors did nothing, and in all."""
    spent = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return spent[3] + spent[4], sum(spent)


def minutes(seconds: float) -> str:
    return f"{round(seconds / 60)} min" if seconds >= 90 else f"{max(1, round(seconds / 10)) * 10} s"


def summary(log: str) -> str:
    """What pytest says at the end of each of its runs."""
    return "; ".join(found[1] for found in SUMMARY.finditer(log))


def expected_seconds(measured: Path) -> dict[str, float]:
    known: dict[str, float] = {}
    if measured.is_file():
        with suppress(ValueError):
            known = json.loads(measured.read_text())
    return {suite: float(known.get(suite, of_it * 60)) for suite, of_it in MINUTES.items()}


def go(run: Run, say: Callable[[str], None], show: Callable[[str], None]) -> None:
    """Run all; `say` prints a line that stays, `show` one that the next one may replace."""
    while True:
        for suite in run.advance():
            text = run.log(suite).read_text(errors="replace")
            if suite in run.failed:
                say(f"{text}\ntest: {suite} failed after {minutes(run.took[suite])}")
            else:
                spent = f"{minutes(run.took[suite])}, {minutes(run.processor[suite])} of a processor"
                say(f"test: {suite} passed in {spent}  {summary(text)}".rstrip())
        if not run.running:
            return
        show(run.status())
        time.sleep(0.5)


def say(text: str) -> None:
    clear = "\r\033[K" if sys.stdout.isatty() else ""
    print(f"{clear}{text}", flush=True)


class StatusLine:
    """On a terminal one line that is written over; elsewhere a line a minute."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._said = float("-inf")

    def show(self, status: str) -> None:
        now = time.monotonic()
        line = f"test: {int(now - self._began) // 60:2}:{int(now - self._began) % 60:02}  {status}"
        if sys.stdout.isatty():
            width = os.get_terminal_size().columns
            print(f"\r\033[K{line[: width - 1]}", end="", flush=True)
        elif now - self._said >= EVERY:
            self._said = now
            print(line, flush=True)


def main() -> int:
    CACHE.mkdir(exist_ok=True)
    measured = CACHE / "suites.json"
    expected = expected_seconds(measured)
    run = Run(LANES, CACHE, expected)
    began, (idle, total) = time.monotonic(), ticks()

    def interrupt(number: int, _frame: FrameType | None) -> None:
        # make sends its own one after the terminal's: it must not end the tidying up.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, interrupt)
    signal.signal(signal.SIGINT, interrupt)
    say(f"test: the log of each suite is .cache/SUITE.log; about {minutes(run.left())}")
    try:
        go(run, say, StatusLine().show)
    finally:
        run.stop()
    idle_now, total_now = ticks()
    busy = 1 - (idle_now - idle) / max(1, total_now - total)
    say(f"test: {minutes(time.monotonic() - began)}, the processors were busy for {busy:.0%} of it")
    passed = {suite: round(seconds, 1) for suite, seconds in run.took.items() if suite not in run.failed}
    measured.write_text(json.dumps({**expected, **passed}, indent=2) + "\n")
    if run.failed:
        for suite in run.failed:
            for failure in FAILURE.findall(run.log(suite).read_text(errors="replace")):
                say(failure)
        print(f"\ntest: failed: {', '.join(run.failed)}", file=sys.stderr)
        return 1
    say("test: all passed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
