"""Draw the timeline of a rollout's JSON report as an SVG picture.

The demo does this at its end. For the picture of the documentation, run it on the demo's report:

    python tools/rollout_svg.py rollout-report/rollout-….json docs/rollout.svg --note '0 of 6,000 requests failed'
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parent.parent
# The colours of the HTML report, so that both pictures read alike.
PAGE = CHECKOUT / "plugins" / "plugin_utils" / "_report" / "timeline.html.j2"
WIDTH, MARGIN, NAMES, ROW, BAR, TOP = 920, 20, 90, 30, 20, 92
TRACK = WIDTH - 2 * MARGIN - NAMES
TICKS = (5, 10, 15, 30, 60, 120, 300, 600)
CHARACTER = 6.4  # the width of one in the legend, on average


def draw(report: Mapping[str, Any], note: str = "") -> str:
    """The picture for a report as `rollout-report/*.json` has it, with a line of text below its title."""
    whole = max(float(report["seconds"]), 0.001)
    rows = [("fleet", report["fleet_steps"]), *((host["name"], host["steps"]) for host in report["hosts"])]
    end = TOP + ROW * len(rows)
    keys, bottom = _legend(_names(rows), end + 44)
    title = _title(report)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {bottom}" role="img">',
        f"<title>{escape(title)}</title>",
        f"<style>{_style()}</style>",
        f'<rect class="card" x=".5" y=".5" width="{WIDTH - 1}" height="{bottom - 1}" rx="8"/>',
        f'<text class="title" x="{MARGIN}" y="36">{escape(title)}</text>',
        f'<text class="quiet" x="{MARGIN}" y="60">{escape(note)}</text>',
        *_axis(whole, end),
    ]
    for number, (name, steps) in enumerate(rows):
        top = TOP + ROW * number
        parts.append(f'<text x="{MARGIN}" y="{top + 15}">{escape(name)}</text>')
        parts.append(f'<rect class="track" x="{MARGIN + NAMES}" y="{top}" width="{TRACK}" height="{BAR}" rx="3"/>')
        parts += [bar for step in steps if step["result"] != "skipped" for bar in _bars(step, whole, top)]
    parts += _handovers(report["leader_changes"], whole, end)
    return "\n".join([*parts, *keys, "</svg>", ""])


def _title(report: Mapping[str, Any]) -> str:
    versions = sorted({str(host["after"]["version"]) for host in report["hosts"] if host["after"]})
    image = " and ".join(versions) or str(report["image"] or report["digest"]).rpartition("/")[2]
    hosts, seconds = len(report["hosts"]), float(report["seconds"])
    return f"Rolling update to {image}: {hosts} hosts in {seconds:.0f} s, {report['result']}"


def _style() -> str:
    light, dark = (
        dict(re.findall(r"--(\w+): (#\w+)", block)) for block in re.findall(r":root \{(.*?)\}", PAGE.read_text(), re.S)
    )
    rules = [
        "text{font:14px system-ui,sans-serif;fill:var(--text)}",
        ".title{font-size:18px;font-weight:600}",
        ".quiet,.tick,.key{fill:var(--quiet)}.tick,.key{font-size:12px}",
        ".card{fill:var(--card);stroke:var(--line)}.track{fill:var(--track)}.grid{stroke:var(--line)}",
        ".handover{stroke:var(--handover);stroke-width:1.5;stroke-dasharray:4 3}",
        ".lead{fill:var(--handover);font-size:12px}",
        ".failed{stroke:var(--bad);stroke-width:2}",
    ]
    variables = [";".join(f"--{name}:{value}" for name, value in colours.items()) for colours in (light, dark)]
    return f"svg{{{variables[0]}}}@media(prefers-color-scheme:dark){{svg{{{variables[1]}}}}}{''.join(rules)}"


def _place(seconds: float, whole: float) -> float:
    return MARGIN + NAMES + TRACK * min(max(seconds / whole, 0.0), 1.0)


def _axis(whole: float, end: int) -> Iterator[str]:
    step = next((step for step in TICKS if whole / step <= 10), TICKS[-1])
    for at in range(0, int(whole) + 1, step):
        x = _place(at, whole)
        yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 4}" y2="{end}"/>'
        if at <= whole * 0.97:
            yield f'<text class="tick" x="{x:.1f}" y="{end + 16}">{at} s</text>'


def _bars(step: Mapping[str, Any], whole: float, top: int) -> Iterator[str]:
    """A step, and its parts at its end: what comes before them is the call itself."""
    began, seconds = float(step["began"]), float(step["seconds"])
    outline = " failed" if step["result"] == "failed" else ""
    yield _bar(str(step["step"]), began, seconds, whole, top, outline)
    parts = {name: float(value) for name, value in step["parts"].items() if value > 0}
    at = began + max(0.0, seconds - sum(parts.values()))
    for name, value in parts.items():
        yield _bar(name, at, value, whole, top)
        at += value


def _bar(name: str, began: float, seconds: float, whole: float, top: int, more: str = "") -> str:
    left = _place(began, whole)
    width = max(_place(began + seconds, whole) - left, 1.0)
    label = escape(f"{name.replace('_', ' ')}: {seconds:.1f} s")
    return (
        f'<rect class="bar{more}" style="fill:var(--{name},var(--other))" x="{left:.1f}" y="{top}" width="{width:.1f}" '
        f'height="{BAR}"><title>{label}</title></rect>'
    )


def _handovers(changes: Sequence[Mapping[str, Any]], whole: float, end: int) -> Iterator[str]:
    for change in changes:
        x = _place(float(change["at"]), whole)
        side = "end" if x > WIDTH / 2 else "start"
        words = escape(f"leadership: {change['from']} → {change['to']}")
        yield f'<line class="handover" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 8}" y2="{end}"/>'
        yield f'<text class="lead" text-anchor="{side}" x="{x:.1f}" y="{TOP - 12}">{words}</text>'


def _names(rows: Sequence[tuple[str, Sequence[Mapping[str, Any]]]]) -> list[str]:
    """Of steps and parts, in the order in which they appear."""
    steps = [step for _name, steps in rows for step in steps if step["result"] != "skipped"]
    return list(dict.fromkeys(name for step in steps for name in (str(step["step"]), *step["parts"])))


def _legend(names: Sequence[str], top: int) -> tuple[list[str], int]:
    """The keys in as many lines as they need, and where they end."""
    parts, x, y = [], float(MARGIN), top
    for name in names:
        words = name.replace("_", " ")
        wide = 30 + CHARACTER * len(words)
        if x + wide > WIDTH - MARGIN:
            x, y = float(MARGIN), y + 20
        parts.append(
            f'<rect style="fill:var(--{name},var(--other))" x="{x:.1f}" y="{y - 10}" width="12" height="12" rx="2"/>'
        )
        parts.append(f'<text class="key" x="{x + 17:.1f}" y="{y}">{escape(words)}</text>')
        x += wide
    return parts, y + 16


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=Path, help="JSON report of a rollout")
    parser.add_argument("picture", type=Path, help="SVG file to write")
    parser.add_argument("--note", default="", help="line of text below the title")
    arguments = parser.parse_args()
    arguments.picture.write_text(draw(json.loads(arguments.report.read_text()), arguments.note))
    return 0


if __name__ == "__main__":
    sys.exit(main())
