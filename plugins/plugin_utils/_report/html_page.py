# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of a rollout as one page of HTML, which needs nothing else: no script, no asset, no network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from .document import where_time_went
from .live_view import clock
from .records import BAD, CURRENT, DONE, NOUNS, ROLLED_BACK, UNFINISHED, WAITS

TEMPLATE = Path(__file__).with_name("timeline.html.j2")
TICKS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400)
MOST_TICKS = 9


class Page:
    def __init__(self) -> None:
        environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
        environment.filters.update(seconds=_seconds, clock=clock, percent=_percent, short=_short, day=_day)
        self._template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))

    def render(self, report: Mapping[str, Any]) -> str:
        """The page for a document as document() returns it."""
        # While nothing has taken any time, nothing has a width.
        whole = max(report["seconds"], 0.001)
        return self._template.render(
            report=report,
            nouns=NOUNS[report["kind"]],
            verdict="good" if report["result"] == "succeeded" else "open" if report["result"] == UNFINISHED else "bad",
            updated=sum(host["state"] in (DONE, CURRENT) for host in report["hosts"]),
            tone={**dict.fromkeys((DONE, CURRENT), "good"), **dict.fromkeys((ROLLED_BACK, *BAD), "bad")},
            ticks=[(at, at / whole) for at in _ticks(whole)],
            phases=[(kind, name, seconds, seconds / whole) for kind, name, seconds in where_time_went(report)],
            rows=[(NOUNS[report["kind"]].shared, _bars(report["fleet_steps"], whole))]
            + [(host["name"], _bars(host["steps"], whole)) for host in report["hosts"]],
            waits=[name for name in WAITS if any(name in host["waits"] for host in report["hosts"])],
            legend=_legend(report),
            overheads=[host["overhead_seconds"] for host in report["hosts"] if host["overhead_seconds"] is not None],
        )


def _bars(steps: Sequence[Mapping[str, Any]], whole: float) -> list[dict[str, Any]]:
    """Steps with their place on the line, as fractions of it; parts as fractions of their step."""
    return [
        {
            "step": step["step"],
            "result": step["result"],
            "left": step["began"] / whole,
            "width": step["seconds"] / whole,
            "words": _words(step),
            "parts": _parts(step),
        }
        for step in steps
        if step["result"] != "skipped"
    ]


def _parts(step: Mapping[str, Any]) -> list[tuple[str, float, float]]:
    """Name, left and width. What comes before them is the call itself: connection, transfer, start."""
    sizes = {name: seconds for name, seconds in step["parts"].items() if seconds > 0}
    whole = max(step["seconds"], sum(sizes.values()), 0.001)
    left = (whole - sum(sizes.values())) / whole
    found = []
    for name, seconds in sizes.items():
        found.append((name, left, seconds / whole))
        left += seconds / whole
    return found


def _words(step: Mapping[str, Any]) -> str:
    parts = ", ".join(f"{name} {_seconds(value)}" for name, value in step["parts"].items())
    own = f", of which its own {_seconds(step['own_seconds'])}" if step["own_seconds"] is not None else ""
    return f"{step['step']} ({step['result']}): {_seconds(step['seconds'])}{own}{': ' + parts if parts else ''}"


def _legend(report: Mapping[str, Any]) -> list[str]:
    """What is to be seen in the tracker, in the order in which it appears."""
    steps = [step for steps in (report["fleet_steps"], *(h["steps"] for h in report["hosts"])) for step in steps]
    names = [name for step in steps if step["result"] != "skipped" for name in (str(step["step"]), *step["parts"])]
    return list(dict.fromkeys(names))


def _ticks(whole: float) -> list[int]:
    step = next((step for step in TICKS if whole / step <= MOST_TICKS), TICKS[-1])
    # One at the very end would have no room for its label.
    return list(range(0, int(whole * 0.97) + 1, step))


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} s" if value < 100 else clock(value)


def _percent(fraction: float) -> str:
    return f"{100 * min(max(fraction, 0.0), 1.0):.3f}%"


def _day(moment: str) -> str:
    return moment.replace("T", " ").replace("+00:00", " UTC")


def _short(digest: str | None) -> str:
    return (digest or "-")[:19]
