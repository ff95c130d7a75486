# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compares the gateway with others: the same upstream, the same cores, the same load, in one run.

Gateways are measured in rounds, one after the other, and compared within a round: what disturbs the machine disturbs
all of them. Fails only where something does not run: the figures are for people to look at.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import NamedTuple

CHECKOUT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(CHECKOUT))

from tests.bench.gateway import extremes, figures, opponents, probes, report, shapes  # noqa: E402
from tests.bench.gateway.figures import BUSY_RATE, HEADLINE_RATE, Saturation, Series, dearest, ratio  # noqa: E402
from tests.bench.gateway.machine import BenchError, Processes  # noqa: E402
from tests.bench.gateway.opponents import Opponent  # noqa: E402
from tests.bench.gateway.report import Line  # noqa: E402
from tests.bench.gateway.targets import CACHE, Bench, Setup, Target  # noqa: E402

PAGE = CHECKOUT / "docs" / "reference" / "benchmarks.md"
PICTURE = CHECKOUT / "docs" / "reference" / "benchmarks.svg"
ALL = opponents.ABILITIES
MEGABYTES = 150


class Effort(NamedTuple):
    rounds: int
    seconds: float
    flood_seconds: float
    starts: int


EFFORTS = {"quick": Effort(3, 3, 2, 3), "full": Effort(5, 5, 3, 7)}


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def _used(sample: figures.Sample) -> float:
    return sample.total


def _used_with_redis(sample: figures.Sample) -> float:
    """A limit that asks Redis for each request leaves a part of its work to Redis."""
    return sample.total + sample.others.get("redis-server", 0.0)


class Figures:
    """The limits of the gateway, and what was measured."""

    def __init__(self, bench: Bench, effort: Effort, features: tuple[str, ...]) -> None:
        self.bench = bench
        self.effort = effort
        self.features = features
        self.lines: list[Line] = []
        self.notes: list[str] = []
        self.series: list[Series] = []
        self.busy: list[Series] = []
        self.saturated: list[Saturation] = []
        self.tried: list[Opponent] = []

    def run(self) -> None:
        self._load()
        self._long()
        self._starts()

    @contextmanager
    def _asked(self, what: str, wanted: str) -> Iterator[None]:
        """A measurement that fails is a line of the report, too: missed, with the reason."""
        say(what)
        try:
            yield
        except BenchError as error:
            self._line(what, wanted, str(error), met=False)

    def _load(self) -> None:
        bench = self.bench
        others = self._opponents()
        say("starting the gateways")
        bare, plain = bench.haproxy(), bench.gateway("gateway, plain", ())
        whole = bench.gateway(opponents.GATEWAY, self.features)
        rivals = [each.start(bench, Setup(bench.upstream)) for each in others]
        express = next((each for each in rivals if each.name == opponents.EXPRESS), None)
        targets = [bare, bench.nginx(), plain, whole, bench.uvicorn(), *rivals]
        for target in targets:
            target.check()
        say(f"{HEADLINE_RATE} requests/s on each in turn, {self.effort.seconds:.0f} s at a time")
        self.series = figures.rounds(bench, targets, self.effort.rounds, self.effort.seconds, say, rate=HEADLINE_RATE)
        by_name = {each.target.name: each for each in self.series}
        self._to_bare(HEADLINE_RATE, *(by_name[target.name] for target in (bare, plain, whole)))
        self._to_rivals(HEADLINE_RATE, by_name[whole.name], [by_name[target.name] for target in rivals])
        self._latency_lines(by_name[bare.name], by_name[whole.name], by_name[express.name] if express else None)
        self._saturation(bare, whole, rivals, express)
        kept = [bare, plain, whole, *(target for target in rivals if target is not express)]
        for target in targets:
            if target not in kept:
                bench.stop(target)
        say(f"{BUSY_RATE} requests/s on each but Express, {self.effort.seconds:.0f} s at a time")
        self.busy = figures.rounds(bench, kept, self.effort.rounds, self.effort.seconds, say, rate=BUSY_RATE)
        self._to_bare(BUSY_RATE, *self.busy[:3])
        self._to_rivals(BUSY_RATE, self.busy[2], self.busy[3:])
        for target in kept:
            if target is not whole:
                bench.stop(target)
        self._reloads(whole)
        bench.stop(whole)

    def _opponents(self) -> list[Opponent]:
        """Those that can be had here, each of them tried, and the gateway itself."""
        if set(self.features) != set(ALL):
            say("without the other gateways but Express: they have all of their features, or none")
            express = next(each for each in opponents.OPPONENTS if each.name == opponents.EXPRESS)
            features = self.features
            return [replace(express, start=lambda bench, setup: bench.express(features, express.name, setup))]
        found, left_out = opponents.installed(opponents.OPPONENTS)
        for name, why in left_out.items():
            say(f"left out: {name}: {why}")
            self.notes.append(f"left out, because it can't be installed here: {name}")
        for each in (opponents.OURS, *found):
            say(f"trying each feature of {each.name}")
            probes.probe(self.bench, each)
            self.tried.append(each)
        return found

    def _to_bare(self, rate: int, bare: Series, plain: Series, whole: Series) -> None:
        for what, series, limit in (("all features", whole, 2.5), ("plain", plain, 1.3)):
            found = ratio(series, bare, _used)
            name = f"processor time at {rate:,} requests/s, {what}, to bare HAProxy"
            self._line(name, f"≤ {limit}x", f"{found:.2f}x", met=found <= limit)

    def _to_rivals(self, rate: int, whole: Series, rivals: Sequence[Series]) -> None:
        if not rivals:
            return
        found, least = dearest(whole, rivals, _used)
        name = f"processor time at {rate:,} requests/s, all features, to the least of the others"
        self._line(name, "< 1x", f"{found:.2f}x ({least.target.name})", met=found < 1)
        found, least = dearest(whole, rivals, _used_with_redis)
        self._line(f"{name}, with Redis", "< 1x", f"{found:.2f}x ({least.target.name})", met=found < 1)

    def _saturation(self, bare: Target, whole: Target, rivals: Sequence[Target], express: Target | None) -> None:
        say(f"as many requests as go through on each in turn, {self.effort.flood_seconds:.0f} s at a time")
        self.saturated = figures.saturate([bare, whole, *rivals], self.effort.rounds, self.effort.flood_seconds, say)
        by_name = {each.target.name: each for each in self.saturated}
        for what, other, limit in (("bare HAProxy", bare, 0.55), ("Express", express, 20)):
            if other is None:
                continue
            found = by_name[whole.name].to(by_name[other.name])
            name = f"requests/s per core at saturation, all features, to {what}"
            self._line(name, f"≥ {limit}x", f"{found:.2f}x", met=found >= limit)

    def _latency_lines(self, bare: Series, whole: Series, express: Series | None) -> None:
        def mean(sample: figures.Sample) -> float:
            return sample.outcome.mean

        quiet = f"at {HEADLINE_RATE} requests/s, on a quiet machine: "
        for name, limit, found in (
            ("mean", 1.2, whole.middle(mean)),
            ("p95", 3.0, whole.middle(lambda sample: sample.outcome.quantile(0.95))),
            ("p99", 4.0, whole.middle(lambda sample: sample.outcome.quantile(0.99))),
        ):
            self._line(f"{quiet}{name}", f"≤ {limit} ms", f"{found:.2f} ms", met=found <= limit)
        self._line("errors at that rate", "0", str(whole.errors), met=whole.errors == 0)
        found = ratio(whole, bare, mean)
        self._line("mean latency, to bare HAProxy", "≤ 1.4x", f"{found:.2f}x", met=found <= 1.4)
        if express:
            found = ratio(whole, express, mean)
            self._line("mean latency, to Express", "< 0.5x", f"{found:.2f}x", met=found < 0.5)

    def _reloads(self, gateway: Target) -> None:
        what = f"failed requests in {extremes.RELOADS} reloads under load"
        with self._asked(what, "0"):
            clients, seconds = extremes.reloads(gateway)
            text = f"{len(clients.failed)} of {clients.asked}"
            self._line(what, "0", text, met=not clients.failed)
            self.notes.append(f"a reload took {seconds:.2f} s")
            if clients.failed:
                self.notes.append(f"requests that failed while it reloaded: {dict(Counter(clients.failed))}")

    def _long(self) -> None:
        bench, limit = self.bench, f"≤ {MEGABYTES} MB"
        url = f"http://127.0.0.1:{extremes.origin(bench)}"
        routes = [{"prefix": "/api/bench", "upstream": bench.upstream_url}, {"prefix": "/api/long", "upstream": url}]
        gateway = bench.gateway("gateway, long", self.features, ROUTES=json.dumps(routes))
        for name, transfer, size in (
            ("a download", extremes.download, extremes.DOWNLOAD_BYTES),
            ("an upload", extremes.upload, extremes.UPLOAD_BYTES),
        ):
            what = f"RSS in {name} of {size / 1e9:.0f} GB through one connection"
            with self._asked(what, limit):
                seconds, memory = transfer(gateway, size)
                self._line(what, limit, memory.text, met=memory.total <= MEGABYTES)
                self.notes.append(f"{name} went at {size / seconds / 1e9:.2f} GB/s")
        what = f"RSS with {extremes.SOCKETS:,} idle websockets"
        with self._asked(what, limit):
            memory = extremes.websockets(gateway)
            self._line(what, limit, memory.text, met=memory.total <= MEGABYTES)
        bench.stop(gateway)

    def _starts(self) -> None:
        with self._asked("start to healthy", "≤ 2 s"):
            found = [extremes.start_seconds(self.bench, self.features) for _ in range(self.effort.starts)]
            text = f"{median(found):.2f} s, at most {max(found):.2f}"
            self._line("start to healthy", "≤ 2 s", text, met=max(found) <= 2)

    def _line(self, what: str, wanted: str, found: str, *, met: bool) -> None:
        self.lines.append(Line(what, wanted, found, met))
        say(f"{what}: {found}, limit {wanted}: {'met' if met else 'MISSED'}")

    def text(self) -> str:
        bare = next(each for each in self.series if each.target.name.startswith("HAProxy"))
        parts = [
            f"{os.cpu_count()} processors; {self.effort.rounds} rounds of {self.effort.seconds:.0f} s at "
            f"each rate, medians.",
            report.lines_table(self.lines),
            "What each of them can do, tried by requests before the measurement:",
            report.abilities_table([each.name for each in self.tried], {each.name: each.lacks for each in self.tried}),
            f"At {HEADLINE_RATE:,} requests/s:",
            report.processor_table(self.series, bare),
            f"At {BUSY_RATE:,} requests/s:",
            report.processor_table(self.busy, self.busy[0]),
            "At saturation, 64 connections of one user:",
            report.saturation_table(self.saturated, self.saturated[0]),
            f"At {HEADLINE_RATE:,} requests/s:",
            report.latency_table(self.series),
            *(f"- {note}" for note in self.notes),
        ]
        return "\n\n".join(parts)


def shape_text(bench: Bench, name: str, features: tuple[str, ...]) -> str:
    targets = [
        bench.haproxy(),
        bench.gateway(opponents.GATEWAY, features),
        bench.express(features, opponents.EXPRESS),
    ]
    for target in targets:
        target.check()
    found = shapes.drive(name, targets, say)
    rows = []
    for shape in found:
        whole, worst = shape.whole, max(step.quantile(0.99) for step in shape.steps)
        share = 100 * whole.errors / whole.wanted
        figures_of = [whole.mean, whole.quantile(0.5), whole.quantile(0.95), whole.quantile(0.99), worst]
        row = [shape.target.name, str(whole.wanted), *(f"{figure:.2f}" for figure in figures_of), f"{share:.2f} %"]
        rows.append([*row, f"{shape.most:.0f}"] if shape.most else row)
    head = ["gateway", "requests", "mean ms", "p50", "p95", "p99", "p99 of the worst step", "errors"]
    if name == "stress":
        head.append("maximum, requests/s")
    steps = ", ".join(f"{step.seconds} s at {step.rate}" for step in shapes.SHAPES[name])
    mix = "own health, the upstream's responses and 404s in turn"
    return f"Requests per second: {steps}; {mix}.\n\n{report.table(head, rows)}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = (*EFFORTS, *shapes.SHAPES)
    parser.add_argument("profile", nargs="?", default="full", choices=names, help="(default: %(default)s)")
    parser.add_argument("--no-write", action="store_true", help="only print; do not write docs/")
    parser.add_argument("--features", default=",".join(ALL), help="the features to enable (default: %(default)s)")
    options = parser.parse_args(arguments)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    CACHE.mkdir(parents=True, exist_ok=True)
    lock = (CACHE / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise SystemExit("bench: another run is in progress; wait for its end") from None
    folder = Path(tempfile.mkdtemp(prefix="bench-gateway-"))
    folder.chmod(0o711)  # nginx's workers, which are not root's, reach their folders in it
    try:
        with Processes(folder) as processes:
            bench = Bench(processes, folder)
            text, drawing = measure(bench, options.profile, tuple(options.features.split(",")))
    except KeyboardInterrupt:
        raise SystemExit("bench: interrupted; all processes that it started are stopped") from None
    except BenchError as error:
        logs = CACHE / "logs"
        shutil.rmtree(logs, ignore_errors=True)
        shutil.copytree(folder, logs, ignore=lambda _, names: [name for name in names if not name.endswith(".log")])
        raise SystemExit(f"bench: {error}\n(logs in {logs})") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"\n{text}")
    if options.profile != "quick" and not options.no_write:
        if drawing:
            PICTURE.write_text(drawing)
            text = f"![Processor time and latency of each gateway]({PICTURE.name})\n\n{text}"
        report.write(PAGE, options.profile, text, f"make bench-gateway PROFILE={options.profile}")


def measure(bench: Bench, profile: str, features: tuple[str, ...]) -> tuple[str, str]:
    """The text and, where there is one, the drawing."""
    if profile not in EFFORTS:
        return shape_text(bench, profile, features), ""
    found = Figures(bench, EFFORTS[profile], features)
    found.run()
    return found.text(), report.plot(found.series)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
