# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compares the audit worker with others: the same queue, the same table, the same events, in one run.

Workers are measured in rounds, one after the other, and compared within a round: what disturbs the machine disturbs
all of them. Fails only where something does not run: the figures are for people to look at.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

CHECKOUT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(CHECKOUT), str(CHECKOUT / "gateway" / "tests")]

import psycopg  # noqa: E402
from support.postgres import Cluster  # noqa: E402

from tests.bench.audit import workers  # noqa: E402
from tests.bench.audit.events import Feeder  # noqa: E402
from tests.bench.audit.workers import CACHE, POLLERS, Worker  # noqa: E402
from tests.bench.gateway import report  # noqa: E402
from tests.bench.gateway.machine import BenchError, Processes, free_port, processor_seconds, tree, until  # noqa: E402
from tests.bench.gateway.report import Line  # noqa: E402

PAGE = CHECKOUT / "docs" / "reference" / "benchmarks.md"
MIGRATION = CHECKOUT / "permissions" / "src" / "evenkeel_permissions" / "migrations" / "0001_audit_event.sql"
WARM_UP = 500
AGES = """
    SELECT percentile_cont(ARRAY[0.5, 0.99]) WITHIN GROUP (ORDER BY extract(epoch FROM received_at - occurred_at))
      FROM audit_event
"""


class Effort(NamedTuple):
    rounds: int
    events: int
    rate: float
    seconds: float


class Sample(NamedTuple):
    """One worker in one round: processor time for an event in microseconds, ages in milliseconds."""

    wall: float
    processor: float
    database: float
    median_age: float
    p99_age: float

    @property
    def per_core(self) -> float:
        """Events for each second of processor time."""
        return 1e6 / self.processor


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


class Bench:
    """The queue, the database, and the workers in turn."""

    def __init__(self, processes: Processes, cluster: Cluster, folder: Path) -> None:
        self._processes = processes
        self._database = cluster.conninfo()
        self._folder = folder
        port = free_port()
        env = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
        argv = [sys.executable, "-m", "testbed.services.messages", "--port", str(port)]
        processes.serve("queue", port, argv, env, CHECKOUT)
        self._endpoint = f"http://127.0.0.1:{port}"
        self._feeder = Feeder(self._endpoint)
        with psycopg.connect(self._database) as connection:
            connection.execute(MIGRATION.read_bytes())
        self._watch = psycopg.connect(self._database, autocommit=True)
        self._server = cluster.pid

    def sample(self, worker: Worker, effort: Effort) -> Sample:
        self._clear()
        # Their log lines are no part of the comparison; the file has the errors.
        env = {**worker.environment(self._endpoint, self._feeder.url, self._database), "EPR_LOG_LEVEL": "warning"}
        env["EPR_AUDIT_HEALTH_PORT"] = str(free_port())
        process = self._processes.start(worker.name.replace(" ", "-"), worker.argv, env, worker.folder)
        try:
            self._feeder.send(WARM_UP, as_tasks=worker.as_tasks)
            self._finish(WARM_UP, process, worker)
            wall, processor, database = self._burst(worker, effort.events, process)
            self._clear()
            sent = self._feeder.send_at(effort.rate, effort.seconds, as_tasks=worker.as_tasks)
            self._finish(sent, process, worker)
            middle, p99 = (self._watch.execute(AGES).fetchone() or ((0.0, 0.0),))[0]
        finally:
            self._processes.stop(process)
        return Sample(wall, processor, database, 1000 * middle, 1000 * p99)

    def _burst(self, worker: Worker, events: int, process: subprocess.Popen[bytes]) -> tuple[float, float, float]:
        """Events per second, and the processor time of the worker and of the database for one."""
        # Paused while the queue is filled, so that it does not begin on a part of it.
        pause(process, signal.SIGSTOP)
        self._clear()
        self._feeder.send(events, as_tasks=worker.as_tasks)
        before, database_before = self._used(process.pid), self._used(self._server)
        began = time.monotonic()
        pause(process, signal.SIGCONT)
        self._finish(events, process, worker)
        wall = time.monotonic() - began
        used, database = self._used(process.pid) - before, self._used(self._server) - database_before
        return events / wall, 1e6 * used / events, 1e6 * database / events

    def _used(self, pid: int) -> float:
        return sum(processor_seconds([pid]).values())

    def _finish(self, events: int, process: subprocess.Popen[bytes], worker: Worker) -> None:
        def done() -> bool:
            if process.poll() is not None:
                raise BenchError(f"{worker.name} ended:\n{self._log(worker)}")
            time.sleep(0.02)
            return self._stored() >= events and self._feeder.left == 0

        try:
            until(done, 60 + events / 50, f"{worker.name} stores {events} events and deletes their messages")
        except BenchError as error:
            found = f"{self._stored()} stored, {self._feeder.left} left"
            raise BenchError(f"{error}; {found}\n{self._log(worker)}") from None

    def _stored(self) -> int:
        return int((self._watch.execute("SELECT count(*) FROM audit_event").fetchone() or (0,))[0])

    def _clear(self) -> None:
        self._watch.execute("TRUNCATE audit_event")

    def _log(self, worker: Worker) -> str:
        return (self._folder / f"{worker.name.replace(' ', '-')}.log").read_text(errors="replace")[-3000:]


def pause(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    for pid in tree(process.pid):
        os.kill(pid, number)


def rounds(bench: Bench, chosen: Sequence[Worker], effort: Effort) -> dict[str, list[Sample]]:
    """Each round takes every worker once, and begins with another one."""
    found: dict[str, list[Sample]] = {worker.name: [] for worker in chosen}
    for number in range(effort.rounds):
        at = number % len(chosen)
        for worker in [*chosen[at:], *chosen[:at]]:
            sample = bench.sample(worker, effort)
            found[worker.name].append(sample)
            say(
                f"round {number + 1} of {effort.rounds}, {worker.name}: {sample.per_core:.0f} events/s per core, "
                f"{sample.wall:.0f} events/s, age p99 {sample.p99_age:.1f} ms"
            )
    return found


def ratio(ours: Sequence[Sample], others: Sequence[Sample], value: Callable[[Sample], float]) -> float:
    """The median of the rounds' ratios."""
    return median(value(a) / value(b) for a, b in zip(ours, others))


def lines(found: dict[str, list[Sample]]) -> list[Line]:
    ours, result = found["permissions worker"], []

    def add(what: str, wanted: str, figure: float, *, met: bool) -> None:
        result.append(Line(what, wanted, f"{figure:.2f}x", met))

    for name in ("sqs-consumer", "celery"):
        figure = ratio(ours, found[name], lambda sample: sample.per_core)
        add(f"events/s per core, to {name}", "> 1x", figure, met=figure > 1)
        figure = ratio(ours, found[name], lambda sample: sample.p99_age)
        add(f"event age p99, to {name}", "< 1x", figure, met=figure < 1)
    for what, value in (("events/s per core", lambda one: one.per_core), ("events/s", lambda one: one.wall)):
        figure = ratio(ours, found["bare loop"], value)
        add(f"{what}, to the bare loop", ">= 0.5x", figure, met=figure >= 0.5)
    return result


def text(found: dict[str, list[Sample]], effort: Effort) -> str:
    rows = []
    for name, samples in found.items():

        def middle(value: Callable[[Sample], float], samples: list[Sample] = samples) -> float:
            return median(value(sample) for sample in samples)

        rows.append(
            [
                name,
                f"{middle(lambda one: one.per_core):.0f}",
                f"{middle(lambda one: one.wall):.0f}",
                f"{middle(lambda one: one.processor):.0f}",
                f"{middle(lambda one: one.database):.0f}",
                f"{middle(lambda one: one.median_age):.1f}",
                f"{middle(lambda one: one.p99_age):.1f}",
            ]
        )
    head = ["worker", "events/s per core", "events/s", "µs an event", "plus PostgreSQL µs", "age p50 ms", "age p99 ms"]
    return "\n\n".join(
        [
            f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} processors ({machine()}), {POLLERS} pollers or processes; "
            f"{effort.rounds} rounds of {effort.events:,} events, then of {effort.rate:.0f} events/s for "
            f"{effort.seconds:.0f} s; medians.",
            report.lines_table(lines(found)),
            report.table(head, rows),
        ]
    )


def machine() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="(default: %(default)s)")
    parser.add_argument("--events", type=int, default=5000, help="events of a burst (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=60, help="events/s for the ages (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=20, help="of that rate (default: %(default)s)")
    parser.add_argument("--only", help="one worker, and nothing is written")
    parser.add_argument("--no-write", action="store_true", help="only print; do not write docs/")
    options = parser.parse_args(arguments)
    effort = Effort(options.rounds, options.events, options.rate, options.seconds)
    # Also then nothing that it started is left.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    CACHE.mkdir(parents=True, exist_ok=True)
    lock = (CACHE / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise SystemExit("bench: another run is in progress; wait for its end") from None
    folder = Path(tempfile.mkdtemp(prefix="bench-ecs-"))
    try:
        chosen = [make() for make in workers.ALL if options.only in (None, make.__name__)]
        with Cluster() as cluster, Processes(folder) as processes:
            found = rounds(Bench(processes, cluster, folder), chosen, effort)
    except KeyboardInterrupt:
        raise SystemExit("bench: interrupted; all processes that it started are stopped") from None
    except BenchError as error:
        raise SystemExit(f"bench: {error}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if options.only:
        return
    written = text(found, effort)
    print(f"\n{written}")
    if not options.no_write:
        report.write(PAGE, "ecs", written, "make bench-ecs")


if __name__ == "__main__":
    main()
