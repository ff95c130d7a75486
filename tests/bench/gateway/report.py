# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tables in Markdown, and a plot."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

from tests.bench.gateway.figures import Sample, Saturation, Series
from tests.bench.gateway.machine import BenchError

END = "<!-- end -->"
ABILITIES = {
    "jwt": "JWT",
    "limit": "limit for each user",
    "shared": "shared through Redis",
    "breaker": "circuit breaker",
    "log": "JSON access log",
    "metrics": "latency histograms",
}


class Line(NamedTuple):
    """What was asked for, and what came out."""

    what: str
    wanted: str
    found: str
    met: bool


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns of equal width, so that it reads as well in a terminal."""
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths)) + " |"

    return "\n".join([line(head), "|" + "|".join("-" * (width + 2) for width in widths) + "|", *map(line, rows)])


def processor_table(series: Sequence[Series], bare: Series) -> str:
    rows = []
    for each in series:
        by_program = ", ".join(f"{name} {used:.1f}" for name, used in each.by_program.items() if used >= 0.05)
        redis = each.middle(lambda sample: sample.others.get("redis-server", 0.0))
        rows.append(
            [
                each.target.name,
                f"{each.total:.1f}",
                f"{each.total / bare.total:.2f}",
                by_program,
                f"{redis:.1f}" if redis >= 0.05 else "",
            ]
        )
    return table(["gateway", "µs a request", "times bare HAProxy", "by program", "plus Redis µs"], rows)


def latency_table(series: Sequence[Series]) -> str:
    rows = []
    for each in series:
        figures = (_mean, _quantile(0.5), _quantile(0.95), _quantile(0.99))
        rows.append([each.target.name, *(f"{each.middle(figure):.2f}" for figure in figures), str(each.errors)])
    return table(["gateway", "mean ms", "p50", "p95", "p99", "errors"], rows)


def saturation_table(found: Sequence[Saturation], bare: Saturation) -> str:
    rows = [
        [each.target.name, f"{each.rate:.0f}", f"{each.per_core:.0f}", f"{each.to(bare):.2f}"]
        for each in sorted(found, key=lambda each: -each.per_core)
    ]
    return table(["gateway", "requests/s", "requests/s per core", "times bare HAProxy"], rows)


def abilities_table(names: Sequence[str], lacks: Mapping[str, Mapping[str, str]]) -> str:
    """A row for each gateway, and the reasons for what one cannot do below."""
    rows = [[name, *("no" if ability in lacks.get(name, {}) else "yes" for ability in ABILITIES)] for name in names]
    lines = [f"- {name}, {ABILITIES[ability]}: {why}" for name in names for ability, why in lacks.get(name, {}).items()]
    return "\n".join([table(["gateway", *ABILITIES.values()], rows), "", *lines])


def lines_table(lines: Sequence[Line]) -> str:
    rows = [[line.what, line.wanted, line.found, "met" if line.met else "**missed**"] for line in lines]
    return table(["", "limit", "measured", ""], rows)


def _mean(sample: Sample) -> float:
    return sample.outcome.mean


def _quantile(share: float) -> Callable[[Sample], float]:
    return lambda sample: sample.outcome.quantile(share)


def write(page: Path, profile: str, text: str, command: str) -> None:
    """Replace what stands between the marks of a profile."""
    begin = f"<!-- begin {profile}: written by {command} -->"
    before, found, rest = page.read_text().partition(begin)
    _, closed, after = rest.partition(END)
    if not found or not closed:
        raise BenchError(f"{page} has no place for {profile}: {begin} … {END}")
    page.write_text(f"{before}{begin}\n\n{text}\n\n{END}{after}")


COLOURS = ("#4477aa", "#ee6677", "#ccbb44", "#66ccee")
_LEFT, _WIDTH, _STEP = 240, 460, 26


def plot(series: Sequence[Series]) -> str:
    """Two rows of bars, SVG; readable on a light and on a dark page."""
    parts: list[str] = []
    y = _bars(
        parts,
        30,
        "Processor time for each request, µs",
        [(each.target.name, [each.total]) for each in series],
        ["all of its processes"],
    )
    latencies = [
        (each.target.name, [each.middle(_quantile(0.5)), each.middle(_quantile(0.95)), each.middle(_quantile(0.99))])
        for each in series
    ]
    y = _bars(parts, y + 30, "Latency, ms", latencies, ["p50", "p95", "p99"])
    width = _LEFT + _WIDTH + 80
    style = "text{font:13px sans-serif;fill:#777}.t{font-weight:bold;font-size:15px}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {y}" width="{width}" height="{y}">'
        f"<style>{style}</style>{''.join(parts)}</svg>\n"
    )


def _bars(parts: list[str], y: int, title: str, rows: list[tuple[str, list[float]]], legend: list[str]) -> int:
    most = max(max(values) for _, values in rows)
    parts.append(f'<text class="t" x="10" y="{y}">{escape(title)}</text>')
    x = _LEFT
    for name, colour in zip(legend, COLOURS) if len(legend) > 1 else ():
        parts.append(f'<rect x="{x + 120}" y="{y - 10}" width="10" height="10" fill="{colour}"/>')
        parts.append(f'<text x="{x + 134}" y="{y}">{escape(name)}</text>')
        x += 60
    y += 14
    for name, values in rows:
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 14}" text-anchor="end">{escape(name)}</text>')
        # The longest first: the others are drawn over it.
        for value, colour in sorted(zip(values, COLOURS), reverse=True):
            width = max(1.0, value / most * _WIDTH)
            parts.append(f'<rect x="{_LEFT}" y="{y}" width="{width:.1f}" height="18" fill="{colour}"/>')
        end = _LEFT + max(values) / most * _WIDTH + 6
        text = " / ".join(f"{value:.3g}" for value in values)
        parts.append(f'<text x="{end:.0f}" y="{y + 14}">{text}</text>')
        y += _STEP
    return y
